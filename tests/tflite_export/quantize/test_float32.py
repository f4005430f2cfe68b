import keras
import numpy as np
import pytest

from tflite_export.quantize import float32_model


def test_float32_model_is_the_model_itself(build):
    model = build()
    assert float32_model(model) is model


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_float32_model_has_the_same_layers_and_weights(build, policy):
    model = build(policy)
    copy = float32_model(model)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert {weight.dtype for weight in copy.weights} == {"float32"}
    for new, old in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(new.numpy(), old.numpy().astype(np.float32))


def test_float32_model_reaches_nested_models_wrappers_and_one_low_layer(samples):
    keras.utils.set_random_seed(0)
    low = {"dtype": "mixed_float16"}
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.Sequential([keras.layers.Conv2D(3, 3, **low), keras.layers.ReLU()], name="block"),
            keras.layers.TimeDistributed(keras.layers.Dense(4, **low)),
            keras.layers.Dropout(0.5),
        ]
    )
    copy = float32_model(model)
    assert copy.get_layer("block").layers[0].compute_dtype == "float32"
    assert copy.layers[1].layer.compute_dtype == "float32"
    assert copy(samples).dtype == "float32"
    # Half precision has 11 bits; the copy takes the place of the model up to that.
    np.testing.assert_allclose(np.asarray(copy(samples)), np.asarray(model(samples), np.float32), atol=5e-3)


class NoConfig(keras.Model):
    def __init__(self, units):
        super().__init__(name="own")
        self.units = units

    def get_config(self):
        raise NotImplementedError


def test_float32_model_refuses_what_cannot_be_copied():
    with pytest.raises(ValueError, match="Model 'own': cannot be copied. Received: NoConfig without get_config"):
        float32_model(NoConfig(3))
