import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflite_export.bench import _benchmark, benchmark, benchmark_together
from tflite_export.quantize import convert
from tflite_export.runtime import arena_bytes, describe


def network(width):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((12, 12, 3)), keras.layers.Conv2D(width, 3, activation="relu"), keras.layers.Flatten()]
        + [keras.layers.Dense(4)]
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    data = np.random.default_rng(0).random((20, 12, 12, 3), np.float32)
    (folder / "float32.tflite").write_bytes(convert(network(4)))
    (folder / "int8.tflite").write_bytes(convert(network(4), quantize="int8", representative_data=data))
    (folder / "wide.tflite").write_bytes(convert(network(64)))
    return folder


@pytest.mark.parametrize("name", ["float32", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_benchmark_reports_the_file(files, name, threads):
    pytest.importorskip("tflite_micro")
    path = files / f"{name}.tflite"
    report = benchmark(path, threads=threads, runs=20, warmup=2)
    description = describe(path)
    assert (report.runs, report.threads) == (20, threads)
    assert 0 < report.latency_us_p10 <= report.latency_us <= report.latency_us_p90
    assert report.size_bytes == path.stat().st_size
    assert report.macs == description.macs == 10 * 10 * 4 * 27 + 400 * 4
    assert report.parameters == description.parameters
    assert report.arena_bytes == arena_bytes(path)
    assert report.operators == ("CONV_2D", "RESHAPE", "FULLY_CONNECTED")


def test_together_keeps_the_order_and_the_wider_model_is_slower(files):
    narrow, wide = benchmark_together([files / "float32.tflite", files / "wide.tflite"], runs=60)
    assert narrow.macs * 16 == wide.macs
    assert narrow.latency_us < wide.latency_us


def test_benchmark_takes_bytes(files):
    data = (files / "int8.tflite").read_bytes()
    assert benchmark(data, runs=1, warmup=0).size_bytes == len(data)


def test_models_run_in_turns_in_changing_order_behind_a_run_of_their_own():
    order = []
    calls = [lambda name=name: order.append(name) for name in "abc"]
    latencies = _benchmark._time_in_turns(calls, runs=20, warmup=2)
    assert latencies.shape == (3, 20) and (latencies > 0).all()
    rounds = ["".join(order[start : start + 6]) for start in range(0, len(order), 6)]
    assert len(rounds) == 22
    assert all(turns[::2] == turns[1::2] and set(turns) == set("abc") for turns in rounds)
    assert len(set(rounds)) > 3


def test_latency_is_in_microseconds():
    latencies = _benchmark._time_in_turns([lambda: time.sleep(0.003), lambda: None], runs=3, warmup=0)
    assert (latencies[0] >= 3000).all() and np.median(latencies[0]) < 300_000
    assert np.median(latencies[1]) < 3000


def test_arena_is_none_without_tflm(files, monkeypatch):
    monkeypatch.setattr(_benchmark, "tflm_available", lambda: False)
    assert benchmark(files / "int8.tflite", runs=1).arena_bytes is None


def test_arena_is_none_for_a_model_that_tflm_cannot_run():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Activation(keras.ops.sign)])
    assert benchmark(convert(model), runs=1).arena_bytes is None


def test_models_of_two_inputs_are_timed():
    signature = [tf.TensorSpec((1, 4), tf.float32), tf.TensorSpec((1, 4), tf.int32)]
    concrete = tf.function(lambda a, b: a + tf.cast(b, tf.float32), input_signature=signature).get_concrete_function()
    data = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()
    report = benchmark(data, runs=3)
    assert report.latency_us > 0 and report.arena_bytes is None


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"TFLite model '.*absent\.tflite': no such file"):
        benchmark(tmp_path / "absent.tflite")


def test_foreign_and_truncated_files_are_refused(files, tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match=r"bad\.tflite': not a TFLite model"):
        benchmark(path)
    path.write_bytes((files / "int8.tflite").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"bad\.tflite': damaged or truncated TFLite model"):
        benchmark(path)


@pytest.mark.parametrize("arguments", [{"runs": 0}, {"warmup": -1}], ids=str)
def test_bad_counts_are_refused(files, arguments):
    with pytest.raises(ValueError, match="runs must be at least 1 and warmup at least 0. Received: runs="):
        benchmark(files / "int8.tflite", **arguments)


def test_zero_threads_are_refused(files):
    with pytest.raises(ValueError, match="threads must be at least 1. Received: threads=0"):
        benchmark(files / "int8.tflite", threads=0)


@pytest.mark.parametrize("paths", [[], "model.tflite", b"TFL3"], ids=repr)
def test_together_wants_a_sequence(paths):
    with pytest.raises(ValueError, match="paths must be a non-empty sequence of models. Received: "):
        benchmark_together(paths)
