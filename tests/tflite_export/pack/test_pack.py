"""A packed file computes in TFLite Micro what the unpacked one does, reads back as it, and is as small as it says."""

from functools import partial
from typing import get_args, get_type_hints

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.tflite_export.pack.files import DRAWN, X, drawn, network, pruned, with_weights
from tf_structprune.storage import huffman
from tflite_export.compress import CompressSettings
from tflite_export.file import DECODERS, TFLiteFile, slim, slim_with_names
from tflite_export.pack import (
    CODE_SIZES,
    CODERS,
    Coded,
    CodeSize,
    Group,
    Packing,
    Weights,
    _pack,
    decoded,
    pack,
    stand_in,
)
from tflite_export.pack._huffman import ancillary
from tflite_export.pack._huffman_tables import tables_of
from tflite_export.pack._insert import with_decoders
from tflite_export.pack._pack import written
from tflite_export.pack._search import Costs
from tflite_export.pack._tensors import form_of, packable
from tflite_export.runtime import arena_bytes, run_tflm, tflm_available

needs_tflm = pytest.mark.skipif(not tflm_available(), reason="needs tflite-micro")
WAYS = [
    ("pruned", "bitmap"),
    ("pruned", "huffman"),
    ("few values", "lut"),
    ("few values", "huffman"),
    ("bell", "huffman"),
    ("pruned", "own"),
    ("few values", "own"),
    ("bell", "own"),
]


@needs_tflm
@pytest.mark.parametrize("kind, how", WAYS)
def test_tflm_computes_the_same(kind, how):
    file = drawn(kind)
    packed = pack(file, how)
    assert packed.pays and {group.coder for group in packed.groups} == {how}
    assert np.array_equal(run_tflm(stand_in(packed.file), X), run_tflm(file, X))


def test_stand_in_has_the_same_weights_and_shapes_and_tflms_own_operator():
    packed = pack(drawn("pruned"), "own").file
    other = stand_in(packed)
    assert [op.name for op in packed.description.operators if op.name in DECODERS] != []
    assert [op.name.replace("TFSP", "TFLM") for op in packed.description.operators] == [
        op.name for op in other.description.operators
    ]
    assert other.description.decoded_bytes == packed.description.decoded_bytes
    theirs, ours = (packable(decoded(each, own=False)).values() for each in (other, packed))
    assert sorted(each.values.tobytes() for each in theirs) == sorted(each.values.tobytes() for each in ours)
    assert stand_in(other) is other


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind, how", WAYS)
def test_packed_file_reads_back_byte_for_byte(kind, how, seed):
    packed = pack(drawn(kind, seed), how)
    back = decoded(packed.file)
    assert back.data == packed.unpacked.data == drawn(kind, seed).edited(slim).data
    assert packed.candidate_bytes == len(packed.file.data) < len(back.data)
    assert not back.description.packed and packed.file.description.packed


@pytest.mark.parametrize("kind", DRAWN)
def test_auto_takes_no_more_than_any_coder_alone(kind, monkeypatch):
    sizes = []
    for how in CODERS:
        try:
            sizes.append(pack(drawn(kind), how).candidate_bytes)
        except ValueError as error:
            assert "makes none of its weights smaller" in str(error)
    auto = pack(drawn(kind))
    assert auto.candidate_bytes <= min(sizes)


@pytest.mark.parametrize("code, pays", [(0, True), (10**6, False)])
def test_auto_packs_only_where_file_and_code_are_smaller(monkeypatch, code, pays):
    for operator in DECODERS:
        monkeypatch.setitem(CODE_SIZES, operator, CodeSize(code, 2 * code))
    found = pack(drawn("pruned"))
    assert found.pays == pays == (found.saved_bytes > 0)
    assert found.saved_bytes == len(found.unpacked.data) - found.candidate_bytes - code
    assert (found.file.data == found.unpacked.data) != pays
    for figure in (len(found.unpacked.data), found.candidate_bytes, code, found.candidate_bytes + 2 * code):
        assert f"{figure:,}" in str(found)
    assert ("stays unpacked" in str(found)) != pays
    assert pack(drawn("pruned"), "bitmap").pays


@pytest.mark.parametrize("most, told", [(100, False), (10**6, True)])
def test_decoder_that_must_be_built_for_size_is_told(monkeypatch, most, told):
    monkeypatch.setitem(CODE_SIZES, "TFLM_DECODE", type(CODE_SIZES["TFLM_DECODE"])(0, most))
    assert ("Build the decoder for size" in str(pack(drawn("pruned")))) == told


@pytest.mark.parametrize("coder", ["huffman", "bitmap"])
@pytest.mark.parametrize("together", [False, True])
def test_sizes_that_the_search_counts_are_those_of_the_file(coder, together):
    """To a few words: what aligns vectors, and what is written once for all."""
    file = drawn("pruned")
    costs = Costs(packable(file))
    groups = [Group(coder, tuple(costs.weights))] if together else [Group(coder, (index,)) for index in costs.weights]
    if any(costs.packed(group) is None for group in groups):
        assert coder == "bitmap" and together
        return
    counted = len(file.data) - costs.total_gain(groups)
    assert -8 * len(costs.weights) < len(written(file, costs, groups).data) - counted < 80 + 8 * len(costs.weights)


def test_file_that_does_not_read_back_is_not_handed_over(monkeypatch):
    monkeypatch.setattr(_pack, "decoded", lambda file: file)
    with pytest.raises(RuntimeError, match="packed weights do not read back as they were"):
        pack(drawn("pruned"), "bitmap")


def test_layers_share_a_huffman_code_and_small_tensors_stay():
    (group,) = pack(drawn("bell"), "huffman").groups
    sizes = {index: weights.values.size for index, weights in packable(drawn("bell")).items()}
    assert len(group.tensors) > 1 and min(sizes, key=sizes.get) not in group.tensors


@needs_tflm
def test_decoded_weights_may_lie_beside_the_arena():
    packed = pack(drawn("few values"), "huffman").file
    apart = packed.description.decoded_bytes
    assert apart >= max(weights.values.size for weights in packable(drawn("few values")).values())
    assert np.array_equal(run_tflm(packed, X, decode_bytes=apart), run_tflm(packed, X))
    assert arena_bytes(packed, decode_bytes=apart) < arena_bytes(packed)


@needs_tflm
@pytest.mark.parametrize("wide", [False, True], ids=["16 bits", "32 bits"])
def test_tables_with_entries_of_either_width_are_read_alike(wide):
    file = drawn("bell")
    weights = packable(file)
    index = max(weights, key=lambda at: weights[at].values.size)
    coded = CODERS["huffman"].encode([weights[index]])
    counts = weights[index].counts
    shared = ancillary(tables_of(huffman(counts, least=1), counts), wide=wide)
    assert (shared == coded.ancillary) != wide
    coded = [("TFLM_DECODE", Group("huffman", (index,)), Coded(coded.encoded, shared))]
    made = file.edited(partial(with_decoders, coded=coded), slim)
    assert decoded(made, own=False).data == file.data
    assert np.array_equal(run_tflm(made, X), run_tflm(file, X))


@needs_tflm
@pytest.mark.parametrize("how", CODERS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_with_zero_points_are_decoded_by_tflm(how, per_channel):
    """Reshaped to an output, where no kernel has an opinion of zero points."""
    file = drawn("few values" if how == "lut" else "pruned")
    index = max(packable(file), key=lambda at: (len(file.description.tensors[at].scales) > 1, at))
    pointed = file.edited(partial(_given, index=index, per_channel=per_channel), slim)
    weights = Weights(packable(file)[index].values, form_of(pointed.parsed.subgraphs[0].tensors[index]))
    assert len(weights.form.zero_points) > 1 or not per_channel
    coded = [(CODERS[how].operator, Group(how, (index,)), CODERS[how].encode([weights]))]
    packed = pointed.edited(partial(with_decoders, coded=coded), slim)
    assert packed.description.packed and decoded(packed, own=False).data == pointed.data
    assert np.array_equal(run_tflm(stand_in(packed), X[:1])[1][0], weights.values.ravel())


def _given(model, *, index, per_channel):
    """Only the first operator is left, and the weights, with zero points, are reshaped to a second output."""
    (graph,) = model.subgraphs
    weights = graph.tensors[index]
    found, count = weights.quantization, len(weights.quantization.scale) if per_channel else 1
    found.scale, found.zeroPoint = found.scale[:count], np.arange(count) % 5 - 2 if per_channel else np.array([16])
    found.quantizedDimension = found.quantizedDimension if per_channel else 0
    code, shape, flat, reshape = schema.OperatorCodeT(), schema.TensorT(), schema.TensorT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    code.version = 1
    size = np.array([1, np.prod(weights.shape)], np.int32)
    shape.shape, shape.type, shape.buffer = np.array([2], np.int32), schema.TensorType.INT32, len(model.buffers)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = size.view(np.uint8)
    flat.shape, flat.type = size, schema.TensorType.INT8
    at = len(graph.tensors)
    graph.tensors += [shape, flat]
    reshape.opcodeIndex, reshape.inputs = len(model.operatorCodes), np.array([index, at], np.int32)
    reshape.outputs = np.array([at + 1], np.int32)
    model.operatorCodes.append(code)
    graph.operators = [graph.operators[0], reshape]
    graph.outputs = np.array([graph.operators[0].outputs[0], at + 1], np.int32)


def test_every_operator_that_decodes_has_its_code_counted():
    assert set(CODE_SIZES) == set(DECODERS) == {coder.operator for coder in CODERS.values()}


def test_words_of_the_settings_are_the_coders():
    words = get_args(Packing)
    assert words == ("auto", *CODERS)
    assert get_args(get_type_hints(CompressSettings)["pack"]) == ("none", *words)


def test_names_of_the_ends_stay_if_asked_for():
    file = drawn("pruned").edited(_named)
    kept, without = (pack(file, "huffman", names=names).file for names in (True, False))
    assert kept.description.inputs[0].name == "image" and without.description.inputs[0].name == ""
    assert decoded(kept).data == file.edited(slim_with_names).data


def _named(model):
    (graph,) = model.subgraphs
    graph.tensors[graph.inputs[0]].name = b"image"


def test_description_counts_what_was_packed():
    file, packed = drawn("pruned"), pack(drawn("pruned"), "huffman").file
    assert packed.description.parameters == file.description.parameters
    assert packed.description.macs == file.description.macs
    assert packed.description.biases and len(packed.description.weights) > len(file.description.weights)


def _two_readers(model):
    """The same weights read by two operators, one behind the other."""
    (graph,) = model.subgraphs
    twice = [each for each in graph.operators if each.inputs[0] == graph.inputs[0]]
    again = schema.OperatorT()
    vars(again).update(vars(twice[0]))
    graph.tensors.append(graph.tensors[twice[0].outputs[0]])
    again.outputs = np.array([len(graph.tensors) - 1], np.int32)
    graph.outputs = np.array([*graph.outputs, len(graph.tensors) - 1], np.int32)
    graph.operators = [again, *graph.operators]


@needs_tflm
def test_weights_with_two_readers_are_decoded_for_each():
    file = with_weights(pruned).edited(_two_readers)
    packed = pack(file, "bitmap").file
    readers = sum(name == "TFLM_DECODE" for name in (each.name for each in packed.description.operators))
    assert readers == 1 + sum(len(group.tensors) for group in pack(file, "bitmap").groups)
    for one, other in zip(run_tflm(packed, X), run_tflm(file, X), strict=True):
        assert np.array_equal(one, other)
    assert decoded(packed).data == file.edited(slim).data


BAD = {
    "unknown": (network, "zip", "pack must be 'auto', 'huffman', 'bitmap', 'lut', 'own'. Received: pack='zip'"),
    "packed": (lambda: pack(drawn("pruned"), "bitmap").file, "auto", "its weights are packed already"),
    "many values": (
        lambda: with_weights(lambda rng, shape: rng.integers(-128, 128, shape)),
        "lut",
        "'lut' makes none of its weights smaller",
    ),
    "no model": (lambda: b"no model at all", "auto", "not a TFLite model"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_packed_is_refused(case):
    make, how, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        pack(make(), how)


def test_float_file_has_nothing_to_pack(float_file):
    with pytest.raises(ValueError, match=r"has no int8 weights.* Received: operators .*CONV_2D.*quantize='int8'"):
        pack(float_file)


def test_file_without_weights_has_nothing_to_pack(raw_file):
    data = raw_file(lambda x: x + x, (1, 4))
    with pytest.raises(ValueError, match="has no int8 weights"):
        pack(TFLiteFile(data))
