import pytest

from tflite_export.runtime import describe, make_interpreter, read_model, run_litert

READERS = {
    "read_model": read_model,
    "describe": describe,
    "make_interpreter": make_interpreter,
    "run_litert": lambda model: run_litert(model, [[0.0]]),
}


@pytest.fixture(params=READERS)
def reader(request):
    return READERS[request.param]


def test_missing_file_is_refused(reader, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"TFLite model '.*absent\.tflite': no such file"):
        reader(tmp_path / "absent.tflite")


def test_directory_is_refused(reader, tmp_path):
    with pytest.raises(ValueError, match="must be a file. Received: a directory"):
        reader(tmp_path)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04 a zip", b"\x00" * 100], ids=repr)
def test_foreign_file_is_refused(reader, tmp_path, content):
    path = tmp_path / "foreign.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"foreign\.tflite': not a TFLite model"):
        reader(path)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.99])
def test_truncated_file_is_refused(reader, float_file, part):
    with pytest.raises(ValueError, match="damaged or truncated TFLite model"):
        reader(float_file[: int(len(float_file) * part)])


def test_garbage_behind_the_identifier_is_refused(reader):
    with pytest.raises(ValueError, match="damaged or truncated TFLite model"):
        reader(b"\x1c\x00\x00\x00TFL3" + bytes(range(256)))
