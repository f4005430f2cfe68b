"""Who alone reads a tensor, and what lies behind a call."""

import keras
import pytest

from tf_structprune.graph import list_calls, readers_of

_L = keras.layers


def behind(build, name="first"):
    """Names of the calls behind a layer that have no other reader beside them."""
    inputs = keras.Input((4,))
    found = list_calls(keras.Model(inputs, build(_L.Dense(4, name="first")(inputs))))
    (call,) = (call for call in found.calls if call.name == name)
    return [reader.name for reader in readers_of(found).behind(call)]


def shared(x):
    relu = _L.ReLU(name="shared")
    return relu(_L.Dense(4, name="second")(relu(x)))


def nested(x):
    inner = keras.Input((4,), name="image")
    return keras.Model(inner, _L.ReLU(name="relu")(inner), name="block")(x)


CHAINS = {
    "to the end": (lambda x: _L.ReLU(name="b")(_L.ReLU(name="a")(x)), ["a", "b"]),
    "to the join": (lambda x: _L.Add(name="join")([_L.ReLU(name="a")(x), _L.ReLU(name="b")(x)]), []),
    "not where it is read twice by one call": (lambda x: _L.Add(name="join")([x, x]), []),
    "not past an output": (lambda x: [x, _L.ReLU(name="a")(x)], []),
    "up to an output": (lambda x: [(y := _L.ReLU(name="a")(x)), _L.ReLU(name="b")(y)], ["a"]),
    "not into a layer that is called elsewhere too": (shared, []),
    "into a nested model": (nested, ["block/image", "block/relu"]),
}


@pytest.mark.parametrize("build, names", CHAINS.values(), ids=CHAINS)
def test_chain_behind_a_call_goes(build, names):
    assert behind(build) == names
