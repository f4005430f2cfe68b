"""Data come from arrays, files, folders, data sets and functions, all with the same result, or are refused."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tflite_export.compress import tiny
from tflite_export.compress import Data, data_of, load_data
from tflite_export.compress._data import check_data

X, Y = tiny.arrays(40)
X_TEST, Y_TEST = tiny.arrays(30, 2)


def same(data, other):
    for name, value in vars(other).items():
        found = getattr(data, name)
        assert (found is None) == (value is None), name
        for one, each in zip(keras.tree.flatten(found), keras.tree.flatten(value), strict=True):
            np.testing.assert_array_equal(one, each)


def data_set(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(16)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return math.ceil(len(self.x) / 16)

    def __getitem__(self, index):
        part = slice(16 * index, 16 * index + 16)
        return self.x[part], self.y[part]


def generator(x, y):
    return lambda: (Batches(x, y)[index] for index in range(len(Batches(x, y))))


FORMS = {
    "pairs": lambda: ((X, Y), (X_TEST, Y_TEST)),
    "by name": lambda: {"train": (X, Y), "test": (X_TEST, Y_TEST)},
    "as in a file": lambda: {"x_train": X, "y_train": Y, "x_test": X_TEST, "y_test": Y_TEST},
    "tf.data": lambda: (data_set(X, Y), data_set(X_TEST, Y_TEST)),
    "PyDataset": lambda: {"train": Batches(X, Y), "test": Batches(X_TEST, Y_TEST)},
    "generator": lambda: {"train": generator(X, Y), "test": generator(X_TEST, Y_TEST)},
    "with weights": lambda: ((X, Y, np.ones(40)), (X_TEST, Y_TEST)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_data(form, tmp_path):
    np.savez(tmp_path / "data.npz", x_train=X, y_train=Y, x_test=X_TEST, y_test=Y_TEST)
    wanted = load_data(tmp_path / "data.npz", seed=3)
    found = data_of(form(), seed=3)
    if found.w_train is not None:
        assert found.w_train.shape == (len(found.x_train),)
        found = Data(*(getattr(found, name) for name in vars(found) if name != "w_train"))
    same(found, wanted)


def test_three_parts_are_not_split():
    data = data_of(((X[:30], Y[:30]), (X[30:], Y[30:]), (X_TEST, Y_TEST)), seed=0)
    same(data, Data(X[:30], Y[:30], X[30:], Y[30:], X_TEST, Y_TEST))
    assert data_of(data, seed=1) is data


def test_folder_of_arrays_is_mapped_into_memory(tmp_path):
    for name, array in {"x_train": X, "y_train": Y, "x_val": X, "y_val": Y, "x_test": X, "y_test": Y}.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "notes.txt").write_text("not read")
    data = load_data(tmp_path, seed=0)
    assert isinstance(data.x_train, np.memmap)
    same(data, Data(X, Y, X, Y, X, Y))


def two_inputs():
    image, numbers = keras.Input((8, 8, 1), name="image"), keras.Input((2,), name="numbers")
    x = keras.layers.Concatenate()([keras.layers.Flatten()(image), numbers])
    return keras.Model([image, numbers], keras.layers.Dense(3)(x), name="both")


@pytest.mark.parametrize("names", [("image", "numbers"), ("0", "1")], ids=["named", "numbered"])
def test_several_inputs_of_a_file_are_found_by_name_or_number(tmp_path, names):
    numbers = np.arange(80.0).reshape(40, 2)
    arrays = {"y_train": Y, "y_test": Y}
    for part in ("train", "test"):
        arrays |= {f"x_{part}_{name}": array for name, array in zip(names, (X, numbers), strict=True)}
    np.savez(tmp_path / "data.npz", **arrays)
    data, _ = check_data(load_data(tmp_path / "data.npz", seed=0), two_inputs())
    assert [array.shape for array in data.x_train] == [(36, 8, 8, 1), (36, 2)]
    for array, all_of in zip(data.x_test, (X, numbers), strict=True):
        np.testing.assert_array_equal(array, all_of)


def test_function_of_a_module_gives_the_data(tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(
        "import numpy as np\n\n\ndef arrays():\n"
        "    x = np.arange(40.0).reshape(20, 2)\n    return (x, np.arange(20) % 2), (x, np.arange(20) % 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    data = load_data("own_data:arrays", seed=0)
    assert data.x_train.shape == (18, 2) and data.x_val.shape == (2, 2)


def images(folder, parts, *, count=6, size=8):
    """PNG files of random pixels, one folder a class, and the pixels by path."""
    rng, written = np.random.default_rng(0), {}
    for part in parts:
        for name in ("cat", "dog", "eel"):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (size, size, 1), np.uint8)
                path = folder / part / name / f"{index}.png"
                keras.utils.save_img(path, pixels, scale=False)
                written[path] = pixels
    return written


def test_folder_of_images_gives_bytes_and_class_indices(tmp_path):
    pixels = images(tmp_path, ("train", "val", "test"))
    data = load_data(tmp_path, seed=0, model=tiny.trained())
    for part in ("train", "val", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        assert x.dtype == np.uint8 and x.shape == (18, 8, 8, 1)
        np.testing.assert_array_equal(x, [value for path, value in pixels.items() if path.parts[-3] == part])
        np.testing.assert_array_equal(y, np.repeat([0, 1, 2], 6))


def test_images_of_another_size_and_form_are_scaled(tmp_path):
    images(tmp_path, ("train", "test"), size=16)
    assert load_data(tmp_path, seed=0, model=tiny.trained()).x_test.shape == (18, 8, 8, 1)


@pytest.mark.parametrize("parts", [("train", "test"), ("train",), ("",)], ids=["no val", "train alone", "no parts"])
def test_missing_parts_are_split_off_by_the_seed(tmp_path, parts):
    pixels = images(tmp_path, parts, count=20)
    data, again, other = (load_data(tmp_path, seed=seed, model=tiny.trained()) for seed in (0, 0, 1))
    same(data, again)
    found = [x.tobytes() for part in ("train", "val", "test") for x in getattr(data, f"x_{part}")]
    assert sorted(found) == sorted(value.tobytes() for value in pixels.values())
    assert not np.array_equal(data.x_val, other.x_val)


def test_corrupt_images_are_named_and_counted_and_left_out_when_asked(tmp_path, caplog):
    paths = list(images(tmp_path, ("train", "val", "test")))
    paths[0].write_bytes(b"no image")
    paths[7].write_bytes(paths[7].read_bytes()[:60])
    with pytest.raises(ValueError, match=r"2 of 54 images cannot be read. Received: .*cat/0.png, .*dog/1.png. Remove"):
        load_data(tmp_path, seed=0, model=tiny.trained())
    data = load_data(tmp_path, seed=0, model=tiny.trained(), skip_corrupt=True)
    assert len(data.x_train) == len(data.y_train) == 16
    assert "2 of 54 images cannot be read" in caplog.text


def without_images(folder):
    for path in folder.glob("train/dog/*"):
        path.unlink()


def without_classes(folder):
    for name in ("dog", "eel"):
        for path in folder.glob(f"train/{name}/*"):
            path.unlink()
        (folder / "train" / name).rmdir()


def with_a_new_class(folder):
    (folder / "test" / "cat").rename(folder / "test" / "ape")


BAD_FOLDERS = {
    "a class without images": (without_images, r"train/dog has no images. Received: no file that ends in .png"),
    "one class": (without_classes, "train must have a folder for each of two or more classes. Received: cat"),
    "a class of the test part alone": (with_a_new_class, "test has classes that the training part has not. .*: ape"),
}


@pytest.mark.parametrize("change, message", BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_bad_folders_of_images_are_refused(tmp_path, change, message):
    images(tmp_path, ("train", "test"))
    change(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_data(tmp_path, seed=0, model=tiny.trained())


def test_images_for_a_model_that_takes_none_are_refused(tmp_path):
    images(tmp_path, ("train", "test"))
    with pytest.raises(ValueError, match=r"Model 'both' takes no images of height x width x 1, 3 or 4 channels"):
        load_data(tmp_path, seed=0, model=two_inputs())
    with pytest.raises(ValueError, match="has images. Received: no model that tells their size"):
        load_data(tmp_path, seed=0)


def endless():
    while True:
        yield np.zeros((50_000, 1)), np.zeros(50_000)


BAD_SOURCES = {
    "a number": (3, TypeError, "Data must have a training and a test part. Received: int"),
    "no test part": ({"train": (X, Y)}, TypeError, "Received: keys train. Give a dictionary with train, test"),
    "another part": ({"train": (X, Y), "test": (X, Y), "dev": (X, Y)}, TypeError, "Received: keys train, test, dev"),
    "no key": ({"x_train": X, "y_train": Y}, ValueError, "data lacks x_test, y_test"),
    "both forms": ({"x_train": X, "x_train_a": X}, ValueError, "data has x_train as one array and by names"),
    "no targets in one part": ({"x_train": X, "x_test": X, "y_test": Y}, ValueError, "data lacks y_train"),
    "endless": ({"train": endless, "test": (X, Y)}, ValueError, "train never ends. Received: more than 1,000,000"),
    "empty": ({"train": lambda: iter(()), "test": (X, Y)}, ValueError, "train is empty"),
    "no module": ("none_there:data", ValueError, "No function for the data there. Received: none_there:data: No mod"),
    "no function": ("os:sep", ValueError, "os:sep is no function. Received: str"),
}


@pytest.mark.parametrize("source, error, message", BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_bad_sources_are_refused(source, error, message):
    with pytest.raises(error, match=message):
        data_of(source, seed=0)


def test_damaged_array_of_a_folder_is_refused_by_name(tmp_path):
    (tmp_path / "x_train.npy").write_bytes(b"\x93NUMPY and no more")
    with pytest.raises(ValueError, match=r"x_train.npy cannot be read as .npy. Received: .* Write it with numpy.save"):
        load_data(tmp_path, seed=0)


GOOD = {"x_train": X, "y_train": Y, "x_val": X, "y_val": Y, "x_test": X, "y_test": Y}
MISFITS = {
    "weights of other samples": ({"w_train": np.ones(3)}, r"w_train must be one weight of 0 or more for each of 40"),
    "negative weights": ({"w_train": -np.ones(40)}, "w_train must be one weight of 0 or more"),
    "targets of other samples": ({"y_val": Y[:9]}, "x_val and y_val need the same length. Received: 40 samples, targ"),
    "targets of one part alone": ({"y_test": None}, "y_test is missing. Received: targets for other parts"),
    "targets by another name": ({"y_train": {"a": Y}}, "y_train does not fit the model's outputs. Targets must have"),
}


@pytest.mark.parametrize("changes, message", MISFITS.values(), ids=MISFITS)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check_data(Data(**(GOOD | changes)), tiny.trained())


def test_without_labels_the_given_model_is_the_teacher():
    data, task = check_data(Data(X, None, X, None, X_TEST, None), tiny.trained())
    np.testing.assert_allclose(data.y_test, tiny.trained().predict(X_TEST, verbose=0), atol=1e-6)
    assert str(task) == "the given model's 3 classes, categorical crossentropy, judged by the disagreement"
    assert task.score(data.y_test, data.y_test) == 0
    assert task.score(data.y_test, np.roll(data.y_test, 1, axis=1)) == -1
