"""Stand-ins for the headers of TFLite Micro that the bundle includes, with the signatures of August 2026."""

import re
import shutil
from pathlib import Path

_COMMON = """
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
struct TfLiteTensor;
"""
_RESOLVER = """
#pragma once
#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/kernels/int8_kernel.h"
namespace tflite {
class MicroOpResolver {
 public:
  virtual ~MicroOpResolver() {}
};
template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  explicit MicroMutableOpResolver() {}
  TfLiteStatus Added() { return ++count_ <= tOpCount ? kTfLiteOk : kTfLiteError; }
  TfLiteStatus Added(const Int8Kernel& kernel) {
    return ++count_ <= tOpCount && kernel.is_int8 ? kTfLiteOk : kTfLiteError;
  }
METHODS
 private:
  unsigned int count_ = 0;
};
}  // namespace tflite
"""
_INT8_KERNEL = """
#pragma once
namespace tflite {
struct Int8Kernel {
  bool is_int8;
};
}  // namespace tflite
"""
_REGISTER = """
#pragma once
#include "tensorflow/lite/micro/kernels/int8_kernel.h"
namespace tflite {
FUNCTIONS
}  // namespace tflite
"""
_SCHEMA = """
#pragma once
#include "tensorflow/lite/c/common.h"
namespace tflite {
struct Model {
  std::uint32_t version() const { return 3; }
};
inline const tflite::Model* GetModel(const void* buf) { return static_cast<const Model*>(buf); }
}  // namespace tflite
"""
_INTERPRETER = """
#pragma once
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
#define TFLITE_SCHEMA_VERSION (3)
#ifndef INPUTS
#define INPUTS 1
#define OUTPUTS 1
#endif
#ifndef STUB_ALLOCATED
#define STUB_ALLOCATED kTfLiteOk
#endif
#ifndef STUB_INVOKED
#define STUB_INVOKED kTfLiteOk
#endif
namespace tflite {
class MicroResourceVariables;
class MicroProfilerInterface;
class MicroContext {
 public:
  struct AlternateMemoryRegion {
    void* address;
    size_t bytes;
  };
};
class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver, uint8_t* tensor_arena,
                   size_t tensor_arena_size, MicroResourceVariables* resource_variables = nullptr,
                   MicroProfilerInterface* profiler = nullptr, bool preserve_all_tensors = false) {
    static_cast<void>(op_resolver);
    static_cast<void>(resource_variables);
    static_cast<void>(profiler);
    static_cast<void>(preserve_all_tensors);
    model_ = reinterpret_cast<const char*>(model);
    if (reinterpret_cast<std::uintptr_t>(tensor_arena) % 16 == 0) used_ = tensor_arena_size / 2;
  }
  TfLiteStatus SetDecompressionMemory(const MicroContext::AlternateMemoryRegion* regions, size_t count) {
    apart_ = count == 1 && reinterpret_cast<std::uintptr_t>(regions->address) % 16 == 0 ? regions->bytes : 0;
    return apart_ ? kTfLiteOk : kTfLiteError;
  }
  TfLiteStatus AllocateTensors() { return STUB_ALLOCATED; }
  TfLiteStatus Invoke() {
#ifdef STUB_NO_NUMBER
    typed_input_tensor<float>(0)[0] = __builtin_nanf("");
#endif
    return model_[4] == 'T' && model_[5] == 'F' ? STUB_INVOKED : kTfLiteError;
  }
  template <class T>
  T* typed_input_tensor(int tensor_index) {
    static T values[INPUTS][50000];
    return tensor_index < INPUTS ? values[tensor_index] : nullptr;
  }
  // All outputs are 0 but the third, which is 1; or those are the inputs that were given, from the first on.
  template <class T>
  T* typed_output_tensor(int tensor_index) {
#ifdef STUB_ECHO
    return typed_input_tensor<T>(tensor_index);
#endif
    static T values[OUTPUTS][50000];
    if (tensor_index >= OUTPUTS) return nullptr;
    values[tensor_index][2] = 1;
    return values[tensor_index];
  }
  size_t arena_used_bytes() const { return used_ - apart_; }

 private:
  const char* model_;
  size_t used_ = 0;
  size_t apart_ = 0;
};
}  // namespace tflite
"""
_LOG = """
#pragma once
#include <cstdarg>
#include <cstdio>
inline void __attribute__((format(printf, 1, 2))) MicroPrintf(const char* format, ...) {
  va_list args;
  va_start(args, format);
  std::vprintf(format, args);
  va_end(args);
  std::printf("\\n");
}
"""
_SETUP = """
#pragma once
namespace tflite {
inline void InitializeTarget() {}
}  // namespace tflite
"""


_OWN_COMMON = """
#pragma once
#include <cstdio>
#include "tensorflow/lite/micro/micro_common.h"
struct TfLiteTensor;
"""
_ADD_CUSTOM = """
  TfLiteStatus AddCustom(const char* name, const TFLMRegistration* registration) {
    std::printf("registered %s\\n", name);
    return registration->prepare != nullptr && registration->invoke != nullptr ? Added() : kTfLiteError;
  }
"""
_EVAL_TENSORS = """
#include "tensorflow/lite/micro/kernels/kernel_util.h"
namespace tflite {
namespace micro {
const TfLiteEvalTensor* GetEvalInput(const TfLiteContext*, const TfLiteNode*, int) { return nullptr; }
TfLiteEvalTensor* GetEvalOutput(const TfLiteContext*, const TfLiteNode*, int) { return nullptr; }
}  // namespace micro
}  // namespace tflite
"""
INT8_KERNELS = {
    "add": ("ADD",),
    "conv": ("CONV_2D",),
    "depthwise_conv": ("DEPTHWISE_CONV_2D",),
    "fully_connected": ("FULLY_CONNECTED",),
    "mul": ("MUL",),
    "pooling": ("AVERAGE_POOL_2D", "MAX_POOL_2D"),
    "softmax": ("SOFTMAX",),
}
"""Headers of TFLite Micro's kernels, August 2026, and the operators that they declare `Register_OPERATOR_INT8` of."""
_OPERATOR_HEADERS = Path(__file__).parents[1] / "micro" / "tflm"


def methods_of(header):
    """Methods of the resolver that a `NAME_ops.h` calls, those with an int8 kernel too."""
    return sorted(set(re.findall(r"resolver\.(Add\w+)\((?:\)|tflite::)", header)))


def write_headers(folder, methods, *, custom=False):
    """Writes the headers into a folder; the resolver gets these methods, and if asked `AddCustom` for operators."""
    added = "\n".join(
        f"  TfLiteStatus {method}() {{ return Added(); }}\n"
        f"  TfLiteStatus {method}(const Int8Kernel& kernel) {{ return Added(kernel); }}"
        for method in methods
    )
    if custom:
        shutil.copytree(_OPERATOR_HEADERS, folder, dirs_exist_ok=True)
        (folder / "eval_tensors.cc").write_text(_EVAL_TENSORS)
        added += _ADD_CUSTOM
    kernels = {
        f"micro/kernels/{header}.h": _REGISTER.replace("FUNCTIONS", "\n".join(map(_register, operators)))
        for header, operators in INT8_KERNELS.items()
    }
    headers = kernels | {
        "micro/kernels/int8_kernel.h": _INT8_KERNEL,
        "c/common.h": _OWN_COMMON if custom else _COMMON,
        "micro/micro_mutable_op_resolver.h": _RESOLVER.replace("METHODS", added),
        "micro/micro_interpreter.h": _INTERPRETER,
        "micro/micro_log.h": _LOG,
        "micro/system_setup.h": _SETUP,
        "schema/schema_generated.h": _SCHEMA,
    }
    for name, text in headers.items():
        path = folder / "tensorflow" / "lite" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _register(operator):
    return f"inline Int8Kernel Register_{operator}_INT8() {{ return Int8Kernel{{true}}; }}"
