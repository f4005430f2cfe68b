#include "tf_structprune_decode.h"

#include <cstddef>
#include <cstdint>

#include "sham.h"
#include "tensorflow/lite/micro/kernels/kernel_util.h"

namespace tf_structprune {
namespace {

// Elements of a tensor, none if it is of another type.
std::size_t Count(const TfLiteEvalTensor* tensor, TfLiteType type) {
  if (tensor == nullptr || tensor->type != type) return 0;
  std::size_t count = 1;
  for (int i = 0; i < tensor->dims->size; ++i) count *= static_cast<std::size_t>(tensor->dims->data[i]);
  return count;
}

// The operator decodes one tensor or several: its inputs are the coded bytes and the table of each, in turn.
bool Paired(const TfLiteNode* node) { return node->inputs->size == 2 * node->outputs->size; }

// Opens a layer of a node; the first time it looks whether all bytes are as they were written.
bool Open(const TfLiteContext* context, const TfLiteNode* node, int place, bool first, sham_coded* layer) {
  const TfLiteEvalTensor* coded = tflite::micro::GetEvalInput(context, node, 2 * place);
  const TfLiteEvalTensor* table = tflite::micro::GetEvalInput(context, node, 2 * place + 1);
  const std::size_t coded_size = Count(coded, kTfLiteUInt8), table_size = Count(table, kTfLiteUInt8);
  const std::size_t weights = Count(tflite::micro::GetEvalOutput(context, node, place), kTfLiteInt8);
  if (coded_size == 0 || table_size == 0 || weights == 0) return false;
  const std::uint8_t* coded_data = static_cast<const std::uint8_t*>(coded->data.data);
  const std::uint8_t* table_data = static_cast<const std::uint8_t*>(table->data.data);
  if (coded_data == nullptr || table_data == nullptr) return false;
  if (first && (sham_intact(coded_data, coded_size) || sham_intact(table_data, table_size))) return false;
  return sham_coded_open(layer, coded_data, coded_size, table_data, table_size, weights) == SHAM_OK;
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
  sham_coded layer;
  if (!Paired(node)) return kTfLiteError;
  for (int i = 0; i < node->outputs->size; ++i) {
    if (!Open(context, node, i, true, &layer)) return kTfLiteError;
  }
  return kTfLiteOk;
}

TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) {
  sham_coded layer;
  for (int i = 0; i < node->outputs->size; ++i) {
    std::int8_t* weights = static_cast<std::int8_t*>(tflite::micro::GetEvalOutput(context, node, i)->data.data);
    if (weights == nullptr || !Open(context, node, i, false, &layer)) return kTfLiteError;
    if (sham_coded_read(&layer, weights, layer.left) != SHAM_OK) return kTfLiteError;
  }
  return kTfLiteOk;
}

}  // namespace

const TFLMRegistration* RegisterDecode() {
  static constexpr TFLMRegistration registration = {nullptr, nullptr, Prepare, Invoke, nullptr, 0, kDecodeName};
  return &registration;
}

}  // namespace tf_structprune
