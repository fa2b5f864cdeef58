"""Wiping devices, and letting in those alone that an operator confirmed: a whole gateway, seen from devices."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import wait_until
from tests.support.devices import RunningDevice
from tests.support.gateway_devices import WireDevice
from tests.support.gateways import RunningGateway, program
from wire.messages import Done, Refused, Sync, Synced, Wipe, Wiped

SETTINGS: dict[str, Any] = {"delivery": {"head_ward_s": 2.0}, "enrolment": {"confirm": "none"}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("gateway") / "state", settings=SETTINGS) as running:
        running.cli("profile", "add", "ward", "W3", "--attends", "*")
        yield running


def listed(gateway: RunningGateway, **wanted: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.cli("devices", json=True)
    return [one for one in found if all(one[key] == value for key, value in wanted.items())]


def device_of(gateway: RunningGateway) -> WireDevice:
    return WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", "ward:W3", json=True)["uri"]).connect()


# ── wiping ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wiped_device_hears_nothing_else_until_it_has_done_so(gateway: RunningGateway) -> None:
    device, other = device_of(gateway), device_of(gateway)
    try:
        assert isinstance(device.ask(Sync(known=[])), Synced)
        assert device.ask(Wiped()) == Refused(reason="forbidden"), "nobody ordered it"
        epochs = device.epochs()
        gateway.cli("wipe", device.device)
        assert listed(gateway, device=device.device)[0]["state"] == "to be wiped"
        # The next epoch is not for it; its login stands, so that it can hear why.
        other.wait(lambda: max(other.epochs(), default=0) > max(epochs), "a new epoch")
        assert device.ask(Sync(known=[])) == Wipe()
        assert device.epochs() == epochs
        device.stop()
        pid = gateway.kill("core")
        gateway.wait_part("core", pid)
        gateway.wait_healthy()
        device.connect()
        assert device.ask(Sync(known=[])) == Wipe(), "after a restart too"
        assert device.ask(Wiped()) == Done()
        wait_until(lambda: listed(gateway, device=device.device)[0]["state"] == "wiped", 20, "it is known to be wiped")
        assert device.mqtt is not None
        wait_until(lambda: not device.mqtt.is_connected, 20, "its login has ended")
        assert isinstance(other.ask(Sync(known=[])), Synced)
    finally:
        device.stop()
        other.stop()


def test_a_device_that_was_revoked_can_still_be_wiped(gateway: RunningGateway) -> None:
    device = device_of(gateway)
    try:
        gateway.cli("revoke", device.device)
        wait_until(lambda: not device.mqtt.is_connected, 20, "it is shut out")  # type: ignore[union-attr]
        device.stop()
        gateway.cli("wipe", device.device)
        device.connect()
        assert device.ask(Sync(known=[])) == Wipe()
    finally:
        device.stop()


def left_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


def test_a_real_device_erases_all_and_says_so(gateway: RunningGateway, tmp_path: Path) -> None:
    device = RunningDevice(tmp_path / "device", gateway, "ward:W3")
    (one,) = listed(gateway, name="test device", state="active")
    device.start()
    device.wait_line("connected")
    assert {"identity.json", "vault", "lease", "sign.key"} <= left_in(device.folder)
    gateway.cli("wipe", one["device"])
    assert device.process is not None and device.process.wait(30) == 1
    assert "was wiped by its gateway" in device.log
    assert left_in(device.folder) <= {"lock"}
    wait_until(lambda: listed(gateway, device=one["device"])[0]["state"] == "wiped", 20, "the gateway has heard it")
    again = subprocess.run(
        [program("mpacs-device"), "studies", "--state", str(device.folder)], capture_output=True, text=True
    )
    assert again.returncode == 1 and "enrol" in again.stderr


@pytest.mark.parametrize("cut", [pytest.param("after the note", marks=pytest.mark.long), "amid its keys"])
def test_a_wipe_that_was_cut_goes_on(gateway: RunningGateway, tmp_path: Path, cut: str) -> None:
    device = RunningDevice(tmp_path / "device", gateway, "ward:W3")
    (device.folder / "wiping").write_bytes(b"")
    if cut == "amid its keys":
        (device.folder / "sign.key").unlink()
    done = subprocess.run(
        [program("mpacs-device"), "run", "--state", str(device.folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "was wiped by its gateway" in done.stderr
    assert left_in(device.folder) <= {"lock"}


# ── links and devices that are not taken any more ─────────────────────────────────────────────────────────────────


def enrol(folder: Path, uri: str) -> subprocess.CompletedProcess[str]:
    command = [program("mpacs-device"), "--state", str(folder), "enrol", uri]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_link_that_was_used_is_refused_with_its_reason(gateway: RunningGateway, tmp_path: Path) -> None:
    uri = gateway.cli("invite", "ward:W3", json=True)["uri"]
    first = enrol(tmp_path / "first", uri)
    assert first.returncode == 0, first.stderr
    before = len(gateway.cli("devices", json=True))
    second = enrol(tmp_path / "second", uri)
    assert second.returncode == 1
    assert "it was used already" in second.stderr and "ask for a new one" in second.stderr
    # It learns so by the end of its login, not by waiting until the link ends.
    assert "did not answer" not in second.stderr
    assert not (tmp_path / "second" / "identity.json").exists()
    assert len(gateway.cli("devices", json=True)) == before


def test_a_revoked_device_says_so_while_it_runs_and_after(gateway: RunningGateway, tmp_path: Path) -> None:
    device = RunningDevice(tmp_path / "device", gateway, "ward:W3")
    with device:
        device.wait_line("connected")
        gateway.cli("revoke", device.credentials()[1], "--yes")
        device.wait_line("it was very likely revoked")
        assert "stays readable here until" in device.log
        assert "seal-broken" not in device.log
    asked = subprocess.run(
        [program("mpacs-device"), "--state", str(device.folder), "studies", "--json"], capture_output=True, text=True
    )
    assert asked.returncode == 0
    assert "shut out" in asked.stderr and "new enrolment link" in asked.stderr


# ── an operator's word ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def careful(gateway: RunningGateway) -> RunningGateway:
    """The same gateway, where an operator confirms from here on."""
    gateway.configure({"enrolment": {"confirm": "operator"}})
    gateway.restart()
    return gateway


def test_a_device_waits_until_it_is_confirmed(careful: RunningGateway, tmp_path: Path) -> None:
    enrolling = {}
    for name in ("right", "wrong"):
        uri = careful.cli("invite", "ward:W3", json=True)["uri"]
        enrolling[name] = subprocess.Popen(
            [program("mpacs-device"), "enrol", uri, "--name", name, "--state", str(tmp_path / name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        wait_until(lambda: len(listed(careful, state="waiting")) == 2, 30, "both wait")
        shown = {name: process.stderr.readline() for name, process in enrolling.items()}  # type: ignore[union-attr]
        prints = {name: line.rpartition("fingerprint is ")[2].strip() for name, line in shown.items()}
        assert prints == {one["name"]: one["fingerprint"] for one in listed(careful, state="waiting")}
        assert careful.run_cli("devices", "confirm", prints["right"][:9]).returncode == 1, "not a part of it"
        assert "right" in careful.cli("devices", "confirm", *prints["right"].split())
        assert "wrong" in careful.cli("devices", "reject", prints["wrong"])
        out, err = enrolling["right"].communicate(timeout=30)
        assert enrolling["right"].returncode == 0, err
        assert "enrolled as" in out
        assert enrolling["wrong"].wait(30) == 1
        assert [one["name"] for one in listed(careful, state="active") if one["name"] in prints] == ["right"]
        assert not listed(careful, state="waiting")
        # What was confirmed runs.
        done = subprocess.run(
            [program("mpacs-device"), "run", "--once", "--state", str(tmp_path / "right")], timeout=60
        )
        assert done.returncode == 0
    finally:
        for process in enrolling.values():
            if process.poll() is None:
                process.kill()
            process.communicate()


def test_a_stranger_with_the_same_code_does_not_take_the_place(careful: RunningGateway) -> None:
    """The first request under a code waits; who comes after it is not shown, and gets no answer either."""
    uri = careful.cli("invite", "ward:W3", json=True)["uri"]
    found: list[WireDevice] = []
    first = threading.Thread(
        target=lambda: found.append(WireDevice.enrol(careful.mqtt_port, uri, "first", timeout_s=60))
    )
    first.start()
    wait_until(lambda: listed(careful, name="first", state="waiting"), 30, "the first one waits")
    with pytest.raises(AssertionError):
        WireDevice.enrol(careful.mqtt_port, uri, "second", timeout_s=3)
    assert not listed(careful, name="second")
    careful.cli("devices", "confirm", listed(careful, name="first")[0]["fingerprint"])
    first.join(60)
    assert len(found) == 1 and listed(careful, name="first", state="active")
