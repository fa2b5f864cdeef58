"""Brokers, scripted gateways and devices for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from device_broker import Mosquitto
from device_command import Device
from device_gateway import ScriptedGateway


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
