"""The bits of words as a loss: their length, which way it pushes, and where it goes along."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.layers import quantized_layers, recipe_of
from tf_structprune.layers._coded_length import KIBIBYTE, CodedLength, coded_bits

Y = np.arange(24) % 3
X = zoo.batch(24)


def counted_bits(multiples, low, high):
    """The same in NumPy, for multiples from low to high."""
    levels = np.arange(low, high + 1)
    counts = np.array([(np.round(multiples) == level).sum() for level in levels])
    return float(np.sum(np.interp(multiples, levels, -np.log2((counts + 1) / (multiples.size + len(levels))))))


@pytest.mark.parametrize("low, high", [(-1, 1), (-7, 7), (-127, 127)])
@pytest.mark.parametrize("seed", range(5))
def test_words_have_the_length_of_their_code_and_what_lies_between_lies_on_the_line(low, high, seed):
    rng = np.random.default_rng(seed)
    real = np.clip(rng.normal(0, high / 3, (5, 40)), low, high).astype(np.float32)
    for multiples in (np.round(real), real):
        assert float(coded_bits(multiples, low, high)) == pytest.approx(counted_bits(multiples, low, high), rel=1e-5)


def test_values_beyond_the_words_count_as_the_last():
    assert float(coded_bits(np.array([-9.0, 0, 3, 3.4], np.float32), -3, 3)) == pytest.approx(
        float(coded_bits(np.array([-3.0, 0, 3, 3], np.float32), -3, 3))
    )


def fixed(name="chain", entropy=0.5, bits=5):
    model = sp.to_fixed_point(zoo.build(name), sp.FixedPoint(bits, 8, entropy=entropy))
    sp.calibrate(model, X)
    return model


def words_bits(model):
    """The bits of all words of a model."""
    total = 0.0
    for layer in quantized_layers(model).values():
        step = layer.step_values()
        words = np.round(keras.ops.convert_to_numpy(layer.effective_kernel()) / step)
        total += counted_bits(words, *layer.grid.ends(None))
    return total


def trained(model, epochs=10):
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(X, Y, epochs=epochs, batch_size=8, verbose=0, shuffle=False)
    return model


@pytest.mark.parametrize("name", ["chain", "residual_twice", "grouped_convolution"])
def test_training_makes_the_code_shorter(name):
    free, short = (trained(fixed(name, entropy)) for entropy in (0.0, 20.0))
    assert words_bits(short) < 0.9 * words_bits(free)


def test_masks_around_it_keep_the_loss():
    model = fixed()
    masked = sp.wrap(model, granularity="weight")
    assert float(sum(masked.losses)) == pytest.approx(float(sum(model.losses)), rel=1e-5) and model.losses
    assert words_bits(trained(masked)) < words_bits(trained(sp.wrap(fixed(entropy=0.0), granularity="weight")))


def test_loss_is_that_of_kibibytes_and_adds_to_the_regularizer():
    model = fixed(entropy=3.0)
    for layer in quantized_layers(model).values():
        kernel = layer.kernel_variable
        multiples = keras.ops.convert_to_numpy(layer.multiples(kernel))
        plain = 3.0 * float(coded_bits(multiples, *layer.grid.ends(None))) / KIBIBYTE
        assert float(kernel.regularizer(kernel.value)) == pytest.approx(plain, rel=1e-5)
        both = CodedLength(layer, 3.0, keras.regularizers.L2(0.1))(kernel.value)
        assert float(both) == pytest.approx(plain + float(keras.regularizers.L2(0.1)(kernel.value)), rel=1e-5)


def test_weights_that_are_gone_count_as_zeros():
    model = fixed()
    layer = next(iter(quantized_layers(model).values()))
    rule, kernel = layer.kernel_variable.regularizer, layer.kernel_variable
    layer.keep.assign(np.zeros(kernel.shape, bool))
    nothing = counted_bits(np.zeros(kernel.shape), *layer.grid.ends(None))
    assert float(rule(kernel.value)) == pytest.approx(0.5 * nothing / KIBIBYTE, rel=1e-5)


def test_files_and_recipes_hold_it(tmp_path):
    model = fixed(entropy=0.25)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert recipe_of(again).entropy == 0.25
    assert float(sum(again.losses)) == pytest.approx(float(sum(model.losses))) and float(sum(again.losses)) > 0


def test_without_it_there_is_no_loss():
    assert not fixed(entropy=0.0).losses
