import os
import re

import keras
import numpy as np
import pytest

from tests.tflite_export.devices.fake_arm import FakeArm
from tflite_export.devices import BOARDS, Qemu, _qemu, device_of, flash_parts
from tflite_export.file import open_file
from tflite_export.quantize import convert
from tflite_export.runtime import run_reference

RUNS = 4


@pytest.fixture(scope="module")
def file():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 2)), keras.layers.Conv2D(4, 3), keras.layers.MaxPooling2D(2), keras.layers.Flatten()]
    data = np.random.default_rng(0).random((20, 6, 6, 2), np.float32)
    model = keras.Sequential([*layers, keras.layers.Dense(3)])
    return open_file(convert(model, quantize="int8", representative_data=data))


@pytest.fixture
def arm(tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    folder.mkdir()
    return FakeArm(folder, monkeypatch)


@pytest.fixture
def qemu(tmp_path, arm):
    library, tree = tmp_path / "libtensorflow-microlite.a", tmp_path / "tree"
    library.write_bytes(b"!<arch>\nobjects")
    (tree / "tensorflow/lite/micro/tools/make/downloads/gemmlowp").mkdir(parents=True)
    return Qemu("m4", library, (tree,))


def answer(arm, file, qemu, *, ticks=(10, 30, 20), wrong=0):
    """Let the emulator answer as the NumPy reference does, but for so many values."""
    (inputs,) = _qemu._random_inputs(file, qemu.samples, qemu.seed)
    outputs = run_reference(file, inputs, runtime="tflm")
    outputs.reshape(-1)[:wrong] ^= 1
    outputs.tofile(arm.folder / "outputs.bin")
    operators = range(1, len(file.description.operators) + 1)
    np.array([1234, 567, len(operators), *ticks, *operators], np.uint64).tofile(arm.folder / "figures.bin")
    return inputs


def test_measures_instructions_operators_and_arena(arm, file, qemu):
    inputs = answer(arm, file, qemu)
    (found,) = qemu.measure((file,), runs=RUNS, operators=True)
    assert (arm.folder / "inputs.bin").read_bytes() == inputs.tobytes()
    assert found.instructions == 20 * 40 and (found.arena_bytes, found.stack_bytes) == (1234, 567)
    assert found.latencies_us == (20 * 40 / 100,) * RUNS
    assert [each.name for each in found.operators] == [each.name for each in file.description.operators]
    assert [each.us for each in found.operators] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert found.notes == (f"{file.name}: outputs of 3 samples are those of the NumPy reference, bit for bit",)


def test_latencies_are_the_measured_ones(arm, file, qemu):
    answer(arm, file, qemu)
    np.testing.assert_array_equal(qemu.latencies_us((file, file), runs=2), np.full((2, 2), 8.0))
    qemu.latencies_us((file,), runs=5)
    assert len([call for call in arm.calls if call[0] == "qemu-system-arm"]) == 1, "every run is the same"


def test_program_is_built_of_the_bundle_for_the_core(arm, file, qemu):
    answer(arm, file, qemu)
    qemu.measure((file,), runs=1)
    compiled = [call for call in arm.calls if "-c" in call]
    units = {call[call.index("-c") + 1] for call in compiled}
    assert units == {"model_data.cc", "program.cc", "startup.c"}
    assert all(set(BOARDS["m4"].flags) < set(call) for call in compiled)
    assert all(any(each.endswith("downloads/gemmlowp") for each in call) for call in compiled)
    link, *_ = [call for call in arm.calls if "-nostartfiles" in call]
    assert set(BOARDS["m4"].flags) < set(link) and str(qemu.library) in link
    assert not {"-w", "-Wl,--no-warnings"} & set(link), "with them ld links what is undefined"
    (started,) = [call for call in arm.calls if call[0] == "qemu-system-arm"]
    assert "mps2-an386" in started and "shift=0,sleep=off" in started


@pytest.mark.parametrize("archive, defined", [(b"x", False), (b"Register_CONV_2D_INT8", True)], ids=str)
def test_kernels_for_int8_alone_are_taken_where_the_library_has_them(arm, file, qemu, archive, defined):
    qemu.library.write_bytes(b"!<arch>\n" + archive)
    answer(arm, file, qemu)
    qemu.measure((file,), runs=1)
    assert all(("-DCMSIS_NN" in call) == defined for call in arm.calls if "-c" in call)


@pytest.mark.parametrize("held", [b"", b"!<arch>\n", b"hello, this is a text"], ids=["empty", "no object", "a text"])
def test_what_is_no_library_is_refused(qemu, held):
    qemu.library.write_bytes(held)
    with pytest.raises(ValueError, match=r"Not a library\. Received: .*microlite\.a, which is no archive, or an"):
        qemu.found()


def test_headers_that_were_not_named_are_asked_for(qemu):
    with pytest.raises(FileNotFoundError, match=r"No headers of TFLite Micro were named\. Received: library=.* w"):
        Qemu("m4", qemu.library).found()


def test_size_tells_the_operators_from_the_runtime(arm, file, qemu):
    arm.set(model=len(file.data))
    answer(arm, file, qemu)
    size = qemu.measure((file,), runs=1)[0].program
    assert size.model == len(file.data) and size.runtime == 108
    assert size.operators == 7 * len(file.description.operator_names)
    assert size.flash_bytes == size.model + size.operators + size.runtime


def test_program_without_a_model_registers_operators_by_name(arm, file, qemu, tmp_path):
    program = qemu.toolchain.bare(["ADD", "RESHAPE"], tmp_path / "bare")
    calls = re.findall(r"resolver\.(\w+)\(", (program.parent / "model_ops.h").read_text())
    assert program.is_file() and calls == ["AddAdd", "AddReshape"]
    assert "model_data[16]" in (program.parent / "model_data.cc").read_text()
    with pytest.raises(ValueError, match=r"no kernel for: NOPE"):
        qemu.toolchain.bare(["NOPE"], tmp_path / "bare")


MAP = """\
Discarded input sections

 .text.gone     0x00000000       0x99 a.o

Linker script and memory map

.text           0x00000000       0x60
 .vectors       0x00000000       0x10 startup.c.o
 .text.run      0x00000010       0x20 a/lib.a(one.o)
 .text.run      0x00000030       0x08 a/lib.a(two.o)
 .rodata.long_name_of_a_function_that_takes_a_line.str1.4
                0x00000038       0x18 a/lib.a(two.o)
                                 0x20 (size before relaxing)
 .rodata.merged.str1.4
                0x00000050       0x40 a/lib.a(three.o)
 *fill*         0x00000050        0x2 
 .rodata        0x00000052        0xe b.o
                0x00000058                a_symbol

.ARM.exidx      0x00000060        0x8
 .ARM.exidx     0x00000060        0x8 b.o
.data           0x20000000        0x4 load address 0x00000068
 .data.x        0x20000000        0x4 b.o
.bss            0x20000008      0x100
 .bss.y         0x20000008      0x100 b.o
.ARM.attributes
                0x00000000       0x32
 .ARM.attributes
                0x00000000       0x40 b.o
"""


def test_parts_of_a_program_are_what_lies_in_flash_and_merged_strings_count_once(tmp_path):
    (tmp_path / "program.map").write_text(MAP)
    found = flash_parts(tmp_path / "program.elf")
    assert found == {
        (".vectors", "startup.c.o"): 0x10,
        (".text.run", "lib.a(one.o)"): 0x20,
        (".text.run", "lib.a(two.o)"): 0x08,
        (".rodata.long_name_of_a_function_that_takes_a_line.str1.4", "lib.a(two.o)"): 0x18,
        ("*fill*", ""): 2,
        (".rodata", "b.o"): 0xE,
        (".ARM.exidx", "b.o"): 8,
        (".data.x", "b.o"): 4,
    }
    assert sum(found.values()) == 0x60 + 8 + 4


def test_outputs_of_another_than_the_reference_are_refused(arm, file, qemu):
    answer(arm, file, qemu, wrong=2)
    with pytest.raises(ValueError, match=r"differ from the NumPy reference. Received: 2 of 9 values"):
        qemu.measure((file,), runs=1)


@pytest.mark.parametrize("name", ["arm-none-eabi-g++", "qemu-system-arm"])
def test_missing_programs_are_told_with_the_command(arm, file, qemu, name):
    arm.without(name)
    with pytest.raises(FileNotFoundError, match=rf"No {name.replace('+', '[+]')} in PATH.*apt-get install \w+"):
        qemu.measure((file,), runs=1)


def test_missing_library_and_headers_are_refused(arm, file, qemu, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No library there. Received: .*absent.a.*mcpu=cortex-m4.*--tflm-lib"):
        Qemu("m4", tmp_path / "absent.a", qemu.include).run(file, None)
    with pytest.raises(
        FileNotFoundError, match=r"No library of TFLite Micro was named. Received: library=None.*--tflm-in"
    ):
        Qemu().latencies_us((file,), runs=1)
    with pytest.raises(FileNotFoundError, match=r"No folder of headers there. Received: .*nowhere"):
        Qemu("m4", qemu.library, (tmp_path / "nowhere",)).run(file, None)


@pytest.mark.parametrize(
    "tag, theirs", [("Tag_FP_arch", "FPv5/FP-D16 for ARMv8"), ("Tag_CPU_arch", "v7"), ("Tag_ABI_VFP_args", None)]
)
def test_library_for_another_core_is_refused(arm, file, qemu, tag, theirs):
    core = {"Tag_CPU_arch": "v7E-M", "Tag_FP_arch": "VFPv4-D16", "Tag_ABI_VFP_args": "VFP registers"}
    arm.set(library={name: value for name, value in {**core, tag: theirs}.items() if value})
    with pytest.raises(ValueError, match=rf"for another core. Received: {tag} {theirs or 'of none'}.*Build it with -m"):
        qemu.measure((file,), runs=1)


ERRORS = {
    "an operator": (
        "program.cc:(.text+0x1): undefined reference to `tflite::Register_CONV_2D_INT8()'",
        r"the library .*microlite.a lacks Register_CONV_2D_INT8",
    ),
    "another core": ("ld: error: x.o uses VFP register arguments, y.o does not", r"for another core. Received: 'uses"),
    "a header": (
        "program.cc:9:10: fatal error: flatbuffers/flatbuffers.h: No such file",
        r"no header flatbuffers/flat",
    ),
    "memory": ("ld: region `FLASH' overflowed by 12345 bytes", r"12,345 bytes too large for the FLASH of mps2-an386"),
    "something else": ("noise\nprogram.cc:1:1: error: expected ';'", r"refuses the program. Received: .*expected ';'"),
}


@pytest.mark.parametrize("errors, message", ERRORS.values(), ids=ERRORS)
def test_what_the_compiler_says_becomes_one_line(arm, file, qemu, errors, message):
    arm.set(fails={"arm-none-eabi-g++": errors})
    with pytest.raises(ValueError, match=message) as told:
        qemu.measure((file,), runs=1)
    assert "\n" not in str(told.value)


def test_program_that_fails_tells_what_it_printed(arm, file, qemu):
    arm.set(told="AllocateTensors\nfailed", status=1)
    with pytest.raises(
        ValueError, match=r"emulated Cortex-M4 failed. Received: AllocateTensors failed. Is the library"
    ):
        qemu.measure((file,), runs=1)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"core": "m0"}, r"core must be one of m3, m4, m7, m33, m55. Received: core='m0'"),
        ({"mhz": 0}, r"mhz must be positive and samples from 1 to 1000. Received: mhz=0, samples=3"),
        ({"include": "tree"}, r"include must be a tuple of folders. Received: include='tree'"),
        ({"samples": 0}, r"Received: mhz=100.0, samples=0"),
        ({"samples": 1001}, r"Received: mhz=100.0, samples=1001"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Qemu(**{"core": "m4", "library": "x.a", "include": (), **settings})


@pytest.mark.parametrize("text, core", [("qemu", "m4"), ("qemu:m7", "m7")])
def test_core_stands_behind_the_name(arm, qemu, text, core):
    made = device_of(text, library=qemu.library, include=qemu.include)
    assert made == Qemu(core, qemu.library, qemu.include)


def test_name_without_what_it_needs_is_refused_before_any_work(arm):
    with pytest.raises(FileNotFoundError, match=r"No library of TFLite Micro was named"):
        device_of("qemu")


def test_no_run_is_refused(file, qemu):
    with pytest.raises(ValueError, match=r"runs must be at least 1. Received: runs=0"):
        qemu.latencies_us((file,), runs=0)


@pytest.mark.sweep
def test_emulated_core_computes_what_the_reference_does(file):
    """With TFLM_CORE, TFLM_LIB and TFLM_INCLUDE, the last one's folders between colons, as `Qemu` takes them."""
    given = [os.environ.get(name) for name in ("TFLM_CORE", "TFLM_LIB", "TFLM_INCLUDE")]
    if None in given:
        pytest.skip("TFLM_CORE, TFLM_LIB and TFLM_INCLUDE name no library of TFLite Micro")
    core, library, include = given
    qemu = Qemu(core, library, tuple(include.split(":")), samples=20)
    first, second = (qemu.measure((file,), runs=1, operators=True)[0] for _ in range(2))
    assert first == second and first.notes == ("outputs of 20 samples are those of the NumPy reference, bit for bit",)
    assert 0.9 < sum(each.us for each in first.operators) / first.median_us <= 1
    assert len(file.data) < first.arena_bytes + first.program.flash_bytes
    assert 0 < first.stack_bytes < 16 << 10
