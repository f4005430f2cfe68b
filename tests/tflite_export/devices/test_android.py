"""A phone behind `adb`, from what is pushed to what is said of a phone that fails."""

import os
import shutil
import struct
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from tests.marks import HANG_SECONDS
from tests.phones import PROFILE, Phones, left_on
from tf_structprune.resume import identity
from tflite_export.devices import Android, DeviceError, Host, _adb, _alone, description_of, device_of

INSIDE = """\
Delegate internal:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, QC8) IGEMM, 1.5, 1.5, 75%, 75%, 0, 1, Delegate/Convolution:0
"""
PRINTED = """\
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t   [node type]\t   [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t       CONV_2D\t     0.000\t    4.269\t    4.25\t  0.107%\t  0.107%\t     0.000\t        1\t[a/Relu6, b]:0
"""


def file(size, fill=b"x"):
    return SimpleNamespace(data=fill * size, name=f"file of {size}")


@pytest.fixture
def phones(tmp_path, monkeypatch):
    return Phones(tmp_path, monkeypatch)


def android(phones, **settings):
    return Android(binary=phones.binary, **{"rounds": 1, "cooldown_s": 0, "patience_s": 1, **settings})


def test_a_row_holds_the_medians_of_the_rounds_until_it_has_all_runs(phones):
    phone = phones.add()
    latencies = android(phones, rounds=3).latencies_us([file(500), file(1200)], runs=7)
    np.testing.assert_array_equal(latencies, [[500.0] * 7, [1200.0] * 7])
    ran = [line.split() for line in (phone / "ran").read_text().splitlines()]
    assert [size for size, *_ in ran].count("500") == 3 and {tuple(rest) for _, *rest in ran} == {("3", "3", "1")}
    assert all({size for size, *_ in ran[at : at + 2]} == {"500", "1200"} for at in (0, 2, 4))


@pytest.mark.parametrize("runs, rounds", [(1, 1), (2, 2), (9, 3)])
def test_there_are_no_more_rounds_than_runs(phones, runs, rounds):
    phone = phones.add()
    assert android(phones, rounds=3).latencies_us([file(500)], runs=runs).shape == (1, runs)
    assert len((phone / "ran").read_text().splitlines()) == rounds


def test_files_are_pushed_once_and_removed_and_the_tool_stays(phones):
    phone = phones.add()
    device = android(phones)
    device.latencies_us([file(500), file(500)], runs=2)
    (tool,) = left_on(phone)
    assert tool.startswith("tool_")
    os.utime(phone / "data/local/tmp/tf_structprune" / tool, (1, 1))
    device.latencies_us([file(500)], runs=2)
    assert (phone / "data/local/tmp/tf_structprune" / tool).stat().st_mtime == 1


def test_threads_and_warmup_are_asked_of_the_tool(phones):
    phone = phones.add()
    android(phones, threads=4, warmup=9, rounds=1).latencies_us([file(50)], runs=6)
    assert (phone / "ran").read_text() == "50 6 9 4\n"


def test_measurement_has_init_memory_and_temperature(phones):
    phones.add()
    (found,) = android(phones, rounds=2).measure([file(500)], runs=4)
    assert found.latencies_us == (500.0, 500.0) and found.init_us == pytest.approx(16242)
    assert found.peak_bytes == 47616 * 1024 and found.operators == ()
    assert found.notes == ("30.1 to 30.1 degrees C, clock 2,800 to 2,800 MHz.",)


def test_an_old_tool_tells_its_mean_in_the_log(phones):
    phones.add(old="yes", profile=PRINTED)
    (found,) = android(phones).measure([file(500)], runs=4, operators=True)
    assert found.latencies_us == (750.0,) and found.peak_bytes == int(46.5 * 2**20)
    assert [(each.name, each.output, each.us) for each in found.operators] == [("CONV_2D", "a/Relu6, b", 4250.0)]


@pytest.mark.parametrize(
    "profile, last",
    [
        (PROFILE, ("TfLiteXNNPackDelegate", "probabilities", 2000)),
        (PROFILE + INSIDE, ("Convolution (NHWC, QC8) IGEMM", "Delegate/Convolution", 1500)),
    ],
    ids=["delegate", "inside"],
)
def test_operators_are_those_of_the_profile(phones, profile, last):
    phones.add(profile=profile)
    (found,) = android(phones).measure([file(500)], runs=2, operators=True)
    rows = [(each.name, each.output, each.us) for each in found.operators]
    assert rows == [("QUANTIZE", "quantized", 125), last]


def test_a_profile_without_a_table_tells_no_operators(phones):
    phones.add(profile="")
    assert android(phones).measure([file(500)], runs=2, operators=True)[0].operators == ()


def test_the_app_is_read_from_the_log(phones):
    phone = phones.add(app="yes", profile=PROFILE)
    (found,) = Android(app=True, rounds=1).measure([file(700)], runs=4, operators=True)
    assert found.latencies_us == (700.0,) and len(found.operators) == 2
    assert left_on(phone) == []


def test_a_clock_that_falls_is_said(phones):
    phones.add(slow="1")
    (found,) = android(phones, rounds=3).measure([file(500)], runs=3)
    assert found.notes[0] == "The clock fell by 15 % or more in 2 of 3 rounds: the phone was throttled."


def test_a_phone_that_is_lost_gives_what_is_done(phones):
    phones.add(lost="3")
    (found,) = android(phones, rounds=5, patience_s=0.5).measure([file(500)], runs=5)
    assert found.latencies_us == (500.0, 500.0)
    assert found.notes[0].startswith(
        "2 of 5 rounds are done. Phone 'A1' was lost. Received: adb: device 'A1' not found."
    )


def test_a_phone_that_comes_back_goes_on(phones):
    phones.add(lost="2", back="yes")
    (found,) = android(phones, rounds=4).measure([file(500)], runs=4)
    assert found.latencies_us == (500.0,) * 4 and "done" not in " ".join(found.notes)


def test_a_connection_that_drops_in_the_middle_of_a_command_is_a_lost_phone(phones):
    phones.add(cut="2")
    (found,) = android(phones, rounds=4, patience_s=0.5).measure([file(500)], runs=4)
    assert found.latencies_us == (500.0, 500.0)
    assert found.notes[0].startswith("2 of 4 rounds are done. Phone 'A1' was lost in the middle of a command.")
    phones.add("B2", cut="1", back="yes")
    (found,) = android(phones, serial="B2", rounds=4).measure([file(500)], runs=4)
    assert found.latencies_us == (500.0,) * 4 and "done" not in " ".join(found.notes)


def test_a_connection_that_drops_in_a_push_is_a_lost_phone(phones):
    phones.add(unpushed="yes")
    with pytest.raises(DeviceError, match=r"Phone 'A1' was lost\. Received: adb: device 'A1' not found\. Plug it in"):
        android(phones).measure([file(500)], runs=2)


def test_a_tool_that_fails_later_gives_what_is_done(phones):
    phone = phones.add()
    phones.binary.write_text(
        phones.binary.read_text().replace(
            'knob("fails")', '(phone / "ran").exists() and len(knob("ran").splitlines()) > 2 and "Killed"', 1
        )
    )
    (found,) = android(phones, rounds=5).measure([file(500)], runs=5, operators=False)
    assert found.latencies_us == (500.0,) * 3
    assert found.notes[0].startswith("3 of 5 rounds are done. The benchmark tool failed on phone 'A1'.")
    assert len(left_on(phone)) == 1  # the tool


def test_two_runs_on_one_phone_wait_for_each_other(phones, monkeypatch):
    phone = phones.add()
    waits = threading.Event()
    monkeypatch.setattr(_alone.logging, "warning", lambda *_: waits.set())
    found = []
    with _alone.alone_on("A1"):
        other = threading.Thread(
            target=lambda: found.append(android(phones, serial="A1").latencies_us([file(500)], runs=1))
        )
        other.start()
        assert waits.wait(HANG_SECONDS) and not found and not (phone / "ran").exists()
    other.join(HANG_SECONDS)
    np.testing.assert_array_equal(found, [[[500.0]]])


def test_a_phone_of_an_odd_name_is_found_among_other_lines(phones):
    phones.add("adb-R3 (2)._adb-tls-connect._tcp")
    lines = phones.adb.read_text()
    phones.adb.write_text(lines.replace("    exit 0", "    echo WARNING: linker: something\n    exit 0", 1))
    assert _adb.phone_of(None).serial == "adb-R3 (2)._adb-tls-connect._tcp"


def test_a_time_that_is_no_number_is_no_time(phones):
    phones.add(formula="math.inf")
    with pytest.raises(ValueError, match=r"The benchmark tool tells no time on phone 'A1'\. Received: '(?!.*cur_freq)"):
        android(phones).latencies_us([file(500)], runs=1)


def test_a_phone_that_is_lost_in_the_profile_keeps_its_times(phones):
    phones.add(lost="2", profile=PROFILE)
    (found,) = android(phones).measure([file(500)], runs=2, operators=True)
    assert found.latencies_us == (500.0,) and found.operators == ()
    assert found.notes[0].startswith("The operators are not told. Phone 'A1' was lost.")


def test_a_phone_that_is_lost_at_once_is_an_error(phones):
    phones.add(lost="0")
    with pytest.raises(DeviceError, match=r"Phone 'A1' was lost\. Received: adb: device 'A1' not found\. Plug it in"):
        android(phones).measure([file(500)], runs=2)


@pytest.mark.parametrize("delegate", ["gpu", "npu"])
def test_a_delegate_that_the_tool_does_not_have_is_refused(phones, delegate):
    phones.add(unknown="use_gpu use_npu use_nnapi")
    with pytest.raises(
        DeviceError, match=rf"This benchmark tool has no delegate '{delegate}'\. Received: it left --use"
    ):
        android(phones, delegate=delegate).latencies_us([file(500)], runs=2)


def test_one_of_the_flags_of_a_delegate_will_do(phones):
    phones.add(unknown="use_npu")
    assert android(phones, delegate="npu").latencies_us([file(500)], runs=1) == 500


@pytest.mark.parametrize(
    "remark, note",
    [
        ("Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.", "nothing"),
        ("Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate.", "a part"),
    ],
)
def test_a_delegate_that_left_work_to_the_cpu_is_said(phones, remark, note):
    phones.add(remark=remark)
    (found,) = android(phones, delegate="gpu").measure([file(500)], runs=1)
    assert found.notes[0].startswith(f"The delegate 'gpu' runs {note} of a file")


STATES = {
    "unauthorized": r"Phone 'A1' has not allowed this machine\. Received: unauthorized\. Unlock it .* adb kill-server",
    "offline": r"Phone 'A1' does not answer\. Received: offline\. Run adb reconnect offline",
    "no permissions (user in plugdev group); see [http]": r"Phone 'A1' may not be opened by this user\. Received: no",
    "recovery": r"Phone 'A1' cannot be used\. Received: recovery\. Run adb devices",
}


@pytest.mark.parametrize("state", STATES)
def test_a_phone_in_another_state_is_refused(phones, state):
    phones.add(state=state)
    with pytest.raises(DeviceError, match=STATES[state]):
        android(phones).latencies_us([file(500)], runs=1)


def test_which_of_several_phones_must_be_said(phones):
    phones.add("A1")
    phones.add("B2")
    with pytest.raises(
        DeviceError, match=r"Several phones are connected\. Received: A1, B2\. Name one, e\.g\. --serial A1"
    ):
        android(phones).found()
    with pytest.raises(DeviceError, match=r"No phone 'C3' is connected\. Received: A1, B2\. Use one of these\."):
        android(phones, serial="C3").found()
    assert android(phones, serial="B2").found().description.startswith("phone Pixel 8 (B2), benchmark_model, XNNPACK")


def test_no_phone_no_adb_and_an_adb_that_fails_are_refused(phones, monkeypatch):
    with pytest.raises(
        DeviceError, match=r"No phone is connected\. Received: an empty list of adb devices\. Plug one in"
    ):
        android(phones).found()
    assert android(phones).description == "phone (none), benchmark_model, XNNPACK, one thread"
    phones.adb.write_text("#!/bin/sh\necho cannot bind; exit 1\n")
    with pytest.raises(DeviceError, match=r"adb failed\. Received: cannot bind\. Run .*adb devices"):
        android(phones).found()
    phones.adb.write_text("#!/nowhere\n")
    with pytest.raises(DeviceError, match=r"adb cannot be started\. Received: .*No such file"):
        android(phones).found()
    monkeypatch.setenv("ANDROID_HOME", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"There is no adb\. Received: none in PATH, ANDROID_HOME or the package adb"):
        android(phones).found()


def test_the_adb_of_adbutils_is_found(phones, monkeypatch, tmp_path):
    phones.add()
    monkeypatch.setenv("ANDROID_HOME", "")
    (tmp_path / "adbutils/binaries").mkdir(parents=True)
    (tmp_path / "adbutils/binaries/adb").symlink_to(phones.adb)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "adbutils")])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert android(phones).found().serial == "A1"


def test_a_full_phone_is_refused(phones):
    phones.add(full="yes")
    expected = (
        r"Phone 'A1' has no space left\. Received: a file of .* bytes for .*Make room, e\.g\. by adb -s A1 shell rm"
    )
    with pytest.raises(DeviceError, match=expected):
        android(phones).latencies_us([file(500)], runs=1)


def test_a_tool_for_other_processors_is_refused(phones, tmp_path):
    phones.add()
    (tmp_path / "x86").write_bytes(b"\x7fELF" + bytes(14) + struct.pack("<H", 62))
    expected = r"Phone 'A1' cannot run this benchmark tool\. Received: a binary for x86_64, and a phone for arm64-v8a,"
    with pytest.raises(DeviceError, match=expected):
        Android(binary=tmp_path / "x86").found()
    (tmp_path / "arm").write_bytes(b"\x7fELF" + bytes(14) + struct.pack("<H", 183))  # no program, as the phone says
    with pytest.raises(
        DeviceError, match=r"Phone 'A1' cannot run this benchmark tool\. Received: .*Take the one for its"
    ):
        Android(binary=tmp_path / "arm").latencies_us([file(500)], runs=1)


def test_no_tool_is_told_with_its_address(phones):
    phones.add()
    with pytest.raises(
        DeviceError, match=r"Received: neither a binary nor the app\. Download https://\S+/benchmark_model "
    ):
        Android().latencies_us([file(500)], runs=1)
    with pytest.raises(DeviceError, match=r"There is no benchmark tool\. Received: 'absent'\. Download https://"):
        Android(binary="absent").found()
    with pytest.raises(
        DeviceError, match=r"Phone 'A1' has no benchmark app\. Received: no package org\.\S+ Run adb -s A1 i"
    ):
        Android(app=True).found()


def test_a_file_that_the_phone_cannot_run_is_refused(phones):
    phone = phones.add(fails="Failed to allocate tensors!")
    expected = r"The benchmark tool failed on phone 'A1'\. Received: ERROR: Failed to allocate tensors!\. Try another"
    with pytest.raises(ValueError, match=expected):
        android(phones).latencies_us([file(500)], runs=1)
    assert len(left_on(phone)) == 1  # the tool


def test_an_app_that_fails_or_does_not_start_is_refused(phones):
    phone = phones.add(app="yes", fails="Failed to allocate tensors!")
    with pytest.raises(
        ValueError, match=r"The benchmark tool failed on phone 'A1'\. Received: ERROR: Failed to allocate"
    ):
        Android(app=True).latencies_us([file(500)], runs=1)
    (phone / "locked").touch()
    expected = (
        r"Phone 'A1' did not start the benchmark app\. Received: Error: Activity not started\. Unlock it and see adb"
    )
    with pytest.raises(DeviceError, match=expected):
        Android(app=True).latencies_us([file(500)], runs=1)


def test_a_phone_that_takes_no_files_is_refused(phones):
    phone = phones.add(readonly="yes")
    with pytest.raises(
        DeviceError, match=r"Phone 'A1' did not take a file of .* bytes\. Received: .*Read-only file system"
    ):
        android(phones).found()
    shutil.rmtree(phone / "data/local/tmp")
    (phone / "data/local/tmp").touch()
    with pytest.raises(
        DeviceError, match=r"Phone 'A1' has no room for files\. Received: mkdir: .* See adb -s A1 shell"
    ):
        android(phones).found()


def test_an_adb_or_a_phone_that_is_silent_is_refused(phones, monkeypatch):
    phones.add()
    with pytest.raises(
        DeviceError, match=r"Phone 'A1' does not answer\. Received: nothing of adb shell within 0 s\. Run"
    ):
        _adb.Adb(str(phones.adb), "A1").shell("sleep 0.5", timeout_s=0.1)
    monkeypatch.setattr(_adb, "_ANSWERS_S", 0.1)
    phones.adb.write_text("#!/bin/sh\nsleep 0.5\n")
    with pytest.raises(DeviceError, match=r"adb does not answer\. Received: nothing within 0 s\. Run adb kill-server"):
        android(phones).found()


def test_a_tool_that_tells_nothing_is_refused(phones):
    phones.add()
    phones.binary.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(
        ValueError, match=r"The benchmark tool tells no time on phone 'A1'\. Received: '.*\. Use LiteRT"
    ):
        android(phones).latencies_us([file(500)], runs=1)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"app": True, "binary": "x"}, r"A phone runs the app or a binary\. Received: app=True beside binary='x'"),
        ({"delegate": "dsp"}, r"Unknown delegate\. Received: delegate='dsp'\. Use one of: xnnpack, gpu, npu, none"),
        ({"threads": 0}, r"threads must be at least 1\. Received: threads=0"),
        ({"warmup": -1}, r"warmup must be at least 0\. Received: warmup=-1"),
        ({"rounds": 0}, r"rounds must be at least 1\. Received: rounds=0"),
        ({"cooldown_s": float("nan")}, r"cooldown_s must be at least 0\. Received: cooldown_s=nan"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Android(**settings)


def test_no_runs_are_refused(phones):
    with pytest.raises(ValueError, match=r"runs must be at least 1\. Received: runs=0"):
        android(phones).measure([file(500)], runs=0)


def test_devices_have_names(phones):
    phones.add("A1")
    phones.add("B2")
    assert device_of("host", threads=2) == Host(2)
    assert device_of("android:B2", binary=str(phones.binary)) == Android("B2", str(phones.binary))
    assert device_of("android", serial="A1", binary=str(phones.binary), app=False).serial == "A1"
    with pytest.raises(ValueError, match=r"Unknown device\. Received: device='phone'\. Use one of: host, android, q"):
        device_of("phone")
    with pytest.raises(ValueError, match=r"Device 'host' has no binary\. Received: binary='x'\. Leave it out, or"):
        device_of("host", binary="x")


def test_what_is_kept_of_one_phone_is_not_taken_for_another():
    kinds = [Android("A1"), Android("B2"), Android("A1", delegate="gpu"), Android("A1", threads=4), Host()]
    assert len({identity(each) for each in kinds}) == 5


def test_a_device_without_a_description_is_told_by_its_kind():
    assert description_of(SimpleNamespace()) == "SimpleNamespace" and description_of(Host()) == Host().description
