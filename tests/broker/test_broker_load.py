"""The faults of amqtt that show as time, memory or loss; each with amqtt as it ships as the control."""

import base64
import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from tests.broker.cast import VICTIMS_DOCTOR, VICTIMS_HEAD, Cast, segment
from tests.broker.raw import ACCEPTED, CONNACK, Raw, connect_packet, length, publish_packet, text
from tests.support.broker_process import wait_until
from tests.support.brokers import SITE, EmbeddedBroker, Login, RunningBroker, StockAmqtt, can_log_in
from wire import topics
from wire.names import encode_reference

SEGMENT_BYTES = 64 * 1024


def logged_in(broker: RunningBroker, one: Login, **options: object) -> Raw:
    client = Raw(broker)
    assert client.log_in(one, **options) == ACCEPTED
    return client


# ── a packet that declares much and stops ─────────────────────────────────────────────────────────────────────────


def websocket_frame(payload: bytes) -> bytes:
    """A masked binary frame, RFC 6455 section 5.2; a mask of zeros leaves the payload as it is."""
    assert len(payload) < 65536
    return b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


@pytest.mark.long
def test_amqtt_spins_on_a_truncated_packet_over_websocket(stock: StockAmqtt, cast: Cast) -> None:
    with socket.create_connection((stock.host, stock.ws_port), 5) as connection:
        key = base64.b64encode(bytes(16)).decode()
        connection.sendall(
            f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        one = cast.attacker
        connection.sendall(websocket_frame(connect_packet(one.name, one.name, one.password)))
        assert connection.recv(4096)[-2:] == b"\x00\x00"
        connection.sendall(
            websocket_frame(b"\x30" + length(100 * 1024 * 1024) + text(topics.device_request(SITE, one.name)))
        )
        # Whatever came last is taken again and again until the declared size is reached, a byte at a time.
        connection.sendall(websocket_frame(b"x"))
    before_s = stock.process.cpu_s()
    assert not answers_within(stock, cast.victim, 3.0)
    assert stock.process.cpu_s() - before_s > 1.5


def test_ours_ends_a_truncated_packet(ours: EmbeddedBroker, cast: Cast) -> None:
    with logged_in(ours, cast.attacker) as attacker:
        attacker.send(b"\x30" + length(100 * 1024 * 1024) + text("x"))
        assert attacker.closed()
    with logged_in(ours, cast.attacker) as attacker:
        # Within the bound it may be waited for; what never comes ends with the connection.
        attacker.send(b"\x30" + length(300 * 1024) + text("x"))
    before_s = ours.process.cpu_s()
    assert answers_within(ours, cast.victim, 3.0)
    assert ours.process.cpu_s() - before_s < 0.5


def answers_within(broker: RunningBroker, one: Login, timeout_s: float) -> bool:
    with Raw(broker) as client:
        client.send(connect_packet(one.name, one.name, one.password))
        try:
            return client.expect(CONNACK, timeout_s)[1] == ACCEPTED
        except TimeoutError:
            return False


# ── a large packet costs no memory ────────────────────────────────────────────────────────────────────────────────


def test_a_packet_over_the_limit_costs_no_memory(ours: EmbeddedBroker, cast: Cast) -> None:
    before = ours.process.pss_bytes()
    with logged_in(ours, cast.gateway) as gateway:
        with contextlib.suppress(ConnectionError):
            gateway.send(publish_packet(VICTIMS_HEAD, bytes(64 * 1024 * 1024)))
        assert gateway.closed()
    assert ours.process.pss_bytes() - before < 4 * 1024 * 1024


def test_the_largest_packet_of_the_protocol_passes(ours: EmbeddedBroker, cast: Cast) -> None:
    payload = os.urandom(320 * 1024 - 2 - len(segment(0)))
    with logged_in(ours, cast.victim) as victim, logged_in(ours, cast.gateway) as gateway:
        victim.subscribe(segment(0))
        gateway.send(publish_packet(segment(0), payload))
        message = victim.message()
        assert message is not None and message.payload == payload
        gateway.send(publish_packet(segment(0), payload + b"x"))
        assert gateway.closed()


# ── subscribing over and over takes nothing from others ───────────────────────────────────────────────────────────


def churn(broker: RunningBroker, cast: Cast) -> list[int]:
    """2,000 messages to 4 matching filters while another client subscribes over and over: received by each."""
    root = topics.recipient_root(SITE, "doctor", VICTIMS_DOCTOR)
    filters = [f"{root}/#", f"{root}/object/#", f"{root}/object/+/+", segment(0)]
    count = 2000
    receivers = [logged_in(broker, one) for one in cast.bystanders[:4]]
    for receiver, topic_filter in zip(receivers, filters, strict=True):
        assert receiver.subscribe(topic_filter) == [0]
    with logged_in(broker, cast.victim) as churning, logged_in(broker, cast.gateway) as gateway:
        for index in range(count):
            if index % 2 == 0:
                churning.send(b"\x82" + length(5 + len(root) + 8) + b"\0\1" + text(f"{root}/{index:07d}") + b"\0")
            gateway.send(publish_packet(segment(0), b"x"))
        gateway.publish(segment(0), b"last")
        received = []
        for receiver in receivers:
            number = 0
            while (message := receiver.message(2)) is not None and message.payload != b"last":
                number += 1
            received.append(number)
            receiver.close()
    return received


@pytest.mark.long
def test_amqtt_loses_messages_while_another_subscribes(stock: StockAmqtt, cast: Cast) -> None:
    assert min(churn(stock, cast)) < 2000


def test_ours_loses_none_while_another_subscribes(tmp_path: Path, cast: Cast) -> None:
    limits = {"subscriptions": 5000, "subscribes_per_s": 100_000}
    with EmbeddedBroker(tmp_path / "churn", cast.logins(), limits=limits) as broker:
        assert churn(broker, cast) == [2000] * 4


# ── connections that never send CONNECT ───────────────────────────────────────────────────────────────────────────


def silent_connections(broker: RunningBroker, count: int) -> list[socket.socket]:
    return [socket.create_connection((broker.host, broker.port), 5) for _ in range(count)]


def still_open(connections: list[socket.socket]) -> int:
    number = 0
    for one in connections:
        one.setblocking(False)
        try:
            number += bool(one.recv(1))
        except BlockingIOError:
            number += 1
        except ConnectionError:
            pass
    return number


@pytest.mark.long
def test_amqtt_keeps_300_silent_connections(stock: StockAmqtt, cast: Cast) -> None:
    connections = silent_connections(stock, 300)
    assert answers_within(stock, cast.victim, 10)
    time.sleep(2)  # The absence of an end can only be waited for.
    assert still_open(connections) == 300
    for one in connections:
        one.close()


def test_ours_bounds_and_ends_silent_connections(tmp_path: Path, cast: Cast) -> None:
    limits = {"connect_timeout_s": 1.0, "unauthenticated_connections": 100}
    with EmbeddedBroker(tmp_path / "silent", cast.logins(), limits=limits) as broker:
        with logged_in(broker, cast.attacker) as established:
            connections = silent_connections(broker, 300)
            wait_until(lambda: still_open(connections) <= 100, 5, "what is over the bound is ended")
            established.barrier()
            # The oldest silent one makes room for whoever logs in.
            assert can_log_in(broker, cast.victim)
            wait_until(lambda: still_open(connections) == 0, 5, "those without CONNECT end")
            assert can_log_in(broker, cast.victim)
        for one in connections:
            one.close()


# ── an expensive password hash stops the event loop ───────────────────────────────────────────────────────────────


def slowest_ping_s(broker: RunningBroker, cast: Cast, attempts: int) -> float:
    """The longest round trip of a connected client while others try to log in."""
    with logged_in(broker, cast.victim) as victim:
        victim.barrier()
        attackers = [Raw(broker) for _ in range(attempts)]
        for one in attackers:
            one.send(connect_packet(cast.attacker.name, cast.attacker.name, "wrong"))
        slowest_s = 0.0
        for _ in range(attempts):
            before_s = time.monotonic()
            victim.barrier()
            slowest_s = max(slowest_s, time.monotonic() - before_s)
        for one in attackers:
            one.close()
    return slowest_s


def test_logins_do_not_delay_others(stock: StockAmqtt, ours: EmbeddedBroker, cast: Cast) -> None:
    theirs_s, ours_s = slowest_ping_s(stock, cast, 10), slowest_ping_s(ours, cast, 10)
    assert theirs_s > 0.1
    assert ours_s < theirs_s / 4


# ── cost of a delivery ────────────────────────────────────────────────────────────────────────────────────────────


def cpu_of_segments_s(broker: RunningBroker, cast: Cast, count: int, other_filters: int = 0) -> float:
    """CPU seconds of the broker for ``count`` segments to one subscriber, while others hold many other filters."""
    root = topics.recipient_root(SITE, "doctor", VICTIMS_DOCTOR)
    packet = publish_packet(segment(1), os.urandom(SEGMENT_BYTES))
    others = [logged_in(broker, one) for one in cast.bystanders[:10]] if other_filters else []
    for position, other in enumerate(others):
        names = [encode_reference(b"%08d%08d" % (position, index)) for index in range(other_filters // len(others))]
        for start in range(0, len(names), 100):
            other.subscribe(*(f"{root}/object/{name}/+" for name in names[start : start + 100]))
    with logged_in(broker, cast.victim) as victim, logged_in(broker, cast.gateway) as gateway:
        victim.subscribe(segment(1).rsplit("/", 1)[0] + "/+")
        before_s = broker.process.cpu_s()
        for _ in range(count):
            gateway.send(packet)
            assert victim.message() is not None
        used_s = broker.process.cpu_s() - before_s
    for other in others:
        other.close()
    return used_s


@pytest.mark.long
def test_amqtt_spends_most_of_its_time_on_matching_and_formatting(
    stock: StockAmqtt, ours: EmbeddedBroker, cast: Cast
) -> None:
    count = 400
    assert cpu_of_segments_s(stock, cast, count) > 2 * cpu_of_segments_s(ours, cast, count)


@pytest.mark.long
def test_3000_other_filters(stock: StockAmqtt, ours: EmbeddedBroker, cast: Cast) -> None:
    theirs_s = cpu_of_segments_s(stock, cast, 100, 3000)
    few_s, many_s = cpu_of_segments_s(ours, cast, 1000), cpu_of_segments_s(ours, cast, 1000, 3000)
    assert theirs_s / 100 > 5 * many_s / 1000
    # A tick of the CPU clock is 10 ms; the rest is the machine's noise.
    assert many_s < 1.5 * few_s + 0.1
