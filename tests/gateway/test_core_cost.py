"""What an idle gateway costs with thousands of profiles and hundreds of devices, and what a change costs then."""

import os
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.studies import HONG, long_ct
from gateway import app
from gateway.management.census import Census
from gateway.management.index import people
from gateway.management.index.people import Device
from tests.support.broker_process import wait_until
from tests.support.gateway_devices import WireDevice
from tests.support.gateways import RunningGateway
from wire import hpke, sign
from wire.names import encode_reference

PROFILES = 2000
DEVICES = 500


def populate(folder: Path) -> None:
    """Patients and doctors straight into the index, some with a device."""
    _, opened, registry = app.open_registry(app.State(folder))
    exchange = hpke.raw_public(ec.generate_private_key(ec.SECP256R1()))
    key = sign.raw_public(Ed25519PrivateKey.generate())
    with opened.begin() as connection:
        for number in range(PROFILES):
            kind = "doctor" if number % 10 == 0 else "patient"
            identifier = f"X-{number}"
            reference = registry.reference(kind, identifier)  # type: ignore[arg-type]  # one of the two
            values = {"reference": reference, "kind": kind, "identifier": identifier, "name": f"N{number}^A"}
            connection.execute(sa.insert(people.profiles).values(**values, attends="[]"))
            if number % (PROFILES // DEVICES) == 0:
                device = encode_reference(os.urandom(16))
                connection.execute(
                    sa.insert(people.devices).values(
                        **_values(Device(device, reference, "d", key, exchange, "0" * 64, bytes(32), 1.0, 1.0, None))
                    )
                )
        people.bump(connection, "profiles")
    opened.dispose()


def _values(device: Device) -> dict[str, object]:
    return {name: getattr(device, name) for name in Device.__slots__}


@pytest.mark.long
def test_idle_and_change_with_thousands_of_profiles(tmp_path: Path) -> None:
    gateway = RunningGateway(tmp_path / "state", settings={"delivery": {"settle_s": 0.5}})
    gateway.init()
    populate(gateway.folder)
    gateway.cli("profile", "add", "ward", "W3", "--attends", "*")
    began = time.monotonic()
    gateway.start()
    try:
        device = WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", "ward:W3", json=True)["uri"]).connect()
        # All 500 devices' keys and heads are out once the newest has its own.
        device.wait(lambda: device.heads(), "the ward's head", 60)
        ready_s = time.monotonic() - began
        study = long_ct(tmp_path, 3, HONG, "cost")
        gateway.store(study.files)
        device.wait(lambda: device.is_current() and device.current(), "the study", 30)
        gateway.wait_studies(1)

        cpu_s, at = gateway.cpu_s("core"), time.monotonic()
        wait_until(lambda: time.monotonic() - at >= 3, 4, "three seconds of quiet")
        share = (gateway.cpu_s("core") - cpu_s) / (time.monotonic() - at)
        print(f"ready with {DEVICES} devices after {ready_s:.1f} s, idle core {share:.3f} of a CPU")
        assert share < 0.08
        assert ready_s < 40
        device.stop()
    finally:
        gateway.stop()
    assert "Traceback" not in gateway.log, gateway.log


def test_a_look_at_thousands_costs_one_small_query(tmp_path: Path) -> None:
    gateway = RunningGateway(tmp_path / "state")
    gateway.init()
    populate(gateway.folder)
    _, opened, registry = app.open_registry(app.State(gateway.folder))
    census = Census(opened)
    began = time.perf_counter()
    first = census.look()
    first_s = time.perf_counter() - began
    assert len(first.profiles) == PROFILES and len(first.devices) == DEVICES
    began = time.perf_counter()
    for _ in range(100):
        assert census.look() is first
    again_s = (time.perf_counter() - began) / 100
    assert again_s < first_s / 5, f"{again_s:.5f} s after {first_s:.5f} s"
    registry.put_profile("ward", "W", "", ())
    assert census.look() is not first
    opened.dispose()
