import re
import shutil
import subprocess

import keras
import pytest

from tests.tflite_export.bundle import tflm_stub
from tests.tflite_export.pack.files import drawn
from tflite_export.bundle import arena_margin_bytes, micro_bundle, model_settings, op_resolver
from tflite_export.file import open_file
from tflite_export.micro import sources
from tflite_export.pack import pack
from tflite_export.quantize import convert
from tflite_export.write import c_array

COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Wdouble-promotion", "-Werror", "-I.")


def build(folder, files, *options):
    """Compiles a bundle against the stand-ins and gives the compiler's result; None without a compiler."""
    tflm_stub.write_headers(folder, tflm_stub.methods_of(files["net_ops.h"]))
    for name, text in files.items():
        (folder / name).write_text(text)
    if COMPILER is None:
        return None
    command = [COMPILER, *FLAGS, *options, "main.cc", "net_data.cc", "-o", "program"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_bundle_is_complete_and_the_same_each_time(bundle_files, kind):
    data = bundle_files[kind]
    files = micro_bundle(data, "net", arena_bytes=5000, tflm_version="1")
    assert files == micro_bundle(bytes(bytearray(data)), "net", arena_bytes=5000, tflm_version="1")
    assert set(files) == {"net_data.cc", "net_data.h", "net_ops.h", "net_settings.h", "main.cc", "README.md"}
    array = c_array(data, "net_data")
    assert (files["net_data.cc"], files["net_data.h"]) == (array.source, array.header)
    assert files["net_ops.h"] == op_resolver(open_file(data).description, "net_ops")
    assert files["net_settings.h"] == model_settings(
        open_file(data).description, "net", arena_bytes=5000, tflm_version="1"
    )
    for text in files.values():
        assert text.isascii() and text.endswith("\n") and not text.endswith("\n\n") and "${" not in text
        assert max(map(len, text.splitlines())) <= 120


def test_program_names_the_files_and_types_of_its_model(bundle_files):
    files = micro_bundle(bundle_files["int8"], "net", arena_bytes=5000)
    included = set(re.findall(r'#include "(\w+\.h)"', files["main.cc"]))
    assert included == {"net_data.h", "net_ops.h", "net_settings.h"} <= set(files)
    assert "tflite::GetModel(net_data)" in files["main.cc"] and "net_settings" in files["main.cc"]


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_program_compiles_without_a_warning_and_runs_one_inference(tmp_path, bundle_files, kind):
    files = micro_bundle(bundle_files[kind], "net", arena_bytes=5000)
    built = build(tmp_path, files)
    # Without a compiler the text is the proof that is left.
    assert "interpreter.Invoke() != kTfLiteOk" in files["main.cc"]
    if built is None:
        return
    assert (built.returncode, built.stderr) == (0, "")
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True)
    expected = ["arena: 3072 of 6144 bytes", *(f"output[{i}] = {int(i == 2)}" for i in range(4)), "largest: output[2]"]
    assert (run.returncode, run.stdout.splitlines()) == (0, expected)


@pytest.mark.parametrize("options", [(), ("-DNET_DECODE_APART",)], ids=["in the arena", "apart"])
def test_packed_weights_are_decoded_in_the_arena_or_apart(tmp_path, options):
    packed = pack(drawn("pruned"), "bitmap").file
    decoded_bytes = packed.description.decoded_bytes
    files = micro_bundle(packed, "net", arena_bytes=5000, tflm_version="1")
    assert "resolver.AddDecode()" in files["net_ops.h"]
    assert f"constexpr std::size_t kDecodedBytes = {decoded_bytes};" in files["net_settings.h"]
    assert f"-D{options[0].removeprefix('-D') if options else 'NET_DECODE_APART'}" in files["net_settings.h"]
    for told in (
        "## Packed weights",
        "1.4.0",
        "Zephyr",
        "Arduino",
        "LiteRT",
        "20.7 KB",
        "8.5 KB",
        "-DNET_DECODE_APART",
    ):
        assert told in files["README.md"]
    assert max(map(len, "\n".join(files.values()).splitlines())) <= 120 and "${" not in "".join(files.values())
    built = build(tmp_path, files, *options)
    if built is None:
        return
    assert (built.returncode, built.stderr) == (0, "")
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True)
    arena = 5000 + arena_margin_bytes(packed.description, 5000)
    used = arena // 2 - (decoded_bytes if options else 0)
    assert run.stdout.splitlines()[0] == f"arena: {used} of {arena} bytes"


def test_nothing_is_told_of_packed_weights_where_there_are_none(bundle_files):
    texts = "".join(micro_bundle(bundle_files["int8"], "net", arena_bytes=5000).values())
    assert "ecode" not in texts and "acked" not in texts


def test_program_says_when_the_arena_is_too_small(tmp_path, bundle_files):
    files = micro_bundle(bundle_files["int8"], "net", arena_bytes=5000)
    built = build(tmp_path, files, "-DSTUB_ALLOCATED=kTfLiteError")
    assert "for a larger arena build with -DNET_ARENA_BYTES=" in files["main.cc"]
    if built is None:
        return
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stdout == "AllocateTensors failed; for a larger arena build with -DNET_ARENA_BYTES=...\n"


def test_arena_that_was_not_measured_must_be_given(tmp_path, bundle_files):
    files = micro_bundle(bundle_files["int8"], "net", arena_bytes=None)
    assert "static_assert(settings::kArenaBytes > 0" in files["main.cc"]
    built = build(tmp_path, files)
    if built is None:
        return
    assert built.returncode != 0
    assert "The arena was not measured: build with -DNET_ARENA_BYTES=..., see net_settings.h" in built.stderr
    assert build(tmp_path, files, "-DNET_ARENA_BYTES=8192").returncode == 0
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True)
    assert run.stdout.startswith("arena: 4096 of 8192 bytes\n")


def test_readme_names_every_file_and_the_commands(bundle_files):
    files = micro_bundle(bundle_files["int8"], "net", arena_bytes=5000)
    readme = files["README.md"]
    assert all(f"`{name}`" in readme for name in set(files) - {"README.md"})
    for command in (
        "git clone https://github.com/tensorflow/tflite-micro",
        "make -C tflite-micro -f tensorflow/lite/micro/tools/make/Makefile -j4 third_party_downloads",
        "make -C tflite-micro -f tensorflow/lite/micro/tools/make/Makefile -j4 microlite",
        "main.cc net_data.cc $LIBRARY -lm -o net_run",
        "$(eval $(call microlite_test,net_tflm,\\",
    ):
        assert f"    {command}" in readme
    assert "-DTF_LITE_STATIC_MEMORY" in readme and "-DNET_ARENA_BYTES=" in readme


def several_ends():
    image, numbers = keras.Input((4, 4, 1), name="image"), keras.Input((3,), name="IMAGE")
    x = keras.layers.Concatenate()([keras.layers.Flatten()(image), numbers])
    outputs = [keras.layers.Dense(4, name="angle")(x), keras.layers.Dense(3, name="gas-brake")(x)]
    return convert(keras.Model([image, numbers], outputs))


def test_program_feeds_and_reads_every_input_and_output_by_name(tmp_path):
    names = {"inputs": ["image", "IMAGE"], "outputs": ["angle", "gas-brake"]}
    files = micro_bundle(several_ends(), "net", arena_bytes=5000, **names)
    for name in ("InputImage", "InputImage2", "OutputAngle", "OutputGasBrake"):
        assert f"k{name}Elements" in files["net_settings.h"] and f"settings::{name}Type" in files["main.cc"]
    built = build(tmp_path, files, "-DINPUTS=2", "-DOUTPUTS=2")
    if built is None:
        return
    assert (built.returncode, built.stderr) == (0, "")
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True)
    angle = [*(f"output_angle[{i}] = {int(i == 2)}" for i in range(4)), "largest: output_angle[2]"]
    brake = [*(f"output_gas_brake[{i}] = {int(i == 2)}" for i in range(3)), "largest: output_gas_brake[2]"]
    assert (run.returncode, run.stdout.splitlines()[1:]) == (0, [*angle, *brake])
    build(tmp_path, files, "-DINPUTS=1", "-DOUTPUTS=2")
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True)
    assert (run.returncode, run.stdout.splitlines()[1:]) == (1, ["net_settings.h belongs to another model"])


def test_several_ends_without_names_are_numbered():
    header = micro_bundle(several_ends(), "net", arena_bytes=5000)["net_settings.h"]
    assert all(f"using {name}Type" in header for name in ("Input0", "Input1", "Output0", "Output1"))


def test_names_for_another_number_of_ends_are_refused():
    with pytest.raises(ValueError, match="The model has 2 inputs. Received: names image. Name each of them"):
        micro_bundle(several_ends(), "net", arena_bytes=5000, inputs=["image"], outputs=["a", "b"])


def without_kernel():
    return convert(keras.Sequential([keras.Input((4,)), keras.layers.Activation(keras.ops.sign)]))


def one_input():
    return convert(keras.Sequential([keras.Input((4,)), keras.layers.ReLU()]))


BAD = {
    "no_kernel": (without_kernel, "net", "TFLite Micro has no kernel for: SIGN"),
    "damaged": (lambda: b"\0" * 100, "net", "not a TFLite model, the identifier TFL3 is missing"),
    "empty": (lambda: b"", "net", "not a TFLite model, the identifier TFL3 is missing"),
    "name": (one_input, "my net", r"name must be a C\+\+ identifier.*Received: name='my net_data'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_no_firmware_can_run_is_refused(case):
    make, name, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        micro_bundle(make(), name, arena_bytes=1)


def test_bundle_of_a_file_for_our_own_operator_has_its_sources_and_names_them():
    files = micro_bundle(pack(drawn("pruned"), "own").file, "net", arena_bytes=5000)
    own = sources(operator=True)
    assert own.items() <= files.items()
    assert files["README.md"].count("net_data.cc sham.c tf_structprune_decode.cc") == 2
    assert (
        "$(net_EXAMPLE)net_data.cc $(net_EXAMPLE)sham.c $(net_EXAMPLE)tf_structprune_decode.cc,\\\n"
        in files["README.md"]
    )
    assert all(f"`{name}`" in files["README.md"] for name in own)
    assert "TFLM_DECODE" not in files["README.md"] and "DECODE_APART" not in "".join(files.values())
    for text in (files[name] for name in (*own, "net_ops.h", "README.md")):
        assert text.isascii() and text.endswith("\n") and "${" not in text
        assert max(map(len, text.splitlines())) <= 120


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")
def test_bundle_with_our_own_operator_compiles_and_registers_it(tmp_path):
    files = micro_bundle(pack(drawn("pruned"), "own").file, "net", arena_bytes=5000)
    tflm_stub.write_headers(tmp_path, tflm_stub.methods_of(files["net_ops.h"]), custom=True)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    units = ["main.cc", "net_data.cc", "sham.c", "tf_structprune_decode.cc", "eval_tensors.cc"]
    built = subprocess.run(
        [COMPILER, *FLAGS, *units, "-o", "program"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (built.returncode, built.stderr) == (0, "")
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and run.stdout.startswith("registered TFSP_DECODE\narena: ")
