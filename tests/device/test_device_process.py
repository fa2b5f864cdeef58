"""One process owns link and store; the others speak to it."""

import json
import signal
import stat

import pytest
from device_broker import wait_until
from device_command import Device
from device_gateway import make_study

from device_client.store.files import FolderLock

UID = "1.2.826.0.1.3680043.8.498.5"


@pytest.fixture
def running(gateway, enrolled):
    gateway.announce(make_study(gateway, UID))
    process = enrolled.start("run")
    lines = [process.stdout.readline() for _ in range(3)]
    assert [line.split()[0] for line in lines] == ["connected", "announced", "complete"]
    return process


def test_a_second_run_is_refused(running, enrolled):
    done = enrolled.call("run", code=1)
    assert "another mpacs-device process" in done.stderr
    assert running.poll() is None


def test_commands_ask_the_running_process(running, enrolled, gateway, tmp_path):
    live = enrolled.json("studies")
    shown = enrolled.json("show", UID)
    written = enrolled.json("export", UID, "--to", str(tmp_path / "live"))
    assert stat.S_IMODE((enrolled.folder / "control.sock").stat().st_mode) == 0o600
    wait_until(lambda: any(one.event == "opened" for one in gateway.receipts), what="the receipt of the opening")
    running.terminate()
    assert running.wait(30) == 0
    assert not (enrolled.folder / "control.sock").exists()
    assert enrolled.json("studies") == live
    assert enrolled.json("show", UID) == shown
    again = enrolled.json("export", UID, "--to", str(tmp_path / "still"))
    assert again["files"] == written["files"] and again["pictures"] == 4
    for name in written["files"]:
        assert (tmp_path / "live" / name).read_bytes() == (tmp_path / "still" / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(running, enrolled, gateway, number):
    running.send_signal(number)
    assert running.wait(30) == 0
    wait_until(lambda: gateway.statuses[-1] == b"offline", what="offline")
    assert running.stderr.read() == ""
    assert enrolled.json("studies")[0]["current"]


def test_the_will_speaks_for_a_killed_one_and_its_socket_is_replaced(running, enrolled, gateway):
    running.kill()
    wait_until(lambda: gateway.statuses[-1] == b"offline", what="the will")
    assert (enrolled.folder / "control.sock").exists()
    assert enrolled.json("studies")[0]["StudyInstanceUID"] == UID
    again = enrolled.start("run")
    # That it had become complete may be told twice: the kill came before it was written down.
    assert "connected\n" in (again.stdout.readline(), again.stdout.readline())
    assert enrolled.json("studies")[0]["StudyInstanceUID"] == UID


def test_watch_tells_what_happens(running, enrolled, gateway):
    watch = enrolled.start("watch")
    assert json.loads(watch.stdout.readline()) == {"event": "watching", "connected": True}
    second = UID + ".7"
    study = make_study(gateway, second)
    gateway.announce(study)
    events = [json.loads(watch.stdout.readline())]
    while events[-1]["event"] != "complete":
        events.append(json.loads(watch.stdout.readline()))
    assert events[0] == {"event": "announced", "study": study.ref, "settled": True, "StudyInstanceUID": second}
    assert "progress" in {one["event"] for one in events}
    assert {one["StudyInstanceUID"] for one in events} == {second}
    watch.send_signal(signal.SIGINT)
    assert watch.wait(30) == 0


def test_watch_without_a_process_says_so(enrolled):
    assert "mpacs-device run" in enrolled.call("watch", code=1).stderr


def test_not_enrolled(tmp_path):
    lone = Device(tmp_path / "nobody")
    for command in ("run", "studies", "watch"):
        assert "enrol" in lone.call(command, code=1).stderr
    assert not (tmp_path / "nobody").exists()


def test_a_busy_folder_is_waited_for_and_then_said(enrolled, monkeypatch):
    monkeypatch.setattr("device_client.service.WAIT_S", 0.3)
    with FolderLock(enrolled.folder):
        assert "another mpacs-device process" in enrolled.call("studies", code=1).stderr


def test_a_deep_state_folder_has_a_socket_too(gateway, tmp_path):
    deep = Device(tmp_path / ("d" * 60) / ("e" * 60))
    deep.call("enrol", gateway.invite())
    gateway.announce(make_study(gateway, UID))
    process = deep.start("run")
    assert process.stdout.readline() == "connected\n"
    wait_until(lambda: (deep.folder / "control.sock").exists(), what="the socket")
    wait_until(lambda: [one["current"] for one in deep.json("studies")] == [True], what="the study over the socket")
    assert process.poll() is None
    deep.close()


def test_state_is_taken_before_and_after_the_subcommand(enrolled):
    enrolled.environment.pop("MPACS_STATE")
    assert enrolled.call("--state", str(enrolled.folder), "studies", "--json").stdout == "[]\n"
    assert enrolled.call("studies", "--json", "--state", str(enrolled.folder)).stdout == "[]\n"


def test_usage_is_exit_2(enrolled):
    enrolled.call("export", UID, code=2)
    enrolled.call("nothing", code=2)
    for command in ("enrol", "run", "studies", "show", "export", "watch"):
        assert f"mpacs-device {command}" in enrolled.call(command, "--help").stdout
