import os
import re
import shutil
import subprocess
from typing import get_args

import pytest
import yaml

from tests.tflite_export.bundle import ecosystems, tflm_stub
from tests.tflite_export.bundle.recorded import echoed
from tests.tflite_export.pack.files import drawn
from tflite_export.bundle import (
    Bundle,
    _ecosystems,
    _libraries,
    _op_resolver,
    code_tables,
    library_notes,
    micro_bundle,
)
from tflite_export.file import ModelDescription, OperatorDescription, open_file
from tflite_export.micro import sources
from tflite_export.pack import pack

NAMES = get_args(Bundle)
COMPILER, CMAKE = shutil.which("g++"), shutil.which("cmake")
FLAGS = "-DSTUB_ECHO -Wall -Wextra -Wdouble-promotion -Werror"
PROGRAMS = {"cmake": "net_run", "esp-idf": "program", "zephyr": "app"}
# Names of targets that CMake's makefiles have or CTest and CPack add, of system libraries, and of what projects have.
TAKEN = (
    "all clean depend edit_cache help install list_install_components package package_source preinstall rebuild_cache "
    "test app c dl m main pthread CMAKE net_run"
).split()
SHARED = {"net_data.h", "net_ops.h", "net_settings.h", "net_self_test.h"}


APP = """
#include <cstdint>
INCLUDES
namespace {
alignas(16) std::uint8_t arena[5000];
template <class Resolver>
int Tests(const unsigned char* data, TfLiteStatus (*add)(Resolver&), int (*test)(tflite::MicroInterpreter&)) {
  Resolver resolver;
  if (add(resolver) != kTfLiteOk) return -1;
  tflite::MicroInterpreter interpreter(tflite::GetModel(data), resolver, arena, sizeof arena);
  return test(interpreter);
}
}  // namespace
int main() {
  static_assert(one_settings::kOutputElements == 4 && two_settings::kOutputElements == 4, "each has its own");
  if (one_settings::kArenaMeasuredBytes != 1000 || two_settings::kArenaMeasuredBytes != 2000) return 1;
  return Tests(one_data, one_ops_register, one_self_test) + Tests(two_data, two_ops_register, two_self_test);
}
"""


def bundle_of(data):
    return micro_bundle(data, "net", arena_bytes=5000, tflm_version="1", recorded=echoed(), bundles=NAMES)


def done(command, folder, environment=None):
    """What a command says that succeeds."""
    made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


def written(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def write_cmake_project(folder, name, data, arena_bytes=5000):
    made = micro_bundle(data, name, arena_bytes=arena_bytes, recorded=echoed(), bundles=["cmake"])
    written(folder, {path.removeprefix("cmake/"): text for path, text in made.items() if path.startswith("cmake/")})


@pytest.fixture(scope="session")
def files(bundle_files):
    return bundle_of(bundle_files["int8"])


def test_every_ecosystem_has_a_layout_a_library_and_texts():
    assert tuple(_ecosystems.ECOSYSTEMS) == tuple(_libraries.LIBRARIES) == NAMES


def test_a_project_can_be_taken_alone_and_the_shared_files_stay_as_they_are(bundle_files, files):
    without = micro_bundle(bundle_files["int8"], "net", arena_bytes=5000, tflm_version="1", recorded=echoed())
    assert {name: text for name, text in files.items() if "/" not in name and name != "README.md"} == {
        name: text for name, text in without.items() if name != "README.md"
    }
    for bundle in NAMES:
        own = {name.split("/")[-1]: text for name, text in files.items() if name.startswith(f"{bundle}/")}
        assert all(own[name] == files[name] for name in SHARED)
        ending = ".cpp" if bundle == "arduino" else ".cc"
        assert all(own[f"net_{part}{ending}"] == files[f"net_{part}.cc"] for part in ("data", "self_test"))
        assert f"| `{bundle}/` |" in files["README.md"]
    for name, text in files.items():
        assert text.isascii() and text.endswith("\n") and not text.endswith("\n\n") and "NAME" not in name
        assert max(map(len, text.splitlines())) <= 120
        if name.endswith((".md", ".yml", ".properties", ".conf", ".defaults")):
            assert not re.search(r"\$\{(?!COMPONENT_LIB)", text)


def test_a_project_without_samples_to_test_itself_is_refused(bundle_files):
    with pytest.raises(ValueError, match=r"recorded samples. Received: bundles='zephyr' without them. Use recorded="):
        micro_bundle(bundle_files["int8"], "net", arena_bytes=1, bundles=["zephyr"])


@pytest.mark.parametrize(
    "names", [("arduino", "mbed"), ("cmake", "cmake"), "zephyr"], ids=["unknown", "twice", "no_tuple"]
)
def test_ecosystems_that_there_are_not_are_refused(bundle_files, names):
    told = repr(names) if isinstance(names, str) else ", ".join(map(repr, names))
    with pytest.raises(ValueError, match=f"a tuple, each once. Received: {told}. Use some of: 'cmake', 'esp-idf', "):
        micro_bundle(bundle_files["int8"], "net", arena_bytes=1, recorded=echoed(), bundles=names)


@pytest.mark.skipif(None in (COMPILER, CMAKE), reason="no C++ compiler or no CMake here")
@pytest.mark.parametrize("bundle", PROGRAMS)
def test_cmake_builds_a_project_that_tests_itself(tmp_path, files, bundle):
    written(tmp_path, files)
    found = ecosystems.write_stand_ins(tmp_path, files["net_ops.h"])
    environment = os.environ | found | {"CXXFLAGS": FLAGS}
    options = [f"-DTFLM_DIR={found['TFLM']}"] if bundle == "cmake" else []
    folder = tmp_path / bundle
    for command in (["cmake", "-B", "build", *options], ["cmake", "--build", "build"]):
        done(command, folder, environment)
    if bundle == "cmake":
        assert "100% tests passed, 0 tests failed out of 1" in done(["ctest", "--test-dir", "build"], folder)
    lines = done([folder / "build" / PROGRAMS[bundle]], folder).splitlines()
    assert "self test: PASS" in lines and lines[-1].startswith("largest: output[")


@pytest.mark.skipif(None in (COMPILER, CMAKE), reason="no C++ compiler or no CMake here")
def test_one_program_has_two_bundles(tmp_path, bundle_files, files):
    for name, arena_bytes in (("one", 1000), ("two", 2000)):
        write_cmake_project(tmp_path / name, name, bundle_files["int8"], arena_bytes)
    found = ecosystems.write_stand_ins(tmp_path, files["net_ops.h"])
    parts = [f"{name}_{part}.h" for name in ("one", "two") for part in ("data", "ops", "settings", "self_test")]
    project = (
        "cmake_minimum_required(VERSION 3.13)\nproject(both C CXX)\nadd_subdirectory(one)\nadd_subdirectory(two)\n"
    )
    linked = "add_executable(app app.cc)\ntarget_link_libraries(app one_tflm two_tflm)\n"
    written(
        tmp_path,
        {
            "CMakeLists.txt": project + linked,
            "app.cc": APP.replace("INCLUDES", "\n".join(f'#include "{part}"' for part in parts)),
        },
    )
    environment = os.environ | {"CXXFLAGS": FLAGS}
    done(["cmake", "-B", "build", f"-DTFLM_DIR={found['TFLM']}"], tmp_path, environment)
    done(["cmake", "--build", "build"], tmp_path, environment)
    assert done([tmp_path / "build/app"], tmp_path).splitlines().count("self test: PASS") == 2


@pytest.mark.skipif(None in (COMPILER, CMAKE), reason="no C++ compiler or no CMake here")
def test_names_that_build_tools_or_libraries_have_name_bundles_too(tmp_path, bundle_files, files):
    found = ecosystems.write_stand_ins(tmp_path, files["net_ops.h"])
    for name in TAKEN:
        write_cmake_project(tmp_path / name, name, bundle_files["int8"])
    project = "cmake_minimum_required(VERSION 3.13)\nproject(every C CXX)\ninclude(CPack)\nenable_testing()\n"
    added = "".join(f"add_subdirectory({name})\n" for name in TAKEN)
    linked = f"add_executable(app app.c)\ntarget_link_libraries(app {' '.join(f'{name}_tflm' for name in TAKEN)})\n"
    written(tmp_path, {"CMakeLists.txt": f"{project}{added}{linked}", "app.c": "int main(void) { return 0; }\n"})
    assert "Build files have been written" in done(["cmake", "-B", "build", f"-DTFLM_DIR={found['TFLM']}"], tmp_path)


def test_no_name_of_a_project_is_that_of_the_model_alone(files):
    """Which could be that of another component or library: ESP-IDF has a component `log`, Arduino a library `Servo`."""
    named = r"(?:project|add_library|add_executable|PRIV_REQUIRES|TARGET|TARGETS)[ (]+(\S+?)[ )]|^name=(.*)$"
    found = {
        path: {one or other for one, other in re.findall(named, text, re.M)}
        for path, text in files.items()
        if path.endswith(("CMakeLists.txt", "library.properties"))
    }
    assert found["cmake/CMakeLists.txt"] == {"net_tflm", "net_run"}
    assert all(found[path] == {"net_tflm"} for path in ("esp-idf/CMakeLists.txt", "zephyr/CMakeLists.txt"))
    assert found["esp-idf/main/CMakeLists.txt"] == found["arduino/library.properties"] == {"net_tflm"}
    components = {path.split("/")[2] for path in files if path.startswith("esp-idf/components/")}
    assert components == {"net_tflm"}


@pytest.mark.skipif(None in (COMPILER, CMAKE), reason="no C++ compiler or no CMake here")
def test_cmake_without_a_tree_or_a_library_says_what_to_give(tmp_path, files):
    written(tmp_path, {name: text for name, text in files.items() if name.startswith("cmake/")})
    folder = tmp_path / "cmake"

    def refusal(*options):
        refused = subprocess.run(
            ["cmake", "-B", "build", *options], cwd=folder, capture_output=True, text=True, check=False
        )
        assert refused.returncode != 0
        return " ".join(refused.stderr.split())

    assert "TFLM_DIR must be TFLite Micro's tree. Received: ''. Use -DTFLM_DIR=" in refusal()
    tflm_stub.write_headers(tmp_path / "tflm", [])
    told = refusal(f"-DTFLM_DIR={tmp_path / 'tflm'}")
    assert "TFLM_DIR/gen must have one built library. Received: 0. Use -DTFLM_LIBRARY=" in told


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")
def test_arduino_sketch_and_library_compile_and_test_themselves(tmp_path, files):
    written(tmp_path, files)
    found = ecosystems.write_stand_ins(tmp_path, files["net_ops.h"])
    sketch = tmp_path / "arduino/examples/net"
    (tmp_path / "sketch.cpp").write_text((sketch / "net.ino").read_text())
    units = ["sketch.cpp", "arduino/start.cpp", sketch / "main.cpp", *sorted((tmp_path / "arduino/src").glob("*.cpp"))]
    command = ["g++", "-std=c++17", *FLAGS.split(), f"-I{found['TFLM']}", "-Iarduino", "-Iarduino/src", *units]
    subprocess.run([*command, "-o", "program"], cwd=tmp_path, check=True)
    run = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True)
    assert "self test: PASS" in run.stdout.splitlines()


def test_manifests_name_what_a_project_depends_on(files):
    for folder in ("main", "components/net_tflm"):
        manifest = yaml.safe_load(files[f"esp-idf/{folder}/idf_component.yml"])
        needed = manifest["dependencies"]
        assert needed["idf"] == ">=5.1" and needed["espressif/esp-tflite-micro"]["version"] == ">=1.4"
    assert needed["espressif/esp-tflite-micro"]["public"] is True
    assert "CONFIG_TENSORFLOW_LITE_MICRO=y" in files["zephyr/prj.conf"].splitlines()
    properties = dict(line.split("=", 1) for line in files["arduino/library.properties"].splitlines())
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"} <= properties.keys()


def test_sources_of_our_own_operator_are_in_every_project():
    file = pack(drawn("pruned"), "own").file
    made = bundle_of(file)
    for bundle in NAMES:
        own = {name.split("/")[-1] for name in made if name.startswith(f"{bundle}/")}
        assert {name.replace(".cc", ".cpp") if bundle == "arduino" else name for name in sources(operator=True)} <= own
    for text in ("cmake/CMakeLists.txt", "esp-idf/components/net_tflm/CMakeLists.txt"):
        assert '"sham.c"' in made[text] and '"tf_structprune_decode.cc"' in made[text]
    assert '"src/sham.c"' in made["zephyr/CMakeLists.txt"]
    assert "has no TFSP_DECODE" in made["arduino/README.md"] and "| TFSP_DECODE |" in made["arduino/README.md"]


def test_readme_tells_operators_versions_and_what_is_known_of_memory(bundle_files, files):
    description = open_file(bundle_files["int8"]).description
    for bundle in NAMES:
        readme = files[f"{bundle}/README.md"]
        rows = re.findall(r"^\| ([A-Z_0-9]+) \| (\d+) \| ([\d, ]+) \| yes \|$", readme, re.M)
        assert {name: int(count) for name, count, _ in rows} == description.operator_counts
        assert {name: version for name, _, version in rows}["CONV_2D"] == "3"
        assert f"| flash | the model | {len(bundle_files['int8']):,} |" in readme
        assert "| RAM | tensor arena, measured on the host | 5,000 |" in readme and "Warning" not in readme
        assert "`net_ops.h`" in readme
        for kernels, told in (("reference", "reference kernels"), ("cmsis_nn", "CMSIS-NN's")):
            code = code_tables()[kernels].bytes_of(description.operator_names)
            assert f"| flash | code of the operators, {told} | {code:,} |" in readme
    floats = micro_bundle(bundle_files["float32"], "net", arena_bytes=5, recorded=echoed(), bundles=["cmake"])
    assert re.search(r"CMSIS-NN's, but of CONV_2D, .*, which was not measured \| [\d,]+ \|", floats["cmake/README.md"])
    unknown = micro_bundle(bundle_files["int8"], "net", arena_bytes=None, recorded=echoed(), bundles=["cmake"])
    assert "| RAM | tensor arena | not measured, see `net_settings.h` |" in unknown["cmake/README.md"]


def model_of(*operators):
    return ModelDescription(8, (), tuple(OperatorDescription(name, (), (), 0) for name in operators), (), ())


NOTES = {
    "arduino": ("CONV_2D", "TFLM_DECODE", "BATCH_MATMUL"),
    "zephyr": ("SignalFramer",),
    "esp-idf": ("ethos-u",),
}


@pytest.mark.parametrize("bundle", NOTES)
def test_operators_that_a_library_lacks_are_told(bundle):
    (note,) = library_notes(model_of(*NOTES[bundle]), bundle)
    lacking = ", ".join(sorted(set(NOTES[bundle]) - {"CONV_2D"}))
    assert note.startswith(f"{bundle}: {_libraries.LIBRARIES[bundle].name} has no {lacking}, so the project does not")
    assert library_notes(model_of("CONV_2D", "SOFTMAX"), bundle) == ()


def test_operators_that_only_a_new_library_has_are_told():
    (note,) = library_notes(model_of("TFLM_DECODE", "CONV_2D"), "zephyr")
    assert note.startswith("zephyr: the module of June 2024 has no TFLM_DECODE. Use Zephyr's module")
    assert "or the file without packed weights" in library_notes(model_of("TFLM_DECODE"), "arduino")[0]


def test_tables_name_operators_that_tflite_micro_has():
    named = set().union(*(library.lacks | library.newer for library in _libraries.LIBRARIES.values()))
    assert named <= set(_op_resolver._METHODS) | {"TFSP_DECODE"}
