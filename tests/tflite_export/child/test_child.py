"""Native code that dies, or is interrupted, is an error and no end of this process."""

import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_structprune.task import Samples
from tflite_export.child import CrashError, NativeError, _child, native
from tflite_export.devices import HOST
from tflite_export.file import open_file
from tflite_export.quantize import convert
from tflite_export.quantize._convert import converted
from tflite_export.runtime import run_litert

_L = keras.layers


@pytest.fixture(scope="module")
def remainder():
    """A file with an integer remainder: of the least integer by -1 x86 has none, and the process gets SIGFPE."""
    ends = [keras.Input((3,), dtype="int32", name=name) for name in "ab"]
    behind = _L.Lambda(lambda both: tf.math.floormod(*both) * 2, name="remainder")(ends)
    return convert(keras.Model(ends, behind))


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_crash_names_the_operator_and_the_next_run_works(remainder, kernels):
    deadly = [np.full((1, 3), -(2**31), np.int32), np.full((1, 3), -1, np.int32)]
    message = (
        rf"model: LiteRT cannot run the model with {kernels} kernels: it died \(SIGFPE\), at operator 1 of 2, FLOOR_M"
    )
    with pytest.raises(ValueError, match=message):
        run_litert(remainder, deadly, kernels=kernels)
    sevens, fours = np.full((2, 3), 7, np.int32), np.full((2, 3), 4, np.int32)
    np.testing.assert_array_equal(run_litert(remainder, [sevens, fours], kernels=kernels), np.full((2, 3), 6))


def test_file_that_cannot_be_timed_is_refused_with_its_operator(remainder):
    # Random inputs of integers are zeros, and LiteRT refuses a remainder by zero.
    with pytest.raises(ValueError, match=r"LiteRT cannot run the model with xnnpack kernels: .*FLOOR_MOD"):
        HOST.latencies_us([open_file(remainder)], runs=1)


def test_converter_that_crashes_names_the_operator():
    """Its calibrator dies of a recurrent layer that is not unrolled."""
    model = keras.Sequential([keras.Input((6, 4)), _L.Conv1D(5, 3), _L.LSTM(4), _L.Dense(2)], name="rolled")
    x = np.random.default_rng(0).normal(size=(4, 6, 4)).astype(np.float32)
    message = r"Model 'rolled': .* the converter died \(SIGSEGV\) while it measured .* operator \d of \d, \w+ \(.*lstm"
    with pytest.raises(ValueError, match=message):
        converted(model, Samples((x,)), quantize="int8")
    assert convert(model, quantize="int8", representative_data=x)


def test_interrupt_leaves_no_answer_behind(remainder):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    file = open_file(convert(keras.Sequential([keras.Input((2,)), _L.Dense(2)])))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            HOST.latencies_us([file], runs=10**8)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert run_litert(remainder, [np.ones((1, 3), np.int32), np.full((1, 3), 2, np.int32)]).tolist() == [[2, 2, 2]]


def test_process_that_was_killed_between_two_requests_is_begun_anew(remainder):
    with native() as ask:
        ask("check", remainder)
        process = _child._CHILD.begin().process
        process.kill()
        process.wait()
        ask("check", remainder)
        assert _child._CHILD.begin().process.pid != process.pid


def test_what_native_code_refuses_has_its_class_and_words():
    with native() as ask, pytest.raises(NativeError, match="not a valid Flatbuffer") as caught:
        ask("check", b"\x1c\x00\x00\x00TFL3" + bytes(range(256)))
    assert caught.value.kind == "ValueError" and not isinstance(caught.value, CrashError)


_FORKED = """
import os, signal, sys, time
from tflite_export.child import native
with native() as ask:
    ask("check", open(sys.argv[1], "rb").read())
from tflite_export.child import _child
print(_child._CHILD.begin().process.pid, flush=True)
if os.fork() == 0:
    with native() as ask:
        ask("check", open(sys.argv[1], "rb").read())
    print(_child._CHILD.begin().process.pid, flush=True)
    os._exit(0)
os.wait()
with native() as ask:
    ask("check", open(sys.argv[1], "rb").read())
print("ready", flush=True)
time.sleep(100)
"""


def test_fork_has_its_own_and_none_outlives_its_owner(remainder, tmp_path):
    path = tmp_path / "some.tflite"
    path.write_bytes(remainder)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _FORKED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        first, second = (int(owner.stdout.readline()) for _ in range(2))
        assert first != second and owner.stdout.readline() == "ready\n"
        os.kill(owner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in (first, second)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
