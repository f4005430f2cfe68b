"""All that firmware needs to run a model in TFLite Micro, with a program that does it and how to build it."""

import string
from collections.abc import Sequence

from tflite_export.bundle._model_settings import End, Ends, model_settings
from tflite_export.bundle._op_resolver import op_resolver
from tflite_export.bundle._own_operator import own_parts, own_sources
from tflite_export.file import TFLM_DECODE, TFLiteModel, open_file
from tflite_export.pack import CODE_SIZES
from tflite_export.runtime import check_ends
from tflite_export.write import c_array

_KB = 1000


def micro_bundle(
    model: TFLiteModel,
    name: str,
    *,
    arena_bytes: int | None,
    tflm_version: str | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> dict[str, str]:
    """Writes the sources of a firmware that runs a model.

    `NAME_data.cc` and `NAME_data.h`: the file as an array (`c_array`). `NAME_ops.h`: its operators
    (`op_resolver`). `model_settings.h`: shapes, scales, zero points, arena (`model_settings`). `main.cc`: a
    program that runs one inference and prints the output. `README.md`: how to build it with TFLite Micro.

    Args:
        model: a `.tflite` file with inputs of batch 1.
        name: C++ identifier that starts the names.
        arena_bytes: tensor arena, from `runtime.arena_bytes`; None when it was not measured, and then `main.cc`
            asks for it at compile time.
        tflm_version: version of the TFLite Micro that measured it.
        inputs: names of several inputs, in the order of the file, which has none; they are numbered without.
        outputs: names of several outputs.

    Returns:
        Texts by file name; the same arguments give the same texts.

    Raises:
        ValueError: `name` is no C++ identifier, a damaged file, no input or output, types that C++ has no
            name for here, names for another number of ends, or an operator that TFLite Micro lacks.
    """
    file = open_file(model)
    array = c_array(file.data, f"{name}_data")
    description = file.description
    check_ends(description)
    ends = Ends.of(description, inputs, outputs)
    names = {
        "name": name,
        "macro": f"{name.upper().rstrip('_')}_ARENA_BYTES",
        "samples": "\n".join(_filled(_SAMPLE, end) for end in ends.inputs),
        "prints": "\n".join(_filled(_PRINT, end) for end in ends.outputs),
        "takes": "".join(_filled(_TAKE, end) for end in ends.inputs),
        "gives": "".join(_filled(_GIVE, end) for end in ends.outputs),
        "missing": " || ".join(f"{end.variable} == nullptr" for end in (*ends.inputs, *ends.outputs)),
        "fills": "".join(_filled(_FILL, end) for end in ends.inputs),
        "shows": "".join(_filled(_SHOW, end) for end in ends.outputs),
    }
    for place, part in {"memory": _APART, "gives_memory": _GIVE_APART, "packed": _PACKED}.items():
        names[place] = _about_packed(part, name) if TFLM_DECODE in description.operator_names else ""
    names |= own_parts(description, name)
    return own_sources(description) | {
        f"{name}_data.cc": array.source,
        f"{name}_data.h": array.header,
        f"{name}_ops.h": op_resolver(description, f"{name}_ops"),
        "model_settings.h": model_settings(
            description, name, arena_bytes=arena_bytes, tflm_version=tflm_version, ends=ends
        ),
        "main.cc": string.Template(_MAIN).substitute(names),
        "README.md": string.Template(_README).substitute(names),
    }


def _about_packed(part: str, name: str) -> str:
    """A part of the program or its description for packed weights."""
    code = CODE_SIZES[TFLM_DECODE]
    return string.Template(part).substitute(
        name=name,
        apart=f"{name.upper().rstrip('_')}_DECODE_APART",
        least=f"{code.least_bytes / _KB:.1f}",
        most=f"{code.most_bytes / _KB:.1f}",
    )


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
#ifdef ${apart}
alignas(16) std::uint8_t decoded[settings::kDecodedBytes];
const tflite::MicroContext::AlternateMemoryRegion decode_memory = {decoded, settings::kDecodedBytes};
#endif
"""
_GIVE_APART = """
#ifdef ${apart}
  if (interpreter.SetDecompressionMemory(&decode_memory, 1) != kTfLiteOk) {
    MicroPrintf("The memory for decoded weights was refused");
    return 1;
  }
#endif
"""
_MAIN = """\
// Runs one inference with TFLite Micro and prints the output; README.md says how to build it.
#include <cstddef>
#include <cstdint>

#include "${name}_data.h"
#include "${name}_ops.h"
#include "model_settings.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

namespace settings = ${name}_settings;

static_assert(settings::kArenaBytes > 0,
              "The arena was not measured: build with -D${macro}=..., see model_settings.h");
alignas(16) std::uint8_t arena[settings::kArenaBytes];
${memory}
${samples}
${prints}
}  // namespace

int main() {
  tflite::InitializeTarget();
  const tflite::Model* model = tflite::GetModel(${name}_data);
  if (model->version() != TFLITE_SCHEMA_VERSION) {
    MicroPrintf("The model has another schema than this TFLite Micro");
    return 1;
  }
  ${name}_ops_resolver resolver;
  if (${name}_ops_register(resolver) != kTfLiteOk) {
    MicroPrintf("An operator could not be registered");
    return 1;
  }
  tflite::MicroInterpreter interpreter(model, resolver, arena, settings::kArenaBytes);${gives_memory}
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("AllocateTensors failed; for a larger arena build with -D${macro}=...");
    return 1;
  }
  MicroPrintf("arena: %d of %d bytes", static_cast<int>(interpreter.arena_used_bytes()),
              static_cast<int>(settings::kArenaBytes));
${takes}${gives}  if (${missing}) {
    MicroPrintf("model_settings.h belongs to another model");
    return 1;
  }
${fills}  if (interpreter.Invoke() != kTfLiteOk) {
    MicroPrintf("Invoke failed");
    return 1;
  }
${shows}  return 0;
}
"""

_README = """\
# ${name} for TFLite Micro

| file | what |
|---|---|
| `${name}_data.cc`, `${name}_data.h` | the model as an aligned constant array |
| `${name}_ops.h` | a resolver with exactly its operators |
| `model_settings.h` | shapes, types, scales and zero points; conversion of real numbers; size of the tensor arena |
| `main.cc` | one inference; put your samples into its `Sample` functions, build, run |
${own_files}
The files need C++11 or later and nothing but TFLite Micro.

## On a PC

You need git, make 3.82 or later, g++ with C++17, curl, wget, unzip, patch, and Python 3 with numpy and pillow (TFLite
Micro's makefile runs them). Get TFLite Micro and build its library; this takes some minutes:

    git clone https://github.com/tensorflow/tflite-micro
    make -C tflite-micro -f tensorflow/lite/micro/tools/make/Makefile -j4 third_party_downloads
    make -C tflite-micro -f tensorflow/lite/micro/tools/make/Makefile -j4 microlite

Build and run, in this directory:

    TFLM=$$PWD/tflite-micro  # wherever it is
    DOWNLOADS=$$TFLM/tensorflow/lite/micro/tools/make/downloads
    LIBRARY=$$(echo $$TFLM/gen/*_$$(uname -m)_default_gcc/lib/libtensorflow-microlite.a)
    g++ -std=c++17 -O2 -fno-rtti -fno-exceptions -DTF_LITE_STATIC_MEMORY -I. -I$$TFLM \\
        -I$$DOWNLOADS/flatbuffers/include -I$$DOWNLOADS/gemmlowp -I$$DOWNLOADS/ruy \\
        main.cc ${name}_data.cc${own_units} $$LIBRARY -lm -o ${name}
    ./${name}

`TF_LITE_STATIC_MEMORY` must be defined as it was for the library: without it the structs have another layout.

## On a microcontroller

Build the library for your core, for example a Cortex-M4 with floating-point unit and CMSIS-NN's kernels; the makefile
downloads the compiler:

    make -C tflite-micro -f tensorflow/lite/micro/tools/make/Makefile -j4 \\
        TARGET=cortex_m_generic TARGET_ARCH=cortex-m4+fp OPTIMIZED_KERNEL_DIR=cmsis_nn microlite

Compile `main.cc` and `${name}_data.cc` in your firmware's project with that compiler, the flags of your board and, as
above, `-std=c++17 -fno-rtti -fno-exceptions -DTF_LITE_STATIC_MEMORY` and the four include paths, for example

    arm-none-eabi-g++ -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard -Os -ffunction-sections \\
        -fdata-sections -std=c++17 -fno-rtti -fno-exceptions -fno-threadsafe-statics -DTF_LITE_STATIC_MEMORY -I. \\
        -I$$TFLM -I$$DOWNLOADS/flatbuffers/include -I$$DOWNLOADS/gemmlowp -I$$DOWNLOADS/ruy \\
        -c main.cc ${name}_data.cc${own_units}

and link them with the library in `tflite-micro/gen/cortex_m_generic_cortex-m4+fp_default_cmsis_nn_gcc/lib/` and
your startup code and linker script (`-Wl,--gc-sections` drops the kernels that the model does not use). With this
target, TFLite Micro's log goes where `RegisterDebugLogCallback` of
`tensorflow/lite/micro/cortex_m_generic/debug_log_callback.h` says; call it first in `main`.

If the arena is too small, `AllocateTensors` fails and says what is missing: build with `-D${macro}=...`. If it
is large enough, `main.cc` prints what was used.

${packed}${own_packed}## As an example in TFLite Micro's tree

Copy the files into `tflite-micro/tensorflow/lite/micro/examples/${name}/`, put this `Makefile.inc` beside them,

    ${name}_EXAMPLE := $$(TENSORFLOW_ROOT)tensorflow/lite/micro/examples/${name}/
    $$(eval $$(call microlite_test,${name},\\
    $$(${name}_EXAMPLE)main.cc $$(${name}_EXAMPLE)${name}_data.cc${own_example_units},\\
    $$(${name}_EXAMPLE)model_settings.h $$(${name}_EXAMPLE)${name}_data.h${own_example_headers} \\
    $$(${name}_EXAMPLE)${name}_ops.h,))

and build and run it for a PC, or with `TARGET=` for any target that TFLite Micro knows:

    make -C tflite-micro -f tensorflow/lite/micro/tools/make/Makefile -j4 run_${name}
"""
_PACKED = """\
## Packed weights

The weights are packed, and a TFLM_DECODE operator unpacks those of a layer into the arena right before the layer runs
(`AddDecode` in `${name}_ops.h`). With -D${apart} `main.cc` gives them memory beside the arena.

TFLite Micro's own tree has the operator, Zephyr's module `tflite-micro`, and Espressif's `esp-tflite-micro` from 1.4.0
on. Arduino's libraries do not have it, and neither has LiteRT: for these and for phones take the file with the weights
as they are, which was written beside the packed one.

Its code takes ${most} KB of flash as TFLite Micro's makefile builds kernels (-O2), and ${least} KB with
`tensorflow/lite/micro/kernels/decode_state_lut.cc` compiled with -Os, which costs speed only where weights are indices
into tables.

"""
