// Runs a .tflite file in TFLite Micro: runner MODEL ARENA_BYTES INPUTS OUTPUTS. Inputs are int8 samples one after the
// other, outputs are written so. Prints the bytes used of the arena and the processor's microseconds for all inferences.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <vector>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tf_structprune_decode.h"

namespace {

std::vector<char> Read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return std::vector<char>(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// Bytes at a boundary of 16, as firmware's arrays are.
char* Aligned(std::vector<char>* memory, std::size_t size) {
  memory->resize(size + 16);
  const std::size_t past = reinterpret_cast<std::size_t>(memory->data()) % 16;
  return memory->data() + (past ? 16 - past : 0);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) return 2;
  tflite::InitializeTarget();
  const std::vector<char> file = Read(arguments[1]), inputs = Read(arguments[3]);
  std::vector<char> model_memory, arena_memory, outputs;
  char* model = Aligned(&model_memory, file.size());
  std::copy(file.begin(), file.end(), model);
  const std::size_t arena_bytes = std::strtoul(arguments[2], nullptr, 10);
  std::uint8_t* arena = reinterpret_cast<std::uint8_t*>(Aligned(&arena_memory, arena_bytes));

  tflite::MicroMutableOpResolver<10> resolver;
  if (resolver.AddConv2D() != kTfLiteOk || resolver.AddAdd() != kTfLiteOk || resolver.AddAveragePool2D() != kTfLiteOk ||
      resolver.AddReshape() != kTfLiteOk || resolver.AddFullyConnected() != kTfLiteOk ||
      resolver.AddSoftmax() != kTfLiteOk || resolver.AddMean() != kTfLiteOk || resolver.AddDecode() != kTfLiteOk ||
      resolver.AddCustom(tf_structprune::kDecodeName, tf_structprune::RegisterDecode()) != kTfLiteOk) {
    return 3;
  }
  tflite::MicroInterpreter interpreter(tflite::GetModel(model), resolver, arena, arena_bytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) return 4;
  TfLiteTensor* input = interpreter.input(0);
  TfLiteTensor* output = interpreter.output(0);
  std::clock_t taken = 0;
  for (std::size_t at = 0; at + input->bytes <= inputs.size(); at += input->bytes) {
    std::copy_n(inputs.data() + at, input->bytes, input->data.raw);
    const std::clock_t start = std::clock();
    if (interpreter.Invoke() != kTfLiteOk) return 5;
    taken += std::clock() - start;
    outputs.insert(outputs.end(), output->data.raw, output->data.raw + output->bytes);
  }
  std::ofstream(arguments[4], std::ios::binary).write(outputs.data(), static_cast<std::streamsize>(outputs.size()));
  std::printf("%zu %.0f\n", interpreter.arena_used_bytes(), 1e6 * static_cast<double>(taken) / CLOCKS_PER_SEC);
  return 0;
}
