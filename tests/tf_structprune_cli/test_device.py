"""The command `benchmark`, and `compress` on a phone."""

import json
import re

import keras
import numpy as np
import pytest

from tests.phones import Phones
from tests.tflite_export.compress import tiny
from tests.tflite_export.devices.fake_arm import FakeArm
from tf_structprune_cli import main
from tflite_export.bench import DevicesReport
from tflite_export.compress import _job
from tflite_export.devices import HOST, Host
from tflite_export.file import TFLiteFile
from tflite_export.pack import pack
from tflite_export.quantize import convert


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files, a model and its data."""
    folder = tmp_path_factory.mktemp("files")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    (folder / "a.tflite").write_bytes(convert(model))
    (folder / "b.tflite").write_bytes(convert(keras.Sequential([keras.Input((40,)), keras.layers.Dense(30)])))
    (folder / "bad.tflite").write_text("mine")
    tiny.trained().save(folder / "model.keras")
    np.savez(folder / "data.npz", **tiny.files(80))
    return folder


@pytest.fixture
def phones(tmp_path, monkeypatch):
    return Phones(tmp_path, monkeypatch)


@pytest.fixture
def benchmark(files, phones, capsys):
    """Runs `benchmark` on phones and gives the exit status, stdout and stderr."""

    def run(*options, names=("a", "b"), device="android"):
        where = [] if device is None else [f"--device={device}", f"--binary={phones.binary}"]
        status = main(["benchmark", *(str(files / f"{name}.tflite") for name in names), *where, "--runs=1", *options])
        return (status, *capsys.readouterr())

    return run


def sizes(files):
    return [(files / f"{name}.tflite").stat().st_size for name in ("a", "b")]


def test_benchmark_measures_files_on_each_phone_and_writes_them(benchmark, files, phones, tmp_path):
    phones.add("A1", profile="")
    phones.add("B2", formula="3 * size")
    out = tmp_path / "out.json"
    status, told, _ = benchmark("--serial=A1,B2", f"--json={out}")
    report = DevicesReport.from_json(out.read_text())
    small, large = sizes(files)
    assert status == 0 and [each.latency_us for each in report.figures] == [small, large, 3 * small, 3 * large]
    assert [each.device.partition(",")[0] for each in report.figures] == ["phone Pixel 8 (A1)"] * 2 + [
        "phone Pixel 8 (B2)"
    ] * 2
    assert [each.size_bytes for each in report.figures] == [small, large] * 2 and report.figures[1].macs == 1200
    assert f"{3 * large:,.1f}" in told and "30.1 to 30.1 degrees C" in told and f"Written to {out}" in told


def test_benchmark_takes_several_numbers_of_threads(benchmark, phones):
    phone = phones.add()
    status, told, _ = benchmark("--threads=1,4,1", names=("a",))
    assert status == 0 and [line.split()[-1] for line in (phone / "ran").read_text().splitlines()] == ["1", "4"]
    assert "one thread" in told and "4 threads" in told


def test_benchmark_tells_operators_of_this_machine(benchmark, files, tmp_path):
    out = tmp_path / "out.json"
    status, told, _ = benchmark("--operators", f"--json={out}", device=None)
    report = DevicesReport.from_json(out.read_text())
    assert (
        status == 0 and [[each.name for each in row.operators] for row in report.figures] == [["FULLY_CONNECTED"]] * 2
    )
    assert told.count("FULLY_CONNECTED") == 2 and report.figures[0].device == HOST.description


@pytest.mark.parametrize(
    "knob, told",
    [
        ({"lost": "1"}, "Phone 'B2' was lost."),
        (
            {"fails": "Failed to apply GPU delegate."},
            "The benchmark tool failed on phone 'B2'. Received: ERROR: Failed to",
        ),
    ],
    ids=["lost", "its tool fails"],
)
def test_benchmark_keeps_what_a_phone_gave_when_another_gives_nothing(benchmark, phones, tmp_path, knob, told):
    phones.add("A1")
    phones.add("B2", **knob)
    out = tmp_path / "out.json"
    status, printed, _ = benchmark("--serial=A1,B2", f"--json={out}")
    report = DevicesReport.from_json(out.read_text())
    assert status == 0 and len(report.figures) == 2
    assert report.failed[0].startswith(told) and told in printed


def test_packed_files_are_left_out_where_only_tflite_micro_runs_them(benchmark, files, tmp_path):
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64)])
    rng = np.random.default_rng(0)
    model.set_weights([rng.choice([0.0, 0.0, 0.0, 1.0, -1.0], (64, 64)), np.zeros(64)])
    x = rng.normal(size=(20, 64)).astype(np.float32)
    plain = TFLiteFile(convert(model, quantize="int8", representative_data=x))
    (files / "packed.tflite").write_bytes(pack(plain, "own").file.data)
    out = tmp_path / "out.json"
    status, told, _ = benchmark(f"--json={out}", names=("a", "packed"), device=None)
    report = DevicesReport.from_json(out.read_text())
    assert status == 0 and [each.file.rpartition("/")[2] for each in report.figures] == ["a.tflite"]
    assert "packed.tflite' has packed weights, for TFLite Micro alone: it was left out." in report.failed[0]
    assert "Packed weights are for TFLite Micro alone. Received: " in refusal(benchmark(names=("packed",), device=None))


def refusal(result):
    status, out, err = result
    assert status == 1 and not out and err.count("\n") == 1
    return err.removeprefix("tf-structprune: ")


@pytest.mark.parametrize(
    "options, names, told",
    {
        "no phone": ((), ("a",), "No phone is connected."),
        "unknown device": (
            ("--device=phone",),
            ("a",),
            "Unknown device. Received: device='phone'. Use one of: host, a",
        ),
        "app and binary": (("--app",), ("a",), "A phone runs the app or a binary."),
        "host's binary": (("--device=host",), ("a",), "Device 'host' has no binary. Received: binary="),
        "delegate": (("--delegate=dsp",), ("a",), "Unknown delegate. Received: delegate='dsp'."),
        "threads": (("--threads=two",), ("a",), "--threads takes counts. Received: --threads two. Use e.g."),
        "no threads": (("--threads=",), ("a",), "--threads takes counts. Received: --threads ."),
        "two names": (
            ("--device=android:A1", "--serial=B2"),
            ("a",),
            "Phones are named once. Received: --device androi",
        ),
        "no tool": (("--binary=absent",), ("a",), "There is no benchmark tool. Received: 'absent'. Download https://"),
    }.values(),
)
def test_benchmark_refuses_in_a_line(benchmark, options, names, told):
    assert refusal(benchmark(*options, names=names)).startswith(told)


def test_benchmark_refuses_files_and_places(benchmark, phones, tmp_path):
    phones.add(full="yes")
    assert "bad.tflite': not a TFLite model" in refusal(benchmark(names=("bad",)))
    assert "absent.tflite': no such file" in refusal(benchmark(names=("absent",)))
    assert refusal(benchmark()).startswith("Phone 'A1' has no space left.")
    (tmp_path / "mine").write_text("mine")
    assert "mine exists. Received: overwrite=False." in refusal(benchmark(f"--json={tmp_path / 'mine'}"))
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    "place, told",
    {
        "no folder": (
            "absent/out.json",
            r"out\.json cannot be written\. Received: No such file .* Make its folder first",
        ),
        "a folder": ("", r" is a folder\. Received: a place for a file\. Name a file in it"),
        "too long": ("o" * 250, r"o cannot be written\. Received: File name too long\. Choose a name of at most 200"),
    }.values(),
)
def test_benchmark_refuses_a_place_before_it_measures(benchmark, phones, tmp_path, place, told):
    phone = phones.add()
    assert re.search(told, refusal(benchmark(f"--json={tmp_path / place}", "--overwrite")))
    assert not (phone / "ran").exists()


FORMULA = "size ** 4 / 1e12"
"""A phone on which a file that is 9 % smaller takes 30 % less time."""


def test_compress_picks_by_the_numbers_of_the_phone(files, phones, tmp_path, monkeypatch, capsys):
    """No other measure of the file falls by as much as the budget asks: it is met on the phone alone."""
    monkeypatch.setattr(_job, "retrain", lambda *_, **__: {"loss": [0.5]})
    monkeypatch.setattr(Host, "latencies_us", lambda *_, **__: pytest.fail("the host was asked"))
    phones.add(formula=FORMULA)
    out = tmp_path / "out"
    given = f"--device=android --binary={phones.binary} --rounds=1 --out={out} --quiet --data={files / 'data.npz'}"
    given += " --budget=latency=0.7 --allocation=uniform --search=magnitude --reconstruct=none --floor=0"
    given += " --tolerance=1 --epochs=1 --min-validation=8 --micro=none"
    assert main(["compress", str(files / "model.keras"), *given.split()]) == 0
    summary = json.loads((out / "summary.json").read_text())
    sizes = [(folder / "model_int8.tflite").stat().st_size for folder in (out / "baseline", out)]
    figures = [summary[side]["latency_us_int8"] for side in ("baseline", "compressed")]
    assert figures == pytest.approx([eval(FORMULA, {"size": size}) for size in sizes], rel=1e-3)
    assert figures[1] <= 0.7 * figures[0]
    costs = ("macs", "parameters", "int8_bytes", "float32_bytes")
    assert all(summary["compressed"][name] > 0.7 * summary["baseline"][name] for name in costs)
    assert summary["device"] == "phone Pixel 8 (A1), benchmark_model, XNNPACK, one thread"
    assert f"Latencies are of {summary['device']}." in capsys.readouterr().out


def test_compress_refuses_a_phone_that_is_not_there_before_any_work(files, phones, tmp_path, capsys):
    given = f"--device=android --binary={phones.binary} --out={tmp_path / 'out'} --quiet --data={files}/data.npz"
    assert main(["compress", str(files / "model.keras"), *given.split()]) == 1
    assert refusal((1, *capsys.readouterr())).startswith("No phone is connected.")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def emulated(files, tmp_path, monkeypatch, capsys):
    """Runs `benchmark` on an emulated core that takes five ticks and gives zeros, and gives as `benchmark` does."""
    folder = tmp_path / "programs"
    folder.mkdir()
    FakeArm(folder, monkeypatch)
    np.zeros(9, np.float32).tofile(folder / "outputs.bin")
    np.array([1234, 567, 1, 5, 5, 5, 4], np.uint64).tofile(folder / "figures.bin")
    library = tmp_path / "lib.a"
    library.write_bytes(b"!<arch>\nobjects")

    def run(*options, library=library):
        where = ["--device=qemu", *([f"--tflm-lib={library}", f"--tflm-include={tmp_path}"] if library else [])]
        status = main(["benchmark", str(files / "a.tflite"), *where, "--runs=1", *options])
        return (status, *capsys.readouterr())

    return run


def test_benchmark_counts_instructions_under_qemu(emulated, tmp_path):
    out = tmp_path / "out.json"
    status, told, _ = emulated("--core=m7", "--operators", f"--json={out}")
    (figures,) = DevicesReport.from_json(out.read_text()).figures
    assert status == 0 and (figures.instructions, figures.arena_bytes, figures.operators[0].us) == (200, 1234, 1.6)
    assert figures.program.flash_bytes == figures.program.model + figures.program.operators + figures.program.runtime
    assert all(each in told for each in ("Cortex-M7", "1,234", "567", "the NumPy reference has integer kernels only"))
    assert "instructions" in told.partition("operator")[2] and " 160 " in told and "microseconds" not in told


def test_the_core_may_stand_behind_the_colon(emulated):
    status, told, _ = emulated("--device=qemu:m33")
    assert status == 0 and "Cortex-M33" in told


@pytest.mark.parametrize(
    "options, message",
    [
        (["--threads=4"], r"Device 'qemu' has no threads. Received: threads=4"),
        (["--serial=A1"], r"Device 'qemu' has no serial"),
        (["--core=m0"], r"core must be one of m3, m4, m7, m33, m55. Received: core='m0'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_that_an_emulated_core_has_not_are_refused(emulated, options, message):
    status, _, told = emulated(*options)
    assert status and re.search(message, told)


def test_emulated_core_without_a_library_is_refused(emulated):
    status, _, told = emulated(library=None)
    assert status and "No library of TFLite Micro was named" in told and "--tflm-lib" in told
