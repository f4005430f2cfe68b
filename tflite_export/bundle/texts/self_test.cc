// Recorded samples with their outputs, and the test that runs them; ${name}_self_test.h says what it does.
#include "${name}_self_test.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "${name}_settings.h"
#include "tensorflow/lite/micro/micro_log.h"

namespace {

namespace settings = ${name}_settings;

constexpr std::size_t kSamples = ${samples};
${inputs}
${outputs}
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

int ${name}_self_test(tflite::MicroInterpreter& interpreter) {
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
