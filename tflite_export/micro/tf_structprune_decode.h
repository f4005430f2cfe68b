// The operator TFSP_DECODE of TFLite Micro: gives a layer's weights out of the coded form of sham.h, into the arena.
#ifndef TF_STRUCTPRUNE_DECODE_H_
#define TF_STRUCTPRUNE_DECODE_H_

#include "tensorflow/lite/micro/micro_common.h"

namespace tf_structprune {

constexpr char kDecodeName[] = "TFSP_DECODE";

// For a resolver: resolver.AddCustom(tf_structprune::kDecodeName, tf_structprune::RegisterDecode()).
const TFLMRegistration* RegisterDecode();

}  // namespace tf_structprune

#endif  // TF_STRUCTPRUNE_DECODE_H_
