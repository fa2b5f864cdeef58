"""Brokers, scripted gateways and devices for the tests of this folder."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from device_broker import Mosquitto
from device_gateway import ScriptedGateway

from device_client.cli import main

DEVICE = [sys.executable, "-c", "from device_client.cli import main; main()"]


class Device:
    """The command line against one state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "MPACS_STATE": str(folder)}
        self.started: list[subprocess.Popen[str]] = []

    def call(self, *arguments: str, code: int = 0, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end: ``run`` in a process of its own, the quick ones in this one."""
        if arguments[:1] in (("enrol",), ("studies",), ("show",), ("export",)):
            result = CliRunner().invoke(main, arguments, env=self.environment)
            assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
            done = subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)
        else:
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


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One for all tests of this folder: a gateway takes its retained messages with it."""
    one = Mosquitto(tmp_path_factory.mktemp("broker"))
    yield one
    one.stop()


@pytest.fixture
def broker(shared_broker: Mosquitto, request: pytest.FixtureRequest) -> Mosquitto:
    """Running, even where the test before killed it and failed."""
    request.node.real_peers = ("mosquitto",)
    if not shared_broker.is_running():
        shared_broker.start()
    return shared_broker


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
