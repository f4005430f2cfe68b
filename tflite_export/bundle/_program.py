"""The program of a firmware: it tests itself, runs one inference and prints the output."""

import string
from dataclasses import dataclass

from tflite_export.bundle._model_settings import End, Ends
from tflite_export.bundle._texts import filled
from tflite_export.file import TFLM_DECODE, ModelDescription


@dataclass(frozen=True)
class Entry:
    """How a platform starts a program.

    Attributes:
        head: what the file includes or defines before all else.
        begin: the line that begins the function of the program, which gives 0 or 1.
        end: what follows that function.
    """

    head: str = ""
    begin: str = "int main() {"
    end: str = ""


def program(description: ModelDescription, name: str, ends: Ends, *, entry: Entry, self_test: bool) -> str:
    """The text of `main.cc`.

    Args:
        description: the model.
        name: of the bundle.
        ends: its inputs and outputs.
        entry: how it is started; `${name}` and `${macro}` in it are filled.
        self_test: whether there are recorded samples, which it runs where the macro `NAME_SELF_TEST` is defined.
    """
    apart = TFLM_DECODE in description.operator_names
    macro = macro_of(name)
    names = {
        "name": name,
        "macro": macro,
        "samples": "\n".join(_filled(_SAMPLE, end) for end in ends.inputs),
        "prints": "\n".join(_filled(_PRINT, end) for end in ends.outputs),
        "takes": "".join(_filled(_TAKE, end) for end in ends.inputs),
        "gives": "".join(_filled(_GIVE, end) for end in ends.outputs),
        "missing": " || ".join(f"{end.variable} == nullptr" for end in (*ends.inputs, *ends.outputs)),
        "fills": "".join(_filled(_FILL, end) for end in ends.inputs),
        "shows": "".join(_filled(_SHOW, end) for end in ends.outputs),
    }
    optional = {"memory": (_APART, apart), "gives_memory": (_GIVE_APART, apart)}
    optional |= {"test_header": (_TEST_HEADER, self_test), "tests": (_TESTS, self_test)}
    optional |= {"tests_data": (_TESTS_DATA, self_test)}
    optional |= {place: (getattr(entry, place), True) for place in ("head", "begin", "end")}
    for place, (part, there) in optional.items():
        names[place] = string.Template(part).substitute(name=name, macro=macro) if there else ""
    return filled("main.cc", names)


def macro_of(name: str) -> str:
    """What the macros of a bundle begin with."""
    return name.upper().rstrip("_")


def _filled(part: str, end: End) -> str:
    """A part of the program for one input or output."""
    real = not end.tensor.scales
    return string.Template(part).substitute(
        type=f"{end.name}Type",
        elements=f"k{end.name}Elements",
        into=f"To{end.name}",
        of=end.own,
        variable=end.variable,
        place=end.place,
        format="%.9g" if real else "%d",
        printed="double" if real else "int",
    )


_SAMPLE = """\
// Your sample goes here: the real number at `index` of the input, row by row as in Keras, prepared as for
// training. Integers that are quantized already are written into `${variable}` below as they are.
float Sample${of}(std::size_t index) {
  static_cast<void>(index);
  return 0.0f;
}
"""
_PRINT = """\
void Print${of}(const settings::${type}* output) {
  std::size_t largest = 0;
  for (std::size_t i = 0; i < settings::${elements}; ++i) {
    MicroPrintf("${variable}[%d] = ${format}", static_cast<int>(i), static_cast<${printed}>(output[i]));
    if (output[i] > output[largest]) largest = i;
  }
  MicroPrintf("largest: ${variable}[%d]", static_cast<int>(largest));
}
"""
_TAKE = """\
  settings::${type}* ${variable} = interpreter.typed_input_tensor<settings::${type}>(${place});
"""
_GIVE = """\
  const settings::${type}* ${variable} = interpreter.typed_output_tensor<settings::${type}>(${place});
"""
_FILL = """\
  for (std::size_t i = 0; i < settings::${elements}; ++i) ${variable}[i] = settings::${into}(Sample${of}(i));
"""
_SHOW = """\
  Print${of}(${variable});
"""
_APART = """
#ifdef ${macro}_DECODE_APART
alignas(16) std::uint8_t decoded[settings::kDecodedBytes];
const tflite::MicroContext::AlternateMemoryRegion decode_memory = {decoded, settings::kDecodedBytes};
#endif
"""
_GIVE_APART = """
#ifdef ${macro}_DECODE_APART
  if (interpreter.SetDecompressionMemory(&decode_memory, 1) != kTfLiteOk) {
    MicroPrintf("The memory for decoded weights was refused");
    return 1;
  }
#endif
"""
_TEST_HEADER = """
#ifdef ${macro}_SELF_TEST
#include "${name}_self_test.h"
#endif
"""
_TESTS_DATA = """\
#ifdef ${macro}_SELF_TEST
  if (!${name}_data_is_whole()) return 1;
#endif
"""
_TESTS = """\
#ifdef ${macro}_SELF_TEST
  if (${name}_self_test(interpreter) != 0) return 1;
#endif
"""
