import re
import shutil
import subprocess

import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from tests.tflite_export.bundle.tflm_stub import INT8_KERNELS
from tflite_export.bundle import _op_resolver, op_resolver, operators_resolver
from tflite_export.file import ModelDescription, OperatorDescription, TensorDescription

METHODS = _op_resolver._METHODS


def model_of(*operators):
    return ModelDescription(8, (), tuple(OperatorDescription(name, (), (), 0) for name in operators), (), ())


def registered(header):
    return re.findall(r"resolver\.(Add\w+)\(\)", header)


def test_every_operator_is_registered_once_and_counted():
    header = op_resolver(model_of("CONV_2D", "ADD", "CONV_2D", "SOFTMAX"), "model_ops")
    assert registered(header) == ["AddAdd", "AddConv2D", "AddSoftmax"]
    assert "using model_ops_resolver = tflite::MicroMutableOpResolver<3>;" in header
    assert header.startswith("#ifndef MODEL_OPS_H_\n#define MODEL_OPS_H_\n")
    assert header.endswith("#endif  // MODEL_OPS_H_\n")


def test_the_order_of_the_operators_does_not_matter():
    assert op_resolver(model_of("ADD", "MUL"), "ops") == op_resolver(model_of("MUL", "ADD", "MUL"), "ops")


def test_table_names_builtins_of_the_schema_and_a_method_each():
    assert set(_op_resolver._BUILTIN_METHODS) <= set(vars(BuiltinOperator))
    assert len(set(METHODS.values())) == len(METHODS)


@pytest.mark.parametrize("name", sorted(_op_resolver._BUILTIN_METHODS))
def test_method_is_the_operator_name_in_camel_case(name):
    letters = METHODS[name].removeprefix("Add").lower()
    assert letters == name.replace("_", "").lower()


_STUB = """
#include <set>
#include <string>
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
namespace tflite {
template <unsigned int tOpCount>
struct MicroMutableOpResolver {
  std::set<std::string> added;
  TfLiteStatus add(const char* name) {
    if (added.size() == tOpCount) return kTfLiteError;
    return added.insert(name).second ? kTfLiteOk : kTfLiteError;
  }
%s
};
}
"""
_MAIN = """
#include "all_ops.h"
#include "all_ops.h"
int main() {
  all_ops_resolver resolver;
  if (all_ops_register(resolver) != kTfLiteOk || resolver.added.size() != %d) return 1;
  return all_ops_register(resolver) == kTfLiteError ? 0 : 2;
}
"""


def test_header_compiles_and_fills_the_resolver(tmp_path):
    header = op_resolver(model_of(*METHODS), "all_ops")
    assert sorted(registered(header)) == sorted(METHODS.values())
    compiler = shutil.which("g++")
    if compiler is None:
        return
    methods = "\n".join(f'  TfLiteStatus {name}() {{ return add("{name}"); }}' for name in METHODS.values())
    stub = tmp_path / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    stub.parent.mkdir(parents=True)
    stub.write_text(_STUB % methods)
    (tmp_path / "all_ops.h").write_text(header)
    (tmp_path / "main.cc").write_text(_MAIN % len(METHODS))
    command = [compiler, "-std=c++17", "-Wall", "-Werror", "-I.", "main.cc", "-o", "program"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "program"]).returncode == 0


def test_operators_that_tflm_lacks_are_named():
    message = "TFLite Micro has no kernel for: MY_CUSTOM, SIGN. Received: a model with operators CONV_2D"
    with pytest.raises(ValueError, match=message):
        op_resolver(model_of("CONV_2D", "SIGN", "MY_CUSTOM"), "model_ops")


def test_name_that_is_no_identifier_is_refused():
    with pytest.raises(ValueError, match=r"name must be a C\+\+ identifier.*Received: name='my-ops'"):
        op_resolver(model_of("ADD"), "my-ops")


def test_our_own_operator_is_registered_by_its_name_and_its_header_included():
    header = op_resolver(model_of("CONV_2D", "TFSP_DECODE"), "net_ops")
    assert '#include "tf_structprune_decode.h"\n\nusing net_ops_resolver = tflite::MicroMutableOpResolver<2>;' in header
    assert 'resolver.AddCustom("TFSP_DECODE", tf_structprune::RegisterDecode()) != kTfLiteOk' in header
    assert "tf_structprune" not in op_resolver(model_of("CONV_2D"), "net_ops")


def typed(name, *dtypes):
    """A model of one operator with inputs of these types and an output of the last."""
    tensors = tuple(TensorDescription("t", (1, 2), dtype, (), (), False) for dtype in dtypes)
    last = len(dtypes) - 1
    return ModelDescription(8, tensors, (OperatorDescription(name, tuple(range(last)), (last,), 0),), (0,), (last,))


@pytest.mark.parametrize("name", sorted(_op_resolver._INT8_ONLY))
def test_operator_that_is_int8_throughout_gets_the_kernel_for_int8_alone(name):
    header, inputs = _op_resolver._INT8_ONLY[name]
    text = op_resolver(typed(name, *["int8"] * inputs, "int8"), "net_ops")
    assert f"resolver.{METHODS[name]}(tflite::Register_{name}_INT8()) != kTfLiteOk" in text
    assert f'#include "tensorflow/lite/micro/kernels/{header}.h"\n' in text
    for at in range(inputs + 1):
        for other in ("int4", "int16", "float32"):
            dtypes = ["int8"] * (inputs + 1)
            dtypes[at] = other
            text = op_resolver(typed(name, *dtypes), "net_ops")
            assert f"resolver.{METHODS[name]}() != kTfLiteOk" in text and "kernels/" not in text


def test_operators_are_registered_by_name_as_those_of_a_model_are():
    of_a_model = op_resolver(typed("CONV_2D", "int8", "int8", "int8"), "net_ops")
    assert operators_resolver(["CONV_2D"], "net_ops", int8=["CONV_2D"]) == of_a_model
    both = operators_resolver(["CONV_2D", "RESHAPE"], "net_ops", int8=["CONV_2D", "RESHAPE"])  # one has no such kernel
    assert "AddConv2D(tflite::Register_CONV_2D_INT8())" in both and "AddReshape()" in both and "Resolver<2>" in both
    assert "_INT8" not in operators_resolver(["CONV_2D"], "net_ops")
    with pytest.raises(ValueError, match=r"no kernel for: NOPE. Received: a model with operators CONV_2D, NOPE"):
        operators_resolver(["CONV_2D", "NOPE"], "net_ops")


def test_headers_of_the_int8_kernels_are_those_that_declare_them():
    assert {name: header for header, names in INT8_KERNELS.items() for name in names} == {
        name: header for name, (header, _) in _op_resolver._INT8_ONLY.items()
    }


def test_bias_may_have_32_bits_and_one_other_layer_takes_the_general_kernel_back():
    int8 = typed("CONV_2D", "int8", "int8", "int32", "int8")
    text = op_resolver(int8, "ops")
    assert "Register_CONV_2D_INT8()" in text
    other = OperatorDescription("CONV_2D", (0, 2), (3,), 0)
    both = ModelDescription(8, int8.tensors, (*int8.operators, other), (0,), (3,))
    assert "_INT8" not in op_resolver(both, "ops")
