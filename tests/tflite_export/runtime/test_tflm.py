import os
import signal
import time

import keras
import numpy as np
import pytest

from tflite_export.child import _child
from tflite_export.file import open_file
from tflite_export.quantize import convert
from tflite_export.runtime import _tflm, arena_bytes, run_litert, run_tflm, tflm_available


@pytest.fixture
def tflm():
    pytest.importorskip("tflite_micro")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(_tflm, "_KNOWN_ARENAS", {})


@pytest.mark.usefixtures("tflm")
class TestInstalled:
    def test_run_tflm_agrees_with_the_reference_kernels(self, int8_file, samples):
        micro = run_tflm(int8_file, samples).astype(int)
        assert micro.shape == (len(samples), 5)
        assert np.abs(micro - run_litert(int8_file, samples, kernels="reference")).max() <= 1

    @pytest.mark.parametrize("place", [1, 3, 4])
    def test_crash_names_its_operator(self, int8_file, samples, monkeypatch, place):
        """Of a process that is killed when it comes to the operator at a place."""

        def ran(directory, file, arena, decode_bytes):
            return (-11 if len(file.description.operators) >= place else 0), ""

        monkeypatch.setattr(_tflm, "_ran", ran)
        name = open_file(int8_file).description.operators[place - 1].name
        with pytest.raises(ValueError, match=rf"exit status -11.*, at operator {place} of \d, {name}"):
            run_tflm(int8_file, samples)

    def test_run_tflm_runs_float_models(self, float_file, samples):
        expected = run_litert(float_file, samples, kernels="reference")
        np.testing.assert_allclose(run_tflm(float_file, samples), expected, atol=1e-6)

    def test_arena_is_the_same_each_time_and_holds_the_widest_layer(self, int8_file):
        arena = arena_bytes(int8_file)
        _tflm._KNOWN_ARENAS.clear()
        assert arena == arena_bytes(int8_file)
        # The first convolution has its input and its output in memory at once.
        assert 8 * 8 * 2 + 8 * 8 * 6 < arena < 16_384
        assert tflm_available()

    def test_arena_of_a_float_model_is_larger(self, float_file, int8_file):
        assert arena_bytes(float_file) > arena_bytes(int8_file)

    def test_arena_does_not_depend_on_the_first_guess(self, int8_file, monkeypatch):
        expected = arena_bytes(int8_file)
        _tflm._KNOWN_ARENAS.clear()
        monkeypatch.setattr(_tflm, "_arena_guess", lambda description: 1024)
        assert arena_bytes(int8_file) == expected

    def test_arena_beyond_all_guesses_is_an_error(self, int8_file, monkeypatch):
        monkeypatch.setattr(_tflm, "_arena_guess", lambda description: 16)
        with pytest.raises(ValueError, match=r"TFLite Micro cannot run the model .*arena 1024 bytes.*Failed"):
            arena_bytes(int8_file)

    def test_arena_of_a_file_that_ran_is_known(self, int8_file, float_file, samples, monkeypatch):
        expected = arena_bytes(float_file)
        _tflm._KNOWN_ARENAS.clear()
        run_tflm(float_file, samples[:1])
        monkeypatch.setattr(_tflm, "_run", lambda *_, **__: pytest.fail("it ran again"))
        assert arena_bytes(float_file) == expected
        with pytest.raises(pytest.fail.Exception):
            arena_bytes(int8_file)

    def test_operator_that_tflm_lacks_is_named(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Activation(keras.ops.sign)])
        data = convert(model)
        assert "SIGN" in open_file(data).description.operator_names
        with pytest.raises(ValueError, match=r"TFLite Micro cannot run the model.*Didn't find op.*SIGN"):
            run_tflm(data, np.zeros((1, 4)))

    def test_run_that_was_interrupted_leaves_no_process(self, int8_file):
        """Of 100,000 samples: neither the process of TFLite Micro nor the copy of it that computes goes on."""

        def interrupt(*_):
            raise KeyboardInterrupt

        run_tflm(int8_file, np.zeros((1, 8, 8, 2)))
        server = _child._MICRO.begin().process.pid
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                run_tflm(int8_file, np.zeros((100_000, 8, 8, 2), np.int8))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        deadline = time.monotonic() + 60
        while _group_is_there(server):  # until who is responsible has noticed that they are dead
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert run_tflm(int8_file, np.zeros((1, 8, 8, 2))).shape == (1, 5)

    def test_tflm_leaves_stderr_alone(self, int8_file, samples, capfd):
        run_tflm(int8_file, samples)
        assert capfd.readouterr() == ("", "")


def _group_is_there(leader):
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("call", [arena_bytes, lambda model: run_tflm(model, np.zeros((1, 8, 8, 2)))])
def test_missing_tflm_names_the_extra(call, int8_file, monkeypatch):
    monkeypatch.setattr(_tflm, "tflm_available", lambda: False)
    with pytest.raises(ImportError, match=r"tflite-micro is not installed.*pip install 'tf-structprune\[micro\]'"):
        call(int8_file)


def test_arena_refuses_batches(raw_file):
    with pytest.raises(ValueError, match=r"the batch size must be 1. Received: shape=\(2, 4\)"):
        arena_bytes(raw_file(lambda a, b: a + b, (1, 4), (2, 4)))
