"""Stand-ins for what ecosystems build projects with: enough to run their CMake files and link a program."""

import subprocess

from tests.tflite_export.bundle import tflm_stub

_IDF_PROJECT = """
macro(project name)
  _project(${name} C CXX)
  foreach(component components/net_tflm main)
    add_subdirectory(${component})
  endforeach()
  file(WRITE "${CMAKE_BINARY_DIR}/start.c" "void app_main(void); int main(void) { app_main(); return 0; }")
  add_executable(program "${CMAKE_BINARY_DIR}/start.c")
  target_link_libraries(program PRIVATE main)
endmacro()
function(idf_component_register)
  cmake_parse_arguments(ARG "" "" "SRCS;INCLUDE_DIRS;PRIV_REQUIRES" ${ARGN})
  get_filename_component(name "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
  add_library(${name} STATIC ${ARG_SRCS})
  target_include_directories(${name} PUBLIC ${ARG_INCLUDE_DIRS} "$ENV{TFLM}")
  target_link_libraries(${name} PUBLIC ${ARG_PRIV_REQUIRES})
  set(COMPONENT_LIB ${name} PARENT_SCOPE)
endfunction()
"""
_ZEPHYR_CONFIG = """
project(Zephyr-Kernel C CXX)
add_executable(app)
target_include_directories(app PRIVATE "$ENV{TFLM}")
"""
_START = """
void setup();
void loop();
int main() {
  setup();
  loop();
}
"""


def write_stand_ins(folder, header):
    """Writes TFLite Micro's headers for a `NAME_ops.h`, an empty library, ESP-IDF and Zephyr; gives what finds them."""
    tflm = folder / "tflm"
    tflm_stub.write_headers(tflm, tflm_stub.methods_of(header))
    library = tflm / "gen/linux_x86_64_default_gcc/lib"
    library.mkdir(parents=True)
    (tflm / "empty.c").write_text("int empty;\n")
    subprocess.run(["gcc", "-c", "empty.c", "-o", "empty.o"], cwd=tflm, check=True)
    subprocess.run(["ar", "rc", library / "libtensorflow-microlite.a", "empty.o"], cwd=tflm, check=True)
    for path, text in {
        "idf/tools/cmake/project.cmake": _IDF_PROJECT,
        "zephyr/ZephyrConfig.cmake": _ZEPHYR_CONFIG,
        "arduino/TensorFlowLite.h": "",
        "arduino/start.cpp": _START,
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return {"TFLM": str(tflm), "IDF_PATH": str(folder / "idf"), "Zephyr_DIR": str(folder / "zephyr")}
