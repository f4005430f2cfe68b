// Recorded samples with their outputs, and the test that runs them; ${name}_self_test.h says what it does.
#include "${name}_self_test.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "${name}_data.h"
#include "${name}_settings.h"
#include "tensorflow/lite/micro/micro_log.h"

namespace {

namespace settings = ${name}_settings;

constexpr std::size_t kSamples = ${samples};
${inputs}
${outputs}
constexpr std::uint32_t kDataCrc32 = ${crc32}u;

// As zlib has it, bit by bit: no table, which would take a kilobyte. Volatile, for what counts is what lies in flash.
std::uint32_t Crc32(const volatile unsigned char* data, std::size_t size) {
  std::uint32_t crc = 0xffffffffu;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

template <class T>
float Difference(T one, T other) {
  return static_cast<float>(std::llabs(static_cast<long long>(one) - static_cast<long long>(other)));
}
inline float Difference(float one, float other) { return std::fabs(one - other); }

// What a difference is shown in: integers differ by whole numbers; of floats it is hundredths of what is allowed, for
// not every board prints floats.
template <class T>
float Unit(T, float) {
  return 1.0f;
}
inline float Unit(float, float allowed) { return allowed / 100.0f; }

// Whether every value is as near as is allowed. What is not a number is not.
template <class T>
bool Check(const char* name, std::size_t sample, const T* found, const T* expected, std::size_t elements,
           float allowed) {
  constexpr float kMost = 1e6f;
  bool passed = true;
  float largest = 0.0f;
  for (std::size_t i = 0; i < elements; ++i) {
    const float difference = Difference(found[i], expected[i]);
    if (!(difference <= allowed)) passed = false;
    if (!(difference <= largest)) largest = difference < kMost ? difference : kMost;
  }
  const float unit = Unit(expected[0], allowed);
  const float shown = largest / unit < kMost ? largest / unit : kMost;
  MicroPrintf("self test, sample %d of %d, %s: %s, largest difference %d, allowed %d", static_cast<int>(sample + 1),
              static_cast<int>(kSamples), name, passed ? "PASS" : "FAIL", static_cast<int>(shown),
              static_cast<int>(allowed / unit + 0.5f));
  return passed;
}

}  // namespace

bool ${name}_data_is_whole() {
  if (Crc32(${name}_data, ${name}_data_size) == kDataCrc32) return true;
  MicroPrintf("self test, model data: FAIL, the bytes are not those of the exported file");
  MicroPrintf("self test: FAIL, no sample was run");
  return false;
}

int ${name}_self_test(tflite::MicroInterpreter& interpreter) {
  if (!${name}_data_is_whole()) return static_cast<int>(kSamples);
  MicroPrintf("self test, model data: PASS");
${takes}${gives}  if (${missing}) {
    MicroPrintf("self test: FAIL, ${name}_settings.h belongs to another model");
    return static_cast<int>(kSamples);
  }
  int failed = 0;
  for (std::size_t sample = 0; sample < kSamples; ++sample) {
${fills}    if (interpreter.Invoke() != kTfLiteOk) {
      MicroPrintf("self test, sample %d of %d: FAIL, Invoke failed", static_cast<int>(sample + 1),
                  static_cast<int>(kSamples));
      ++failed;
      continue;
    }
    bool passed = true;
${checks}    if (!passed) ++failed;
  }
  if (failed == 0) MicroPrintf("self test: PASS");
  if (failed != 0) MicroPrintf("self test: FAIL, %d of %d samples", failed, static_cast<int>(kSamples));
  return failed;
}
