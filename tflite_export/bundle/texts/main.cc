// Runs one inference with TFLite Micro and prints the output; README.md says how to build it.
${head}#include <cstddef>
#include <cstdint>

#include "${name}_data.h"
#include "${name}_ops.h"
#include "${name}_settings.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"
${test_header}
namespace {

namespace settings = ${name}_settings;

static_assert(settings::kArenaBytes > 0,
              "The arena was not measured: build with -D${macro}_ARENA_BYTES=..., see ${name}_settings.h");
alignas(16) std::uint8_t arena[settings::kArenaBytes];
${memory}
${samples}
${prints}
}  // namespace

${begin}
  tflite::InitializeTarget();
${tests_data}  const tflite::Model* model = tflite::GetModel(${name}_data);
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
    MicroPrintf("AllocateTensors failed; for a larger arena build with -D${macro}_ARENA_BYTES=...");
    return 1;
  }
  MicroPrintf("arena: %d of %d bytes", static_cast<int>(interpreter.arena_used_bytes()),
              static_cast<int>(settings::kArenaBytes));
${takes}${gives}  if (${missing}) {
    MicroPrintf("${name}_settings.h belongs to another model");
    return 1;
  }
${tests}${fills}  if (interpreter.Invoke() != kTfLiteOk) {
    MicroPrintf("Invoke failed");
    return 1;
  }
${shows}  return 0;
}
${end}