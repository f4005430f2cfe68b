"""Recipes: which layer has which word lengths, and that JSON gives back what it was given."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_structprune.fixed_point import FixedPoint, LayerBits

_weight_bits = st.one_of(st.none(), st.integers(2, 8))
_signal_bits = st.one_of(st.none(), st.integers(3, 8))
_layers = st.dictionaries(st.text(max_size=8), st.builds(LayerBits, _weight_bits, _signal_bits), max_size=4)
recipes = st.builds(FixedPoint, _weight_bits, _signal_bits, st.booleans(), st.booleans(), _layers)


def test_defaults_are_eight_bits_and_powers_of_two_by_layer():
    recipe = FixedPoint()
    assert (recipe.weight_bits, recipe.signal_bits, recipe.power_of_two, recipe.per_channel) == (8, 8, True, False)
    assert recipe.default == LayerBits() == LayerBits(8, 8)
    assert recipe.layers == {}


def test_layers_without_exception_have_the_bits_of_the_recipe():
    recipe = FixedPoint(4, None, layers={"a": LayerBits(2, 3)})
    assert recipe.bits_of("b") == recipe.default == LayerBits(4, None)


def test_exact_name_counts_before_patterns():
    recipe = FixedPoint(layers={"*": LayerBits(2, 3), "conv": LayerBits(5, 6)})
    assert recipe.bits_of("conv") == LayerBits(5, 6)
    assert recipe.bits_of("conv_1") == LayerBits(2, 3)


@pytest.mark.parametrize("order", [("conv_*", "*_1"), ("*_1", "conv_*")], ids=" before ".join)
def test_first_pattern_that_matches_counts(order):
    bits = {"conv_*": LayerBits(3, 3), "*_1": LayerBits(4, 4)}
    recipe = FixedPoint(layers={pattern: bits[pattern] for pattern in order})
    assert recipe.bits_of("conv_1") == bits[order[0]]
    assert (recipe.bits_of("conv_2"), recipe.bits_of("dense_1")) == (bits["conv_*"], bits["*_1"])


def test_patterns_tell_upper_from_lower_case():
    recipe = FixedPoint(layers={"Conv*": LayerBits(2, 3)})
    assert recipe.bits_of("Conv_1") == LayerBits(2, 3)
    assert recipe.bits_of("conv_1") == LayerBits(8, 8)


def test_name_that_looks_like_a_pattern_is_a_name_first():
    recipe = FixedPoint(layers={"conv[1]": LayerBits(2, 3)})
    assert recipe.bits_of("conv[1]") == recipe.bits_of("conv1") == LayerBits(2, 3)
    assert recipe.bits_of("conv[2]") == LayerBits(8, 8)
    recipe.check_names(["conv[1]"])


@pytest.mark.parametrize("pattern", ["a", "a*", "*", "[ab]"])
def test_names_and_patterns_that_fit_a_layer_are_taken(pattern):
    FixedPoint(layers={pattern: LayerBits(4, 4)}).check_names(iter(["a", "b"]))


@pytest.mark.parametrize("pattern", ["c", "A", "a?"])
def test_names_and_patterns_that_fit_no_layer_are_refused(pattern):
    with pytest.raises(ValueError, match=r"no layer .* has that name. Received: layer=.*Use one of: a, b\."):
        FixedPoint(layers={"a": LayerBits(), pattern: LayerBits()}).check_names(["a", "b"])


@given(recipes)
def test_json_gives_the_recipe_back(recipe):
    again = FixedPoint.from_json(recipe.to_json())
    assert again == recipe
    assert list(again.layers) == list(recipe.layers)  # the first pattern that matches counts


def test_json_takes_the_integers_of_numpy():
    recipe = FixedPoint(np.int64(4), np.int8(5), layers={"a": LayerBits(np.int64(2), None)})
    assert FixedPoint.from_json(recipe.to_json()) == recipe


def test_json_is_an_object_of_the_attributes():
    recipe = FixedPoint(4, 5, per_channel=True, layers={"conv*": LayerBits(2, None)})
    assert json.loads(recipe.to_json()) == {
        "weight_bits": 4,
        "signal_bits": 5,
        "power_of_two": True,
        "per_channel": True,
        "shared": None,
        "sharing": "cws",
        "entropy": 0.0,
        "layers": {"conv*": {"weight_bits": 2, "signal_bits": None}},
    }
    assert recipe.to_json().endswith("}\n")


def test_what_json_leaves_out_has_its_default():
    assert FixedPoint.from_json("{}") == FixedPoint()
    text = '{"weight_bits": 4, "signal_bits": null, "layers": {"a": {"signal_bits": 3}, "b": {"weight_bits": null}}}'
    layers = {"a": LayerBits(4, 3), "b": LayerBits(None, None)}
    assert FixedPoint.from_json(text) == FixedPoint(4, None, layers=layers)


REFUSED_JSON = {
    "no JSON": ("{'weight_bits': 4}", "recipe: not JSON. Received: Expecting property name.*Write it with FixedPoint"),
    "no object": ("[4, 5]", r"recipe: must be a JSON object. Received: \[4, 5\]"),
    "unknown name": ('{"bits": 4}', "recipe: unknown name. Received: 'bits'. Use: entropy, layers, per_channel, power"),
    "fraction": ('{"weight_bits": 4.0}', "recipe: weight_bits must be int or null. Received: weight_bits=4.0"),
    "truth for bits": ('{"signal_bits": true}', "recipe: signal_bits must be int or null. Received: signal_bits=True"),
    "number for truth": ('{"power_of_two": 1}', "recipe: power_of_two must be bool. Received: power_of_two=1"),
    "null for truth": ('{"per_channel": null}', "recipe: per_channel must be bool. Received: per_channel=None"),
    "list of layers": ('{"layers": [1]}', r"recipe: layers must be dict. Received: layers=\[1\]"),
    "bits for a layer": ('{"layers": {"a": 4}}', "recipe, layer 'a': must be a JSON object. Received: 4"),
    "unknown name in a layer": (
        '{"layers": {"a": {"per_channel": true}}}',
        "recipe, layer 'a': unknown name. Received: 'per_channel'. Use: signal_bits, weight_bits",
    ),
    "text in a layer": (
        '{"layers": {"a": {"weight_bits": "4"}}}',
        "recipe, layer 'a': weight_bits must be int or null. Received: weight_bits='4'",
    ),
    "one value": ('{"shared": 1}', "Weights share 2 values or more. Received: count=1"),
    "unknown sharing": ('{"shared": 4, "sharing": "x"}', "Unknown weight sharing. Received: method='x'"),
    "shared by channel": ('{"shared": 4, "per_channel": true}', "Received: shared with per_channel=True. Use one"),
    "negative entropy": ('{"entropy": -0.1}', "entropy must be a number of 0 or more. Received: entropy=-0.1"),
    "endless entropy": ('{"entropy": Infinity}', "entropy must be a number of 0 or more. Received: entropy=inf"),
    "entropy of few words": (
        '{"entropy": 1, "shared": 4}',
        "among all words of the weights. Received: entropy=1 with s",
    ),
    "entropy in float": (
        '{"entropy": 0.1, "weight_bits": null}',
        "Received: entropy=0.1 with shared=None and weight_b",
    ),
    "long word": ('{"weight_bits": 9}', "bits of a signed word must be from 2 to 8. Received: bits=9"),
    "short word in a layer": (
        '{"layers": {"a": {"signal_bits": 2}}}',
        "unsigned word must be from 3 to 8. Received: bits=2",
    ),
}


@pytest.mark.parametrize("case", REFUSED_JSON)
def test_json_that_is_no_recipe_is_refused(case):
    text, message = REFUSED_JSON[case]
    with pytest.raises(ValueError, match=message):
        FixedPoint.from_json(text)


@pytest.mark.parametrize("kind", [FixedPoint, LayerBits])
@pytest.mark.parametrize(
    "bits, message",
    [
        ({"weight_bits": 1}, "signed word must be from 2 to 8. Received: bits=1"),
        ({"weight_bits": 9}, "signed word must be from 2 to 8. Received: bits=9"),
        ({"weight_bits": 4.5}, "signed word must be a whole number. Received: bits=4.5"),
        ({"signal_bits": 2}, "unsigned word must be from 3 to 8. Received: bits=2"),
        ({"signal_bits": 9}, "unsigned word must be from 3 to 8. Received: bits=9"),
        ({"signal_bits": "8"}, "unsigned word must be a whole number. Received: bits='8'"),
    ],
    ids=str,
)
def test_wrong_word_lengths_are_refused(kind, bits, message):
    with pytest.raises(ValueError, match=message):
        kind(**bits)


def test_exceptions_that_are_no_word_lengths_are_refused():
    with pytest.raises(ValueError, match="recipe, layer 'a': must be a LayerBits. Received: 4. Use LayerBits"):
        FixedPoint(layers={"a": 4})


def test_recipes_do_not_change():
    layers = {"a": LayerBits(2, 3)}
    recipe = FixedPoint(layers=layers)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.weight_bits = 4
    layers["b"] = LayerBits(4, 4)  # the caller's
    assert recipe.bits_of("b") == LayerBits(8, 8)
