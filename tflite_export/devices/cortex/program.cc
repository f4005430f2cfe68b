// Runs the samples of inputs.bin through the model, writes outputs.bin and, as numbers of 64 bits, figures.bin:
// bytes of the arena, bytes of the stack, operators, ticks of the clock of every sample, ticks of every operator of the
// last sample.
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "model_data.h"
#include "model_ops.h"
#include "semihosting.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/schema/schema_generated.h"

extern "C" std::uint8_t arena_start[], arena_end[];

// In the place of the library's own log, which may go anywhere.
extern "C" int DebugVsnprintf(char* buffer, std::size_t size, const char* format, va_list arguments) {
  return vsniprintf(buffer, size, format, arguments);
}
extern "C" void DebugLog(const char* format, va_list arguments) {
  char line[256];
  vsniprintf(line, sizeof line, format, arguments);
  semihosting_print(line);
}

namespace {

constexpr std::size_t kMostOperators = 1024;
enum Figure : std::size_t { kArena, kStack, kOperators, kTicks };

template <std::size_t kLength>
std::int32_t Open(const char (&name)[kLength], std::int32_t mode) {
  return semihosting_open(name, kLength - 1, mode);
}

std::uint64_t figures[kMostOperators];
std::uint64_t operator_ticks[kMostOperators];  // not in the class, whose start values lie in flash

// Ticks of each operator, in the order in which they run.
class Operators : public tflite::MicroProfilerInterface {
 public:
  std::uint32_t BeginEvent(const char* tag) override {
    static_cast<void>(tag);
    start_ = clock_ticks();
    return static_cast<std::uint32_t>(count_);
  }
  void EndEvent(std::uint32_t event) override {
    if (event < kMostOperators) operator_ticks[event] = clock_ticks() - start_;
    ++count_;
  }
  void Restart() { count_ = 0; }
  std::size_t count() const { return count_ < kMostOperators ? count_ : kMostOperators; }

 private:
  std::uint64_t start_ = 0;
  std::size_t count_ = 0;
};

Operators operators;

// Fills the inputs with the next sample; whether there was one.
bool Read(std::int32_t file, tflite::MicroInterpreter& interpreter) {
  for (std::size_t i = 0; i < interpreter.inputs_size(); ++i) {
    const TfLiteTensor* input = interpreter.input(i);
    if (semihosting_move(SYS_READ, file, input->data.raw, input->bytes) != 0) return false;
  }
  return true;
}

void Write(std::int32_t file, tflite::MicroInterpreter& interpreter) {
  for (std::size_t i = 0; i < interpreter.outputs_size(); ++i) {
    const TfLiteTensor* output = interpreter.output(i);
    semihosting_move(SYS_WRITE, file, output->data.raw, output->bytes);
  }
}

// Runs all samples; how many, or -1.
int Run(tflite::MicroInterpreter& interpreter) {
  const std::int32_t inputs = Open("inputs.bin", OPEN_READ_BINARY);
  const std::int32_t outputs = Open("outputs.bin", OPEN_WRITE_BINARY);
  int samples = 0;
  for (; Read(inputs, interpreter); ++samples) {
    operators.Restart();
    const std::uint64_t start = clock_ticks();
    if (interpreter.Invoke() != kTfLiteOk) return -1;
    figures[kTicks + samples] = clock_ticks() - start;
    Write(outputs, interpreter);
  }
  semihosting_close(outputs);
  return samples;
}

}  // namespace

int main() {
  clock_start();
  const tflite::Model* model = tflite::GetModel(model_data);
  model_ops_resolver resolver;
  if (model->version() != TFLITE_SCHEMA_VERSION || model_ops_register(resolver) != kTfLiteOk) {
    MicroPrintf("the library does not take the model");
    return 1;
  }
  tflite::MicroInterpreter interpreter(model, resolver, arena_start, arena_end - arena_start, nullptr, &operators);
  if (interpreter.AllocateTensors() != kTfLiteOk) return 1;
  const int samples = Run(interpreter);
  if (samples < 0) return 1;
  figures[kArena] = interpreter.arena_used_bytes();
  figures[kStack] = stack_used();
  figures[kOperators] = operators.count();
  const std::int32_t file = Open("figures.bin", OPEN_WRITE_BINARY);
  semihosting_move(SYS_WRITE, file, figures, (kTicks + samples) * sizeof *figures);
  semihosting_move(SYS_WRITE, file, operator_ticks, operators.count() * sizeof *figures);
  semihosting_close(file);
  return 0;
}
