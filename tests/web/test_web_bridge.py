"""MQTT by WebSocket through the console of a whole gateway: enrolment to the last byte, cuts, and many that idle."""

import socket
import ssl
from collections.abc import Iterator

import pytest

from benchmarks.studies import HONG, Made, long_ct
from tests.support.broker_process import wait_until
from tests.support.consoles import CLOSE, WebSocket, fetch
from tests.support.gateway_devices import WireDevice
from tests.support.gateways import RunningGateway

IDLE = 300


@pytest.fixture(scope="module")
def study(console: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = long_ct(tmp_path_factory.mktemp("ct"), 12, HONG, "bridge")
    console.store(made.files)
    console.wait_studies(1)
    return made


def enrol(console: RunningGateway, recipient: str, by_browser: bool = True) -> WireDevice:
    uri = console.cli("invite", recipient, json=True)["uri"]
    assert uri.startswith(f"{console.origin}/#enrol=")
    if not by_browser:
        return WireDevice.enrol(console.mqtt_port, uri).connect()
    return WireDevice.enrol(console.https_port, uri, authority=console.authority).connect()


@pytest.fixture
def device(console: RunningGateway) -> Iterator[WireDevice]:
    one = enrol(console, "doctor:D1")
    yield one
    one.stop()


def hear(device: WireDevice) -> None:
    """Ask what is current, and wait until all of it is here."""
    device.sync()
    device.wait(lambda: device.is_current() and device.current(), "the study")


def connect(console: RunningGateway) -> WebSocket:
    context = ssl.create_default_context(cafile=str(console.authority))
    raw = socket.create_connection(("127.0.0.1", console.https_port), 30)
    return WebSocket(context.wrap_socket(raw, server_hostname="127.0.0.1"), console.https_port)


def test_a_study_comes_by_websocket_as_by_tcp(console: RunningGateway, study: Made, device: WireDevice) -> None:
    other = enrol(console, "doctor:D1", by_browser=False)
    for one in (device, other):
        hear(one)
    [announced] = device.current().values()
    assert device.current().keys() == other.current().keys()
    displays = [entry for entry in announced.objects if entry.layer == "display"]
    assert displays
    for entry in displays:
        plaintext = device.fetch(entry)
        assert plaintext == other.fetch(entry) and len(plaintext) == entry.size
    other.stop()


def test_a_browser_may_do_no_more_than_any_device(console: RunningGateway, study: Made, device: WireDevice) -> None:
    assert device.mqtt is not None
    device.mqtt.client.subscribe([("mpacs/#", 1)])
    other = enrol(console, "patient:P1")
    seen = len(device.seen)
    device.sync()
    device.wait(lambda: len(device.seen) > seen, "an answer")
    assert not [topic for topic, _ in device.seen if other.recipient in topic]
    other.stop()


@pytest.mark.parametrize("part", ["broker", "core"])
def test_a_part_that_falls_ends_the_bridge_and_the_client_comes_again(
    console: RunningGateway, study: Made, device: WireDevice, part: str
) -> None:
    hear(device)
    assert device.mqtt is not None
    link = device.mqtt
    pid = console.kill(part)  # type: ignore[arg-type]  # a part
    link.wait(lambda: not link.is_connected, "the connection is lost")
    console.wait_part(part, not_pid=pid)  # type: ignore[arg-type]  # a part
    link.wait(lambda: link.is_connected, "it is connected again", 60)
    console.wait_healthy()
    heads = len(device.heads())
    device.wait(lambda: len(device.heads()) > heads or device.is_current(), "a head")
    assert device.sync() is not None


def test_hundreds_that_idle_cost_little_and_delay_nobody(
    console: RunningGateway, study: Made, device: WireDevice
) -> None:
    hear(device)
    before = console.pss_bytes()
    idle = [connect(console) for _ in range(IDLE)]
    assert [one.status for one in idle] == [101] * IDLE
    # None of them logs in: the oldest made room for the newest, and there is room for who comes now.
    assert metric(console, "mpacs_console_connections") <= 64 + 1
    assert metric(console, "mpacs_console_connections_refused_total") >= IDLE - 64
    assert device.sync() is not None
    [announced] = device.current().values()
    entry = next(entry for entry in announced.objects if entry.layer == "display")
    assert len(device.fetch(entry)) == entry.size
    grown = console.pss_bytes() - before
    print(f"{IDLE} idle connections: {grown / 2**20:.1f} MiB more")
    assert grown < 40 * 2**20
    for one in idle:
        one.close()
    late = enrol(console, "ward:W1")
    late.stop()


def test_hundreds_that_are_refused_leave_nothing(console: RunningGateway, device: WireDevice) -> None:
    before = console.pss_bytes()
    for _ in range(IDLE):
        one = connect(console)
        one.send(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")  # CONNECT without a name
        opcode, payload = one.receive()
        assert opcode in (0, CLOSE) or (payload[:1] == b"\x20" and payload[3] != 0)
        one.close()
    wait_until(lambda: metric(console, "mpacs_bridge_connections") == 1, 20, "only the device is left")
    assert device.sync() is not None
    assert console.pss_bytes() - before < 20 * 2**20


def metric(console: RunningGateway, name: str) -> int:
    context = ssl.create_default_context(cafile=str(console.authority))
    _, body = fetch(console.https_port, context, "/metrics")
    return next(int(line.split()[1]) for line in body.decode().splitlines() if line.startswith(f"{name} "))
