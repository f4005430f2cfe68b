import contextlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.devices import ByMacs
from tflite_export.bench import DevicesReport, _benchmark, benchmark, benchmark_together, measure_on
from tflite_export.child import _process
from tflite_export.devices import DeviceError, Host, Measurement, OperatorTime
from tflite_export.file import open_file
from tflite_export.quantize import convert
from tflite_export.runtime import _litert, arena_bytes, tflm_available


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


@pytest.fixture
def clock(monkeypatch):
    """Replaces the clock: a file takes as many microseconds as it has bytes; gives the sizes as the files run."""
    ran = []
    monkeypatch.setattr(_process, "time", SimpleNamespace(perf_counter_ns=lambda: 1000 * sum(ran)))
    monkeypatch.setattr(_process, "_prepared_call", lambda data, threads: lambda: ran.append(len(data)))
    here = contextlib.nullcontext(lambda name, *arguments: getattr(_process, name)(*arguments))
    monkeypatch.setattr(_litert, "native", lambda: here)
    return ran


def test_files_run_in_turns_in_changing_order_behind_a_run_of_their_own(clock):
    latencies = Host(warmup=2).latencies_us([SimpleNamespace(data=data) for data in (b"a", b"bb", b"ccc")], runs=20)
    np.testing.assert_array_equal(latencies, np.repeat([[1.0], [2.0], [3.0]], 20, axis=1))
    rounds = [tuple(clock[start : start + 6]) for start in range(0, len(clock), 6)]
    assert len(rounds) == 22
    assert all(turns[::2] == turns[1::2] and set(turns) == {1, 2, 3} for turns in rounds)
    assert len(set(rounds)) > 3


@pytest.mark.every(2)
@pytest.mark.parametrize("name", ["float32", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_benchmark_reports_the_file(files, name, threads):
    pytest.importorskip("tflite_micro")
    path = files / f"{name}.tflite"
    report = benchmark(path, threads=threads, runs=20, warmup=2)
    description = open_file(path).description
    assert (report.runs, report.threads) == (20, threads)
    assert 0 < report.latency_us_p10 <= report.latency_us <= report.latency_us_p90
    assert report.size_bytes == path.stat().st_size
    assert report.macs == description.macs == 10 * 10 * 4 * 27 + 400 * 4
    assert report.parameters == description.parameters
    assert report.arena_bytes == arena_bytes(path)
    assert report.operators == ("CONV_2D", "RESHAPE", "FULLY_CONNECTED")


def test_together_keeps_the_order(files, clock):
    reports = benchmark_together([files / "wide.tflite", files / "float32.tflite"], runs=3)
    assert [report.latency_us for report in reports] == [report.size_bytes for report in reports]
    assert reports[0].macs == 16 * reports[1].macs


def test_a_device_takes_the_place_of_this_machine(files, clock):
    class Two(ByMacs):
        threads = 2

    reports = benchmark_together([files / "wide.tflite", files / "float32.tflite"], runs=2, device=Two())
    assert [report.latency_us for report in reports] == [report.macs for report in reports]
    assert [report.threads for report in reports] == [2, 2] and not clock
    assert benchmark(files / "int8.tflite", runs=2, device=ByMacs()).threads == 1


@pytest.mark.parametrize("mine", [{"threads": 2}, {"warmup": 3}], ids=str)
def test_a_device_has_threads_and_a_warmup_of_its_own(files, mine):
    with pytest.raises(
        ValueError, match=r"A device has threads and a warm-up of its own\. Received: threads=\d, warmup="
    ):
        benchmark(files / "int8.tflite", device=ByMacs(), **mine)


class Measured(ByMacs):
    """A device that tells all, or fails."""

    def __init__(self, name, error=None):
        super().__init__()
        self.description, self.error = name, error

    def measure(self, files, *, runs, operators=False):
        if self.error:
            raise self.error
        told = (OperatorTime("ADD", "sum", 2.5),) if operators else ()
        times = self.latencies_us(files, runs=runs)
        return tuple(Measurement(tuple(row), told, 5.0, 7, notes=("warm",)) for row in times.tolist())


def test_figures_of_devices_are_those_that_each_measured_and_are_read_back(files):
    paths = [files / "int8.tflite", (files / "wide.tflite").read_bytes()]
    report = measure_on([Measured("one"), Measured("two")], paths, runs=2, operators=True)
    assert [(each.device, each.latency_us == each.macs, each.rounds) for each in report.figures] == [
        (name, True, 2) for name in ("one", "one", "two", "two")
    ]
    assert report.figures[0].file == str(files / "int8.tflite") and report.figures[1].file == "model"
    assert {(each.operators[0].us, each.init_us, each.peak_bytes, each.notes) for each in report.figures} == {
        (2.5, 5.0, 7, ("warm",))
    }
    assert DevicesReport.from_json(report.to_json()) == report
    with pytest.raises(ValueError, match=r"That is no report of benchmark\. Received: .* Write it with DevicesReport"):
        DevicesReport.from_json("{}")


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good")], ids=str)
def test_a_device_that_fails_leaves_the_others(files, order):
    devices = {"good": Measured("good"), "bad": Measured("bad", DeviceError("It is gone."))}
    report = measure_on([devices[name] for name in order], [files / "int8.tflite"], runs=1)
    assert [each.device for each in report.figures] == ["good"] and report.failed == ("It is gone.",)


def test_no_device_that_gives_anything_is_an_error(files):
    bad = Measured("bad", DeviceError("It is gone."))
    with pytest.raises(DeviceError, match=r"It is gone\."):
        measure_on([bad, bad], [files / "int8.tflite"])


def test_benchmark_takes_bytes(files):
    data = (files / "int8.tflite").read_bytes()
    assert benchmark(data, runs=1, warmup=0).size_bytes == len(data)


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
    assert report.latency_us > 0 and (report.arena_bytes is not None) == tflm_available()


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


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"runs": 0}, r"runs must be at least 1\. Received: runs=0"),
        ({"warmup": -1}, r"threads must be from 1 to 1,024 and warmup at least 0\. Received: threads=1, warmup=-1"),
        ({"threads": 10**5}, r"threads must be from 1 to 1,024 and warmup at least 0\. Received: threads=100000"),
        ({"threads": 0}, r"threads must be from 1 to 1,024 and warmup at least 0\. Received: threads=0, warmup=10"),
    ],
    ids=str,
)
def test_bad_counts_are_refused(files, arguments, message):
    with pytest.raises(ValueError, match=message):
        benchmark(files / "int8.tflite", **arguments)


@pytest.mark.parametrize("paths", [[], "model.tflite", b"TFL3"], ids=repr)
def test_together_wants_a_sequence(paths):
    with pytest.raises(ValueError, match="paths must be a non-empty sequence of models. Received: "):
        benchmark_together(paths)
