"""Brokers, scripted gateways and devices for the tests of this folder."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from device_broker import Mosquitto
from device_gateway import ScriptedGateway

DEVICE = [sys.executable, "-c", "from device_client.cli import main; main()"]


class Device:
    """The command line against one state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "MPACS_STATE": str(folder)}
        self.started: list[subprocess.Popen[str]] = []

    def call(self, *arguments: str, code: int = 0, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*DEVICE, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout_s
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json").stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*DEVICE, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    one = Device(tmp_path / "device")
    yield one
    one.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    one = Mosquitto(folder)
    yield one
    one.stop()


@pytest.fixture
def gateway(broker: Mosquitto) -> Iterator[ScriptedGateway]:
    one = ScriptedGateway(broker.port)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def enrolled(gateway: ScriptedGateway, device: Device) -> Device:
    device.call("enrol", gateway.invite(), "--name", "Ward 3")
    return device
