"""Models in an archive: what was packed comes back, damaged files are refused, nothing is overwritten unasked."""

import dataclasses
import hashlib
import io
import json
import resource
import struct
import zipfile
import zlib

import keras
import numpy as np
import pytest

from tests.tf_structprune.storage.matrices import shared
from tf_structprune.storage import _container as container
from tf_structprune.storage import load, save
from tf_structprune.storage._bells import decode_bells, encode_bells, frequencies
from tf_structprune.storage._flatbuffer import regions_of
from tf_structprune.storage._layout import parted, with_layout
from tf_structprune.storage._vectors import (
    _PIECE,
    code_arrays,
    code_bytes,
    decode_bytes,
    decode_words,
    keras_text,
    pieces_of,
)

INT8, FLOAT32, INT32 = 9, 0, 2


def network(share=1.0):
    """A small network, with so much of its kernels left."""
    layers = keras.layers
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(24, 3, name="first")(inputs)
    x = layers.BatchNormalization(name="normalization")(x)
    x = layers.Flatten()(layers.Conv2D(32, 3, activation="relu", name="second")(x))
    model = keras.Model(inputs, layers.Dense(10, name="outputs")(x))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        values = rng.normal(size=variable.shape).astype(np.float32)
        if share < 1 and len(variable.shape) > 1:
            values = shared(*values.reshape(-1, values.shape[-1]).shape, share, 7).reshape(values.shape)
        variable.assign(values)
    return model


def tflite(buffers, *, types=None):
    """The bytes of a flatbuffer with one subgraph and a tensor for each buffer, by hand.

    Tables lie behind their vtables, all offsets are to later places.
    """
    data, types = bytearray(8), types or [INT8] * len(buffers)

    def table(*fields):
        """A table of 32-bit fields, None for a default; gives its place and those of its fields."""
        while len(data) % 4:
            data.append(0)
        size = 4 + 2 * len(fields)
        places, at = [], 4
        for field in fields:
            places.append(0 if field is None else at)
            at += 0 if field is None else 4
        data.extend(struct.pack(f"<HH{len(fields)}H", size, at, *places))
        while len(data) % 4:
            data.append(0)
        start = len(data)
        vtable = start - (size + (-size % 4))
        data.extend(struct.pack("<i", start - vtable))
        data.extend(b"".join(struct.pack("<I", field) for field in fields if field is not None))
        return start, [start + place for place in places]

    def vector(count, payload=b""):
        while len(data) % 4:
            data.append(0)
        start = len(data)
        data.extend(struct.pack("<I", count) + (payload or bytes(4 * count)))
        return start

    def point(place, target):
        struct.pack_into("<I", data, place, target - place)

    model, fields = table(3, None, 0, None, 0)
    struct.pack_into("<I", data, 0, model)
    data[4:8] = b"TFL3"
    subgraphs = vector(1)
    point(fields[2], subgraphs)
    graph, graph_fields = table(0)
    point(subgraphs + 4, graph)
    tensors = vector(len(buffers))
    point(graph_fields[0], tensors)
    for number, kind in enumerate(types):
        tensor, own = table(0, kind, number + 1)
        point(tensors + 4 + 4 * number, tensor)
        point(own[0], vector(2, struct.pack("<ii", 1, 1)))
    held = vector(len(buffers) + 1)
    point(fields[4], held)
    for number, content in enumerate([b"", *buffers]):
        buffer, own = table(0)
        point(held + 4 + 4 * number, buffer)
        point(own[0], vector(len(content), content + bytes(-len(content) % 4)) if content else vector(0))
    return bytes(data) + b"metadata behind it all"


def weights(count, *, share=0.2, values=11, dtype="int8", seed=0):
    return shared(count, 1, share, values, dtype=dtype, seed=seed).tobytes()


FILES = {
    "no buffers": tflite([]),
    "small ones": tflite([b"abcd", bytes(10)]),
    "pruned": tflite([weights(9000), weights(300, seed=1), weights(4096, seed=2)]),
    "dense": tflite([np.random.default_rng(0).normal(0, 30, 5000).astype(np.int8).tobytes()]),
    "floats": tflite([weights(4000, dtype="float32", share=1, values=3000)], types=[FLOAT32]),
    "of all kinds": tflite([weights(800), weights(900, dtype="float32"), weights(70, dtype="int32")], types=[9, 0, 2]),
    "of no whole number": tflite([bytes(101)], types=[FLOAT32]),
}


def written(tmp_path, content, name="model.tflite"):
    file = tmp_path / name
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_tflite_comes_back_byte_for_byte(tmp_path, content):
    packed = save(written(tmp_path, content), tmp_path / "m.sham")
    assert packed.packed_bytes == (tmp_path / "m.sham").stat().st_size
    assert packed.given_bytes == len(content)
    assert load(tmp_path / "m.sham", tmp_path / "back.tflite").read_bytes() == content


def test_weights_are_found_by_their_types():
    content = FILES["of all kinds"]
    found = regions_of(content)
    assert [(region.dtype, region.size) for region in found] == [("i1", 800), ("f4", 3600), ("i4", 280)]
    assert content[found[0].start :][:800] == weights(800)
    assert all(region.rank == 2 for region in found)


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_a_keras_model_comes_back(tmp_path, share):
    model = network(share)
    packed = save(model, tmp_path / "m.sham")
    again = keras.models.load_model(load(tmp_path / "m.sham", tmp_path / "back.keras"))
    model.save(tmp_path / "plain.keras")
    assert again.get_config() == keras.models.load_model(tmp_path / "plain.keras").get_config()
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy().view(np.uint32), other.numpy().view(np.uint32))
        assert one.path == other.path
    limit = {1.0: 0.9, 0.1: 0.06}[share]
    assert packed.arrays_bytes < limit * packed.weights_bytes


def test_compiled_models_keep_their_optimizer(tmp_path):
    model = network()
    model.compile("adam", "mse")
    model.fit(np.zeros((4, 12, 12, 3)), np.zeros((4, 10)), verbose=0)
    save(model, tmp_path / "m.sham")
    again = keras.models.load_model(load(tmp_path / "m.sham", tmp_path / "back.keras"))
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_layers_share_codes_where_that_is_smaller():
    alike = [shared(60, 9, 0.3, 40, seed=3).copy() for _ in range(12)]
    assert len(code_arrays(alike).pools) == 1
    apart = [shared(300, 60, 0.1, 5, seed=1), np.random.default_rng(0).normal(size=(200, 40)).astype(np.float32)]
    assert len(code_arrays(apart).pools) == 2
    assert code_arrays([]).pools == []


@pytest.mark.parametrize("size", [0, 1, 70, 5000])
def test_bytes_of_any_kind_come_back(size):
    for data in (bytes(size), np.random.default_rng(0).bytes(size), b"name " * size):
        section = code_bytes(data)
        assert decode_bytes(section) == data
        assert len(section.data) <= len(data)


def test_configuration_of_a_small_network_takes_few_bytes():
    """As deflate as if behind a text of Keras's, which files depend on for ever."""
    assert hashlib.sha256(keras_text()).hexdigest().startswith("020b4f71e6768962")
    model = keras.Sequential([keras.Input((9, 9, 2)), keras.layers.Conv2D(3, 3), keras.layers.Flatten()], name="small")
    text = model.to_json().encode()
    section = code_bytes(text)
    assert section.coding == "keras" and decode_bytes(section) == text
    assert len(section.data) < 0.15 * len(text) < len(zlib.compress(text, 9))


def test_pools_beyond_a_piece_come_back(monkeypatch):
    monkeypatch.setattr("tf_structprune.storage._vectors._PIECE", 1000)
    array = shared(2500, 1, 0.3, 9)
    sections = code_arrays([array]).sections
    assert [section.size for section in sections] == pieces_of(2500, 4) == [4000, 4000, 2000]
    again = np.concatenate([decode_words(section, 4) for section in sections])
    np.testing.assert_array_equal(again, array.reshape(-1).view(np.uint32))
    assert _PIECE > 1000


PACKED = {}


def packed_bytes(tmp_path, kind):
    if kind not in PACKED:
        source = network(0.1) if kind == ".keras" else written(tmp_path, FILES["pruned"])
        save(source, tmp_path / "whole.sham")
        PACKED[kind] = (tmp_path / "whole.sham").read_bytes()
    return PACKED[kind]


def read_back(file, kind):
    """What a file gives, in a form that can be compared."""
    out = load(file, file.with_suffix(kind), overwrite=True)
    if kind == ".tflite":
        return out.read_bytes()
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "model.weights.h5"}


@pytest.mark.parametrize("kind", [".tflite", ".keras"])
def test_damaged_files_are_refused_in_a_sentence(tmp_path, kind):
    """Bytes changed, cut off, put in and left out, anywhere: an error of one sentence or the same model."""
    whole, rng = packed_bytes(tmp_path, kind), np.random.default_rng(0)
    wanted = read_back(written(tmp_path, whole, "good.sham"), kind)
    for turn in range(150):
        at = int(rng.integers(0, len(whole)))
        damaged = {
            0: lambda at: whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :],
            1: lambda at: whole[:at],
            2: lambda at: whole[:at] + rng.bytes(7) + whole[at:],
            3: lambda at: whole[:at] + whole[at + 1 :],
            4: lambda at: whole[:at] + bytes(min(64, len(whole) - at)) + whole[at + 64 :],
        }[turn % 5](at)
        file = written(tmp_path, damaged, "damaged.sham")
        try:
            found = read_back(file, kind)
        except ValueError as error:
            assert str(error).startswith(str(file)) and str(error).endswith(".")
            assert "Received: " in str(error)
        else:
            assert found == wanted
        assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []


def with_lie(tmp_path, whole, change):
    """A file whose header, layout or sections were changed, all checksums of sections right again."""
    header, sections = container.read_container(written(tmp_path, whole, "true.sham"))
    lists, rest = parted(decode_bytes(sections[0]))
    change({"header": header, "lists": lists, "sections": sections})
    told = code_bytes(with_layout(lists, rest))
    container.write_container(tmp_path / "lying.sham", header, [told, *sections[1:]])
    return tmp_path / "lying.sham"


def larger(section, size, **others):
    return dataclasses.replace(section, size=size, **others)


LIES = {
    "another kind": lambda file: file["header"].update(kind=".onnx"),
    "another whole": lambda file: file["header"].update(sha256="0" * 32),
    "ten gigabytes": lambda file: file["sections"].__setitem__(1, larger(file["sections"][1], 10**10)),
    "a tenth of a gigabyte": lambda file: file["sections"].__setitem__(1, larger(file["sections"][1], 10**8)),
    "another coding": lambda file: file["sections"].__setitem__(
        1, dataclasses.replace(file["sections"][1], coding="x")
    ),
    "a section too many": lambda file: file["sections"].append(file["sections"][-1]),
    "a section too few": lambda file: file["sections"].pop(),
    "a shorter array": lambda file: file["lists"][1].__setitem__(0, 8999),
    "an endless array": lambda file: file["lists"][1].__setitem__(0, 10**12),
    "a longer gap": lambda file: file["lists"][0].__setitem__(0, 10**9),
    "a gap too few": lambda file: file["lists"][0].pop(),
    "a pool twice": lambda file: file["lists"].append(file["lists"][2]),
    "no pools": lambda file: file["lists"].__delitem__(slice(2, None)),
    "no layout": lambda file: file["lists"].clear(),
    "entries of three bytes": lambda file: file["lists"][2].__setitem__(0, 3),
    "an empty pool": lambda file: file["lists"].append([]),
}


@pytest.mark.parametrize("sections", [None, [["gaps", -1, 2, 3]], [["gaps", 1, 2]], ["gaps"], [[1, 1, 1, 1]]], ids=repr)
def test_headers_of_another_form_are_refused(tmp_path, sections):
    plain = json.dumps({"kind": ".tflite", "sections": sections}).encode()
    packed = zlib.compress(plain)
    head = container._HEAD.pack(container.MAGIC, container.VERSION, len(packed), len(plain), zlib.crc32(packed))
    with pytest.raises(ValueError, match=r"odd.sham cannot be read as a packed model. Received: "):
        load(written(tmp_path, head + packed, "odd.sham"), tmp_path / "out.tflite")


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
def test_headers_that_lie_are_refused(tmp_path, change):
    file = with_lie(tmp_path, packed_bytes(tmp_path, ".tflite"), change)
    with pytest.raises(ValueError, match=r"lying.sham cannot be read as a packed model. Received: .*Pack the model"):
        load(file, tmp_path / "out.tflite")
    assert not (tmp_path / "out.tflite").exists()


def test_a_later_version_is_told(tmp_path):
    whole = bytearray(packed_bytes(tmp_path, ".tflite"))
    whole[8] = 9
    with pytest.raises(ValueError, match="is of version 9, and this program reads up to 1.* Install a newer"):
        load(written(tmp_path, whole, "late.sham"), tmp_path / "out.tflite")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x89SHAM\r\n\x1a", bytes(3000)], ids=repr)
def test_other_files_are_no_archives(tmp_path, content):
    with pytest.raises(ValueError, match=r"other.sham cannot be read as a packed model. Received: "):
        load(written(tmp_path, content, "other.sham"), tmp_path / "out.tflite")


NO_MODELS = {
    "empty": b"",
    "text": b"not a model at all",
    "identifier alone": b"\x00\x00\x00\x00TFL3",
    "offset beyond": struct.pack("<I", 2**31) + b"TFL3" + bytes(40),
    "cut off": FILES["pruned"][:2000],
}


@pytest.mark.parametrize("content", NO_MODELS.values(), ids=NO_MODELS)
def test_a_tflite_that_is_none_is_refused(tmp_path, content):
    file = written(tmp_path, content)
    with pytest.raises(ValueError, match=r"model.tflite cannot be read as a .tflite or .keras model. Received: "):
        save(file, tmp_path / "m.sham")
    assert not (tmp_path / "m.sham").exists()


def test_a_keras_file_that_is_none_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{}")
    for content in (b"", b"text", buffer.getvalue()):
        with pytest.raises(ValueError, match=r"m.keras cannot be read as a Keras model. Received: "):
            save(written(tmp_path, content, "m.keras"), tmp_path / "m.sham")


def test_nothing_is_overwritten_unasked(tmp_path):
    file = written(tmp_path, FILES["pruned"])
    (tmp_path / "m.sham").write_text("mine")
    with pytest.raises(FileExistsError, match=r"m.sham exists. Received: overwrite=False. Use another name, or"):
        save(file, tmp_path / "m.sham")
    assert (tmp_path / "m.sham").read_text() == "mine"
    save(file, tmp_path / "m.sham", overwrite=True)
    with pytest.raises(FileExistsError, match=r"model.tflite exists."):
        load(tmp_path / "m.sham", file)
    assert load(tmp_path / "m.sham", file, overwrite=True) == file


def test_a_folder_that_is_not_there_is_made(tmp_path):
    packed = save(network(), tmp_path / "new" / "model.sham").path
    assert load(packed, tmp_path / "other" / "model.keras").is_file()


def test_a_disk_that_is_full_is_no_damaged_model(tmp_path):
    packed = save(network(), tmp_path / "model.sham").path
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*model\.keras'"):
            load(packed, tmp_path / "model.keras")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["model.sham"]


def test_another_ending_is_refused(tmp_path):
    save(written(tmp_path, FILES["pruned"]), tmp_path / "m.sham")
    with pytest.raises(ValueError, match=r"holds a .tflite. Received: out.keras to write. Use a name in .tflite."):
        load(tmp_path / "m.sham", tmp_path / "out.keras")


def test_missing_files_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        save(tmp_path / "none.tflite", tmp_path / "m.sham")
    with pytest.raises(FileNotFoundError, match="none"):
        load(tmp_path / "none.sham", tmp_path / "x.keras")


@pytest.mark.parametrize("lists", [[], [[]], [[0, 127, 128, 2**40], [], [5]]], ids=repr)
def test_layouts_come_back(lists):
    data = with_layout(lists, b"rest")
    assert parted(data) == (lists, b"rest")
    for end in range(len(data) - len(b"rest")):
        with pytest.raises(ValueError, match="numbers"):
            parted(data[:end])


def layers(count=5):
    """Words of int8 layers of different widths, whose channels reach the ends."""
    rng = np.random.default_rng(0)
    found = [np.clip(np.round(rng.normal(0, 9 + 12 * layer, 3000 + layer)), -127, 127) for layer in range(count)]
    for layer in found:
        layer[::150] = 127
    return [layer.astype(np.int8).view(np.uint8) for layer in found]


def test_layers_of_bytes_are_bells():
    given = layers()
    data = encode_bells([*given, given[0][:3]])
    np.testing.assert_array_equal(decode_bells(data, 15013), np.concatenate([*given, given[0][:3]]))
    entropy = 0.0
    for layer in given:
        counts = np.bincount(layer, minlength=256)
        entropy -= float(np.dot(counts[counts > 0], np.log2(counts[counts > 0] / len(layer)))) / 8
    assert len(data) < 1.03 * entropy
    (section,) = code_arrays([layer.view(np.int8) for layer in given]).sections
    assert section.coding == "bells"


@pytest.mark.parametrize(
    "values", [np.zeros(2000), np.full(2000, 128), np.arange(2000) % 256], ids=["zeros", "-128", "all"]
)
def test_bells_hold_every_byte(values):
    words = (values % 256).astype(np.uint8)
    np.testing.assert_array_equal(decode_bells(encode_bells([words]), 2000), words)


@pytest.mark.parametrize("setting", [(0, 0, 0), (63, 4, 255), (20, 2, 40)])
def test_frequencies_are_whole_and_symmetric(setting):
    found = frequencies(*setting)
    assert found.sum() == 2**20 and found.min() >= 1
    np.testing.assert_array_equal(found[1:128], found[:128:-1])


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\xff\xff", encode_bells(layers())[:-1], encode_bells(layers())], ids=len
)
def test_bells_of_another_form_are_refused(data):
    with pytest.raises(ValueError, match="it ends within|layers of another form"):
        decode_bells(data, 77)
