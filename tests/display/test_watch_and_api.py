"""Events for scripts: the command line with ``--exec``, and the Python example, beside a real gateway."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.studies import LEE, long_ct
from device_client.api import Device
from device_client.errors import DeviceError, NotRunning
from tests.support.devices import RunningDevice
from tests.support.displays import wait_for
from tests.support.gateways import RunningGateway, program

ROOT = Path(__file__).parents[2]


def test_a_command_and_an_example_follow_a_study(ward: RunningGateway, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    script = tmp_path / "pager"
    script.write_text(f'#!/bin/sh\nread line\necho "$MPACS_EVENT $line" >> {heard}\ntest "$MPACS_EVENT" != announced\n')
    script.chmod(0o755)
    with RunningDevice(tmp_path / "device", ward, "ward:W3") as device:
        device.wait_line("connected")
        environment = {**os.environ, "MPACS_STATE": str(device.folder), "PYTHONPATH": str(ROOT)}
        watch = subprocess.Popen(
            [program("mpacs-device"), "watch", "--event", "watching", "--event", "announced", "--event", "complete",
             "--exec", str(script)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        example = subprocess.Popen(
            [sys.executable, str(ROOT / "examples/lamp.py"), str(device.folder)],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert example.stdout is not None and example.stdout.readline() == "following\n"
        wait_for(lambda: heard.exists() and "watching" in heard.read_text(), 30, "the command ran")
        made = long_ct(tmp_path, 4, LEE, "later")
        ward.store(made.files)
        assert example.stdout.readline() == "lamp on: 4 pictures\n"
        wait_for(lambda: "complete {" in heard.read_text(), 30, "the command heard of it")
        lines = [json.loads(line.partition(" ")[2]) for line in heard.read_text().splitlines()]
        assert {one["event"] for one in lines} == {"watching", "announced", "complete"}
        watch.terminate()
        _, said = watch.communicate(timeout=20)
        assert watch.returncode == 0 and f"{script} ended with 1" in said, "a command that fails is said"
        (study,) = Device(device.folder).studies()
        assert study["StudyInstanceUID"] == made.StudyInstanceUID
        with pytest.raises(DeviceError, match="a ward's device"):
            Device(device.folder).export(made.StudyInstanceUID, tmp_path / "out")
        command = [program("mpacs-device"), "export", made.StudyInstanceUID, "--to", str(tmp_path / "out")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "a ward's device" in done.stderr
        assert not (tmp_path / "out").exists()
    assert example.wait(20) is not None


def test_without_a_process_there_are_answers_and_no_events(ward: RunningGateway, tmp_path: Path) -> None:
    device = RunningDevice(tmp_path / "device", ward, "ward:W3")
    device.call("run", "--once")
    assert Device(device.folder).studies() == []
    with pytest.raises(NotRunning):
        next(Device(device.folder).events())
