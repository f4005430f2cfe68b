// What the operator uses of TFLite Micro's tensorflow/lite/micro/micro_common.h and kernels/kernel_util.h: declarations
// of our own, with the names and the layout that the wheel of October 2026 has on 64-bit machines, so that the operator
// can be compiled where TFLite Micro's sources are not.
#pragma once
#include <cstddef>
#include <cstdint>

namespace tflite {
namespace micro {

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
enum TfLiteType { kTfLiteNoType = 0, kTfLiteUInt8 = 3, kTfLiteInt8 = 9 };

struct TfLiteContext;

struct TfLiteIntArray {
  int size;
  int data[1];  // as many as `size` says
};

union TfLitePtrUnion {
  void* data;
};

struct TfLiteEvalTensor {
  TfLitePtrUnion data;
  TfLiteIntArray* dims;
  TfLiteType type;
};

struct TfLiteNode {
  TfLiteIntArray* inputs;
  TfLiteIntArray* outputs;
};

struct TFLMRegistration {
  void* (*init)(TfLiteContext* context, const char* buffer, std::size_t length);
  void (*free)(TfLiteContext* context, void* buffer);
  TfLiteStatus (*prepare)(TfLiteContext* context, TfLiteNode* node);
  TfLiteStatus (*invoke)(TfLiteContext* context, TfLiteNode* node);
  void (*reset)(TfLiteContext* context, void* buffer);
  std::int32_t builtin_code;
  const char* custom_name;
};

}  // namespace micro
}  // namespace tflite

using namespace tflite::micro;
