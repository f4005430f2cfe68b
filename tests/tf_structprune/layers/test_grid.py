"""Quantizers are a wrapper and a grid: any grid will do."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.grids import Codebook
from tf_structprune.fixed_point import GRIDS, SignalGrid, WeightGrid
from tf_structprune.layers import QuantizedLayer, SignalQuantizer, recipe_of
from tf_structprune.layers._rounding import rounded, saturated

GRIDS_HERE = {"weight": WeightGrid(3), "signal": SignalGrid(4), "codebook": Codebook()}


def with_codebooks(per_channel=False):
    inputs = keras.Input((6,))
    x = SignalQuantizer(grid=Codebook(), name="signal")(inputs)
    outputs = QuantizedLayer(
        keras.layers.Dense(3, name="dense"), grid=Codebook(), per_channel=per_channel, input_signal="signal"
    )(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.parametrize("per_channel", [False, True], ids=["a codebook a layer", "a codebook a channel"])
def test_a_new_grid_needs_no_new_wrapper(per_channel, tmp_path, monkeypatch):
    monkeypatch.setitem(GRIDS, "codebook", Codebook)
    model, x = with_codebooks(per_channel), np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
    assert not model.get_layer("dense").calibrated
    sp.calibrate(model, x)
    layer = model.get_layer("dense")
    before = np.array(layer.kernel_variable)
    model.fit(x, np.ones((32, 3)), batch_size=32, verbose=0)
    assert (np.array(layer.kernel_variable) != before).all()  # the gradient of the float weights
    kernel = keras.ops.convert_to_numpy(layer.effective_kernel())
    books = layer.calibration().astype(np.float32)
    assert set(kernel.ravel().tolist()) <= set(books.ravel().tolist())
    signal = keras.ops.convert_to_numpy(model.get_layer("signal")(x))
    assert len(set(signal.ravel().tolist())) == 4
    model.save(tmp_path / "books.keras")
    loaded = keras.models.load_model(tmp_path / "books.keras")
    assert zoo.largest_difference(model, loaded, x) == 0
    assert loaded.get_layer("dense").grid == Codebook()


def test_a_grid_that_no_recipe_describes_is_refused():
    with pytest.raises(
        ValueError, match="'dense' is on a grid that is not the multiples of a step. Received: Codebook"
    ):
        recipe_of(with_codebooks())


@pytest.mark.parametrize("grid", GRIDS_HERE.values(), ids=GRIDS_HERE)
def test_tensors_are_rounded_as_arrays_are(grid):
    values = np.random.default_rng(0).normal(0.2, 1, 300).astype("float32")
    calibration = grid.fit(values).astype("float32")
    wanted = grid.numbers(grid.words(values, calibration), calibration)
    found = rounded(keras.ops.convert_to_tensor(values), grid, keras.ops.convert_to_tensor(calibration))
    assert np.array_equal(keras.ops.convert_to_numpy(found), wanted)


@pytest.mark.parametrize("grid", GRIDS_HERE.values(), ids=GRIDS_HERE)
def test_no_calibration_changes_nothing(grid):
    values = keras.ops.convert_to_tensor(np.array([-np.inf, -3.0, -0.0, 0.1, 1e30], "float32"))
    none = keras.ops.zeros(grid.shape)
    assert np.array_equal(keras.ops.convert_to_numpy(rounded(values, grid, none)), np.array(values))
    few = values[1:]
    assert np.array_equal(keras.ops.convert_to_numpy(saturated(few, grid, none)), np.array(few))


def test_configurations_written_before_there_were_grids_are_read():
    dense = keras.saving.serialize_keras_object(keras.layers.Dense(3, name="dense"))
    layer = QuantizedLayer.from_config(
        {"name": "dense", "layer": dense, "weight_bits": 3, "power_of_two": False, "per_channel": True}
    )
    assert layer.grid == WeightGrid(3, power_of_two=False) and layer.per_channel
    signal = SignalQuantizer.from_config({"bits": 8, "kind": "signed", "power_of_two": False, "tied": "group"})
    assert signal.grid == SignalGrid(8, "signed", power_of_two=False) and signal.tied == "group"
    layer.build((None, 4))
    assert [weight.name for weight in layer.non_trainable_weights] == ["steps", "keep", "gain", "input_step"]
    assert [weight.name for weight in signal.weights] == ["grid"]
