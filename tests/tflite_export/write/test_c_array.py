import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_export.write import c_array

DATA = bytes(range(256)) * 5 + b"\x00\xff\x7f"


def decode(source):
    """The bytes of the only array in a C++ source."""
    body = source.split("{")[1].split("}")[0]
    return bytes(int(literal, 16) for literal in re.findall(r"0x([0-9a-f]{2}),", body))


@given(st.binary(min_size=1, max_size=200))
@settings(deadline=None)
def test_decoding_the_source_gives_the_bytes(data):
    array = c_array(data, "model")
    assert decode(array.source) == data
    assert f"constexpr std::size_t model_size = {len(data)};" in array.header


def test_sources_have_guards_alignment_and_a_last_newline():
    array = c_array(DATA, "key_words")
    lines = array.header.splitlines()
    assert lines[:2] == ["#ifndef KEY_WORDS_H_", "#define KEY_WORDS_H_"]
    assert lines[-1] == "#endif  // KEY_WORDS_H_"
    assert '#include "key_words.h"' in array.source
    assert "alignas(16) const unsigned char key_words[key_words_size] = {" in array.source
    for text in (array.source, array.header):
        assert text.endswith("\n") and not text.endswith("\n\n") and text.isascii()
        assert max(map(len, text.splitlines())) <= 100


def test_same_bytes_give_the_same_text():
    assert c_array(DATA, "model") == c_array(bytes(bytearray(DATA)), "model")


_MAIN = """
#include "model.h"
#include "model.h"
#include <cstdint>
#include <cstdio>
#include <cstring>
int main(int, char** argv) {
  static_assert(sizeof(model) == model_size, "length");
  if (reinterpret_cast<std::uintptr_t>(model) % 16 != 0) return 1;
  std::FILE* file = std::fopen(argv[1], "rb");
  static unsigned char expected[model_size + 1];
  if (std::fread(expected, 1, model_size + 1, file) != model_size) return 2;
  return std::memcmp(expected, model, model_size) == 0 ? 0 : 3;
}
"""


@pytest.mark.parametrize("standard", ["c++11", "c++17"])
def test_compiled_array_is_aligned_and_holds_the_bytes(tmp_path, standard):
    array = c_array(DATA, "model")
    # Without a compiler the decoded text is the proof that is left.
    assert decode(array.source) == DATA and "alignas(16)" in array.source
    compiler = shutil.which("g++")
    if compiler is None:
        return
    for name, text in (("model.cc", array.source), ("model.h", array.header), ("main.cc", _MAIN)):
        (tmp_path / name).write_text(text)
    (tmp_path / "model.bin").write_bytes(DATA)
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *flags, "model.cc", "main.cc", "-o", "program"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "program", tmp_path / "model.bin"]).returncode == 0


@pytest.mark.parametrize("name", ["", "1model", "my-model", "mod el", "class", "_model", "a__b", "modèle", "a\n", "x;"])
def test_names_that_are_no_identifier_are_refused(name):
    with pytest.raises(ValueError, match=r"name must be a C\+\+ identifier.*Received: name="):
        c_array(DATA, name)


def test_no_bytes_are_refused():
    with pytest.raises(ValueError, match="Array 'model': data must not be empty. Received: 0 bytes"):
        c_array(b"", "model")
