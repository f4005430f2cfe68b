"""A data file is read, checked and split, or refused in one sentence."""

import io
import zipfile
import zlib

import keras
import numpy as np
import pytest

from tests.tflite_export.compress import tiny
from tflite_export.compress import CompressSettings, load_data
from tflite_export.compress._data import check_data, split


@pytest.fixture
def write(tmp_path):
    """Writes the good file with some entries changed; None takes one out."""

    def file(**changes):
        path = tmp_path / "data.npz"
        np.savez(path, **{key: value for key, value in (tiny.files() | changes).items() if value is not None})
        return path

    return file


def image_with(value):
    x, _ = tiny.arrays()
    x[3, 2, 1, 0] = value
    return x


def labels_with(value):
    y = tiny.arrays()[1].astype(np.float64)
    y[3] = value
    return y


X, Y = tiny.arrays()
PARTS = ("train", "val", "test")
BAD_ENTRIES = {
    "key missing": ({"y_test": None}, "lacks y_test. Received: x_train, y_train, x_test. Use the keys x_train"),
    "all keys missing": (
        dict.fromkeys(("x_train", "y_train", "x_test", "y_test")) | {"images": X},
        "lacks x_train, y_train, x_test, y_test. Received: images",
    ),
    "empty": (dict.fromkeys(("x_train", "y_train", "x_test", "y_test")), "Received: no arrays"),
    "x_val alone": ({"x_val": X}, "lacks y_val. .*Use the keys x_train, y_train, x_test, y_test, x_val, y_val"),
    "y_val alone": ({"y_val": Y}, "lacks x_val. Received: "),
    "objects": ({"x_train": np.array([X, None], object)}, "holds Python objects, which are not loaded for safety"),
    "nan": ({"x_train": image_with(np.nan)}, "x_train has 1 values that are not finite. Received: NaN or infinity"),
    "infinity in the test part": ({"x_test": image_with(np.inf), "y_test": Y}, "x_test has 1 values that are not fin"),
    "nan in the validation part": ({"x_val": image_with(np.nan), "y_val": Y}, "x_val has 1 values that are not fin"),
    "text for images": ({"x_train": np.array(["one"] * 320)[:, None]}, "x_train must be real numbers. .*dtype=<U3"),
    "complex images": ({"x_train": X.astype(np.complex64)}, "x_train must be real numbers. Received: dtype=complex64"),
    "nan label": ({"y_train": labels_with(np.nan)}, "y_train must be finite real numbers"),
    "infinite label": ({"y_train": labels_with(np.inf)}, "y_train must be finite real numbers"),
    "text for labels": ({"y_test": np.array(["one"] * 80)}, "y_test must be finite real numbers"),
    "one-hot of no class": ({"y_train": np.zeros((320, 0))}, r"y_train must be finite .*shape=\(320, 0\)"),
    "lengths differ": ({"y_train": Y[:-1]}, "x_train and y_train need the same length, at least 2. .* 320 and 319"),
    "one sample": ({"x_test": X[:1], "y_test": Y[:1]}, "same length, at least 2. Received: 1 and 1"),
    "images one number": ({"x_train": np.float32(1)}, r"need one entry for each sample. Received: shapes \(\) and"),
    "labels one number": ({"y_train": np.int64(1)}, r"need one entry for each sample. .*1\) and \(\)"),
}


@pytest.mark.parametrize("changes, message", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_bad_entries_are_refused(write, changes, message):
    path = write(**changes)
    with pytest.raises(ValueError, match=message) as refused:
        load_data(path, seed=0)
    assert str(path) in str(refused.value)


def npz_of(content, suffix=".npy"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key in tiny.files():
            archive.writestr(key + suffix, content)
    return buffer.getvalue()


def saved(write_arrays):
    buffer = io.BytesIO()
    write_arrays(buffer, **tiny.files())
    return bytearray(buffer.getvalue())


def overwritten(write_arrays, place, junk):
    content = saved(write_arrays)
    content[place : place + len(junk)] = junk
    return bytes(content)


def array_header():
    buffer = io.BytesIO()
    np.save(buffer, X)
    return buffer.getvalue()[:200]


def npz_of_header(text):
    """Arrays with a header of one's own and a hundred bytes."""
    head = text.encode() + b" " * (64 - (11 + len(text)) % 64) + b"\n"
    return npz_of(b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(100))


def npz_of_zeros():
    """A quarter of a gigabyte in a quarter of a megabyte."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **(tiny.files() | {"x_train": np.zeros(2**28 + 1, np.uint8)}))
    return buffer.getvalue()


BAD_BYTES = {
    "header that does not parse": (npz_of_header("[1"), "Received: TokenError: .* Write it with numpy.savez"),
    "header of terabytes": (
        npz_of_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 8, 8, 1)}"),
        r"x_train.npy declares 256,000,000,000,000 bytes of shape \(1000000000000, 8, 8, 1\) and has 100",
    ),
    "zeros that unpack to much": (npz_of_zeros(), "it declares 268,.* more than 100 times as many. Write it"),
    "no bytes": (b"", "cannot be read as .npz. Received: BadZipFile: File is not a zip file"),
    "text": (b"x_train,y_train\n1,2\n", "Received: BadZipFile: File is not a zip file"),
    "a lone array": (array_header(), "Received: BadZipFile: File is not a zip file"),
    "truncated": (bytes(saved(np.savez)[:3000]), "Received: BadZipFile: File is not a zip file"),
    "damaged": (overwritten(np.savez, 3000, bytes(50)), "Received: BadZipFile: Bad CRC-32 for file 'x_train.npy'"),
    "damaged, compressed": (overwritten(np.savez_compressed, 3000, b"\xff" * 2000), "cannot be read as .npz. Received"),
    "array cut short": (
        npz_of(array_header()),
        r"x_train.npy declares 81,920 bytes of shape \(320, 8, 8, 1\) and has 72\. Write it",
    ),
    "entries of text": (npz_of(b"hello"), "Received: x_train.npy without the header of an array. Write it"),
    "entries of no suffix": (npz_of(b"hello", ""), "Received: x_train without the header of an array. Write it"),
    "foreign zip": (npz_of(b"hello", ".csv"), "lacks x_train, y_train, x_test, y_test. Received: x_train.csv, y_tr"),
}


@pytest.mark.parametrize("content, message", BAD_BYTES.values(), ids=BAD_BYTES)
def test_bad_bytes_are_refused(tmp_path, content, message):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        load_data(path, seed=0)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_damaged_deflate_stream_is_refused(tmp_path, monkeypatch):
    # What zlib says of a damaged stream depends on where it breaks; here it is certain to break.
    def broken(*_):
        raise zlib.error("Error -3 while decompressing data")

    path = tmp_path / "data.npz"
    np.savez(path, **tiny.files())
    monkeypatch.setattr(zipfile.ZipExtFile, "read", broken)
    with pytest.raises(ValueError, match="cannot be read as .npz. Received: error: Error -3 while decompressing"):
        load_data(path, seed=0)


@pytest.mark.parametrize("name", ["none.npz", "folder"])
def test_missing_file_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=f"No data file there. Received: .*{name}. Give a .npz with x_train"):
        load_data(tmp_path / name, seed=0)


def test_split_is_a_seeded_partition_of_the_training_part(write):
    path = write(x_train=np.arange(200.0)[:, None], y_train=np.arange(200) % 3)
    data, again, other = (load_data(path, seed=seed) for seed in (0, 0, 1))
    assert (len(data.x_train), len(data.x_val)) == (180, 20)
    assert sorted([*data.x_train[:, 0], *data.x_val[:, 0]]) == list(range(200))
    np.testing.assert_array_equal(data.y_train, data.x_train[:, 0] % 3)
    np.testing.assert_array_equal(data.y_val, data.x_val[:, 0] % 3)
    np.testing.assert_array_equal(data.x_val, again.x_val)
    assert not np.array_equal(data.x_val, other.x_val)


@pytest.mark.parametrize("seed", [0, 7])
def test_split_leaves_the_test_part_as_it_is(write, seed):
    data = load_data(write(), seed=seed)
    np.testing.assert_array_equal(data.x_test, tiny.files()["x_test"])
    np.testing.assert_array_equal(data.y_test, tiny.files()["y_test"])


@pytest.mark.parametrize("samples, held_out", [(2, 1), (9, 1), (10, 1), (1000, 100), (60_000, 5_000)])
def test_split_holds_out_a_tenth_within_limits(samples, held_out):
    x, y = np.zeros((samples, 1)), np.zeros(samples, int)
    assert len(split(x, y, x[:2], y[:2], seed=0).x_val) == held_out


def test_validation_data_of_the_file_are_used(write):
    x_val, y_val = tiny.arrays(30, seed=9)
    data = load_data(write(x_val=x_val, y_val=y_val), seed=0)
    np.testing.assert_array_equal(data.x_val, x_val)
    np.testing.assert_array_equal(data.y_val, y_val)
    np.testing.assert_array_equal(data.x_train, X)
    np.testing.assert_array_equal(data.y_train, Y)


FORMS = {
    "indices": lambda y: y,
    "small integers": lambda y: y.astype(np.uint8),
    "whole floats": lambda y: y.astype(np.float32),
    "column": lambda y: y[:, None],
    "one-hot": lambda y: np.eye(3)[y],
    "one-hot integers": lambda y: np.eye(3, dtype=np.int8)[y],
}


@pytest.mark.parametrize("given", [False, True], ids=["split", "validation given"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_labels_become_class_indices(write, form, given):
    good = tiny.files()
    changes = {key: form(good[key]) for key in ("y_train", "y_test")}
    validation = dict(zip(("x_val", "y_val"), tiny.arrays(30, seed=9), strict=True)) if given else {}
    expected = load_data(write(**validation), seed=0)
    data = load_data(write(**changes, **(validation | ({"y_val": form(validation["y_val"])} if given else {}))), seed=0)
    data, _ = check_data(data, tiny.trained())
    for part in ("y_train", "y_val", "y_test"):
        labels = getattr(data, part)
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, getattr(expected, part))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64", "bool"])
def test_images_keep_their_type(write, dtype):
    x = (X > 0.5).astype(dtype)
    assert load_data(write(x_train=x, x_test=x[:80]), seed=0).x_train.dtype == dtype


def with_part(**changes):
    values = vars(tiny.data()) | changes
    return type(tiny.data())(**values)


MISFITS = {
    "channel axis missing": (
        {"x_train": X[..., 0]},
        r"x_train does not fit the model's input. .*\(8, 8\). Use shape \(8, 8, 1\) \(add the channel axis\)",
    ),
    "another size": (
        {"x_test": np.zeros((80, 9, 8, 1))},
        r"x_test does not fit the model's input. Received: samples of shape \(9, 8, 1\). Use shape \(8, 8, 1\)\.",
    ),
    "another size of validation": ({"x_val": np.zeros((60, 8, 8, 2))}, "x_val does not fit the model's input"),
    "label too large": ({"y_train": Y + 1}, "y_train has labels that the model does not know. .* 1 to 3. Use 0 to 2"),
    "label negative": ({"y_test": tiny.data().y_test - 1}, "y_test has labels that the model does not know. .* -1 to"),
    "label too large in validation": ({"y_val": tiny.data().y_val + 7}, "y_val has labels that .* 7 to 9. Use 0 to 2"),
}


@pytest.mark.parametrize("changes, message", MISFITS.values(), ids=MISFITS)
def test_data_that_do_not_fit_the_model_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check_data(with_part(**changes), tiny.trained())


def test_data_that_fit_the_model_pass():
    check_data(tiny.data(), tiny.trained(), CompressSettings(augment=("flip", "shift")))


def two_inputs():
    first, second = keras.Input((4,)), keras.Input((4,))
    return keras.Model([first, second], keras.layers.Dense(2)(keras.layers.Add()([first, second])))


def ending_in(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers], name="other")


MODELS = {
    "two inputs": (two_inputs, "x_train does not fit the model's inputs. Model '.*' has 2 inputs: .* Received: 1 "),
    "an image as output": (
        lambda: ending_in((8, 8, 1), keras.layers.Conv2D(2, 3)),
        r"The task of model 'other' does not follow .*outputs of shape \(None, 6, 6, 2\), targets of shape",
    ),
    "not built": (lambda: keras.Sequential([keras.layers.Dense(2)], name="late"), "Model 'late' is not built"),
    "any size": (
        lambda: ending_in((None, None, 1), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)),
        r"Model 'other' must take samples of one size, .*\(None, None, 1\). Rebuild it with .*\(8, 8, 1\)",
    ),
}


@pytest.mark.parametrize("model, message", MODELS.values(), ids=MODELS)
def test_models_that_do_not_fit_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        check_data(tiny.data(), model())


def test_changes_of_images_need_images():
    model = ending_in((64,), keras.layers.Dense(3))
    flat = with_part(**{f"x_{part}": getattr(tiny.data(), f"x_{part}").reshape(-1, 64) for part in PARTS})
    check_data(flat, model)
    with pytest.raises(ValueError, match=r"augment changes images of .* augment=flip, samples of shape \(64,\)"):
        check_data(flat, model, CompressSettings(augment=("flip",)))
