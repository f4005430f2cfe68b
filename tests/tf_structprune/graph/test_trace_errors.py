"""What cannot be traced is refused by name."""

import keras
import pytest

from tests import zoo
from tf_structprune.graph import trace


class Subclassed(keras.Model):
    def __init__(self, units=2):
        super().__init__(name="mine")
        self.dense = keras.layers.Dense(units)

    def call(self, inputs):
        return self.dense(inputs)


class WithoutConfig(Subclassed):
    def get_config(self):
        raise NotImplementedError("no configuration")


@pytest.mark.parametrize("value", [None, "model.keras", keras.layers.Dense(2)], ids=["none", "path", "layer"])
def test_trace_refuses_what_is_no_model(value):
    with pytest.raises(TypeError, match=r"Only Keras 3 models can be traced\. Received: .*Load the model with keras"):
        trace(value)


@pytest.mark.parametrize(
    "kind, message",
    [
        (Subclassed, r"is subclassed \(Subclassed\): .*Build it with keras\.Sequential or keras\.Model"),
        (WithoutConfig, "cannot be read: no configuration"),
    ],
    ids=["plain", "without_config"],
)
def test_trace_refuses_a_subclassed_model(kind, message):
    model = kind()
    model(zoo.batch(1, shape=(3,)))
    with pytest.raises(ValueError, match=f"Model 'mine' {message}"):
        trace(model)


def test_trace_refuses_an_unbuilt_model():
    model = keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.Dense(2)], name="open")
    with pytest.raises(ValueError, match=r"Model 'open' is not built.*keras\.Input\(shape\) or call model\.build"):
        trace(model)


@pytest.mark.parametrize("pattern", ["nothing", "B", "x*"])
def test_trace_refuses_a_keep_that_matches_nothing(pattern):
    with pytest.raises(ValueError, match=r"'chain' has no layer to keep by that name\. Received: keep='.*'\. Use one"):
        trace(zoo.build("chain"), keep=[pattern])


def test_graph_refuses_an_unknown_layer():
    with pytest.raises(
        ValueError, match=r"Model 'chain' has no .* Received: name='z'\. Use one of: a, b, c, classifier"
    ):
        trace(zoo.build("chain")).layer("z")
