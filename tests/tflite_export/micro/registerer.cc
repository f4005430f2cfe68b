// Puts the operator into the interpreter of the tflite-micro wheel, which calls such functions by their name.
#include "tf_structprune_decode.h"

namespace {

constexpr std::int32_t kCustom = 32;
constexpr unsigned kMost = 200;

// How the wheel's resolver, a MicroMutableOpResolver<200>, lies in memory.
struct Resolver {
  void* functions;
  TFLMRegistration entries[kMost];
  unsigned count;
};

}  // namespace

// What AddCustom does, which is compiled into its callers; no if the wheel's resolver is another by now.
extern "C" bool tf_structprune_register(void* given) {
  Resolver* resolver = static_cast<Resolver*>(given);
  if (resolver->count < 50 || resolver->count >= kMost) return false;
  for (unsigned i = 0; i < resolver->count; ++i) {
    if (resolver->entries[i].invoke == nullptr) return false;
  }
  TFLMRegistration* entry = &resolver->entries[resolver->count++];
  *entry = *tf_structprune::RegisterDecode();
  entry->builtin_code = kCustom;
  entry->custom_name = tf_structprune::kDecodeName;
  return true;
}
