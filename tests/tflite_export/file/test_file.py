import pytest
from ai_edge_litert import schema_py_generated as schema

from tflite_export.bundle import micro_bundle
from tflite_export.file import TFLiteFile, memory_table, open_file, slim
from tflite_export.runtime import run_litert, run_reference

READERS = {
    "open_file": open_file,
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


def test_file_is_given_back_as_it_is(float_file):
    file = open_file(float_file)
    assert open_file(file) is file
    assert (file.data, file.name) == (float_file, "model")


def test_files_of_the_same_bytes_are_equal(float_file, int8_file, tmp_path):
    (tmp_path / "some.tflite").write_bytes(float_file)
    read = open_file(tmp_path / "some.tflite")
    assert read == open_file(float_file) != open_file(int8_file)
    assert read.name == f"'{tmp_path / 'some.tflite'}'"


def test_file_is_parsed_once(int8_file, samples, monkeypatch):
    parsed, real = [], schema.ModelT.InitFromPackedBuf
    monkeypatch.setattr(schema.ModelT, "InitFromPackedBuf", lambda data: parsed.append(data) or real(data))
    file = TFLiteFile(int8_file)
    assert parsed == []
    for _ in range(2):
        run_litert(file, samples[:2])
        run_reference(file, samples[:2])
        memory_table(file, tflm_arena_bytes=None)
        micro_bundle(file, "net", arena_bytes=1)
    assert parsed == [int8_file]


def test_edit_leaves_the_file_as_it_was(float_file):
    file = TFLiteFile(float_file)
    before = file.description
    smaller = file.edited(slim)
    assert len(smaller.data) < len(file.data)
    assert file.data == float_file and file.description is before == TFLiteFile(float_file).description
