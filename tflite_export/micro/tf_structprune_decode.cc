#include "tf_structprune_decode.h"

#include <cstddef>
#include <cstdint>

#include "sham.h"
#include "tensorflow/lite/c/common.h"

namespace tf_structprune {
namespace {

// A tensor's bytes, of which each is an element.
struct Bytes {
  std::uint8_t* data;
  std::size_t size;
};

bool Find(const TfLiteContext* context, const TfLiteIntArray* tensors, int place, TfLiteType type, Bytes* found) {
  if (tensors->data[place] < 0) return false;
  const TfLiteEvalTensor* tensor = context->GetEvalTensor(context, tensors->data[place]);
  if (tensor == nullptr || tensor->type != type) return false;
  found->data = static_cast<std::uint8_t*>(tensor->data.data);
  found->size = 1;
  for (int i = 0; i < tensor->dims->size; ++i) found->size *= static_cast<std::size_t>(tensor->dims->data[i]);
  return true;
}

// The operator decodes one tensor or several: its inputs are the coded bytes and the table of each, in turn.
bool Paired(const TfLiteNode* node) { return node->inputs->size == 2 * node->outputs->size; }

// Opens a layer of a node; the first time it looks whether all bytes are as they were written.
bool Open(const TfLiteContext* context, const TfLiteNode* node, int place, bool first, sham_coded* layer,
          Bytes* weights) {
  Bytes coded, table;
  if (!Find(context, node->inputs, 2 * place, kTfLiteUInt8, &coded) ||
      !Find(context, node->inputs, 2 * place + 1, kTfLiteUInt8, &table) ||
      !Find(context, node->outputs, place, kTfLiteInt8, weights) || coded.data == nullptr || table.data == nullptr) {
    return false;
  }
  if (first && (sham_intact(coded.data, coded.size) || sham_intact(table.data, table.size))) return false;
  return sham_coded_open(layer, coded.data, coded.size, table.data, table.size, weights->size) == SHAM_OK;
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  sham_coded layer;
  Bytes weights;
  if (!Paired(node)) return kTfLiteError;
  for (int i = 0; i < node->outputs->size; ++i) {
    if (!Open(context, node, i, true, &layer, &weights)) return kTfLiteError;
  }
  return kTfLiteOk;
}

TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) {
  sham_coded layer;
  Bytes weights;
  for (int i = 0; i < node->outputs->size; ++i) {
    if (!Open(context, node, i, false, &layer, &weights) || weights.data == nullptr) return kTfLiteError;
    std::int8_t* out = reinterpret_cast<std::int8_t*>(weights.data);
    if (sham_coded_read(&layer, out, weights.size) != SHAM_OK) return kTfLiteError;
  }
  return kTfLiteOk;
}

}  // namespace

const TFLMRegistration* RegisterDecode() {
  static constexpr TFLMRegistration registration = {nullptr, nullptr, Prepare, Invoke, nullptr, 0, kDecodeName};
  return &registration;
}

}  // namespace tf_structprune
