import re
import shutil
import subprocess

import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from tflite_export.bundle import _op_resolver, op_resolver
from tflite_export.file import ModelDescription, OperatorDescription

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
