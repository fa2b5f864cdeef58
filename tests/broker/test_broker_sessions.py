"""Publishing, wills, take-over, sessions, and bytes that are no MQTT: each connection answers for itself alone."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from tests.broker.cast import VICTIMS_DOCTOR, VICTIMS_HEAD, Cast
from tests.broker.raw import (
    ACCEPTED,
    CONNACK,
    NOT_AUTHORIZED,
    SUBACK,
    UNSUBACK,
    Raw,
    connect_packet,
    packet,
    publish_packet,
    subscribe_packet,
    text,
)
from tests.support.broker_process import wait_until
from tests.support.brokers import SITE, EmbeddedBroker, Login, RunningBroker
from wire import topics


def log_in(broker: RunningBroker, one: Login, **options: object) -> Raw:
    client = Raw(broker)
    assert client.log_in(one, **options) == ACCEPTED
    return client


@pytest.mark.parametrize(
    "topic",
    [
        VICTIMS_HEAD,
        "$SYS/x",
        "",
        "mpacs/1/ward-7/#",
        topics.gateway_keys(SITE),
        topics.device_request(SITE, VICTIMS_DOCTOR),
    ],
)
def test_a_forbidden_publish_ends_the_connection(topic: str, ours: EmbeddedBroker, cast: Cast) -> None:
    with log_in(ours, cast.victim) as victim, log_in(ours, cast.attacker) as attacker:
        victim.subscribe(VICTIMS_HEAD)
        attacker.send(publish_packet(topic, b"forged", qos=1))
        assert attacker.closed()
        victim.barrier()
        assert not victim.messages


def test_qos2_is_not_offered(ours: EmbeddedBroker, cast: Cast) -> None:
    with log_in(ours, cast.victim) as victim:
        victim.send(subscribe_packet(VICTIMS_HEAD, qos=2))
        assert victim.expect(SUBACK)[2:] == b"\x01"
    with log_in(ours, cast.gateway) as gateway:
        gateway.send(publish_packet(VICTIMS_HEAD, b"x", qos=2))
        assert gateway.closed()


def test_a_will_is_published_unless_the_client_says_goodbye(ours: EmbeddedBroker, cast: Cast) -> None:
    status = topics.device_status(SITE, cast.victim.name)
    with log_in(ours, cast.gateway) as gateway:
        assert gateway.subscribe(status) == [0]
        log_in(ours, cast.victim, will=(status, b"offline", 0, False)).close()
        message = gateway.message()
        assert message is not None and message.payload == b"offline"
        log_in(ours, cast.victim, will=(status, b"offline", 0, False)).disconnect()
        log_in(ours, cast.victim).close()
        gateway.barrier()
        assert not gateway.messages


def test_the_newer_connection_wins_and_the_older_ones_will_comes_first(ours: EmbeddedBroker, cast: Cast) -> None:
    status = topics.device_status(SITE, cast.victim.name)
    with log_in(ours, cast.gateway) as gateway:
        gateway.subscribe(status)
        older = log_in(ours, cast.victim, will=(status, b"offline", 0, False))
        older.subscribe(VICTIMS_HEAD)
        with log_in(ours, cast.victim) as newer:
            newer.publish(status, b"online")
            assert older.closed()
            assert [gateway.message().payload for _ in range(2)] == [b"offline", b"online"]  # type: ignore[union-attr]  # fails the test if None
            gateway.publish(VICTIMS_HEAD, b"x")
            # Subscriptions were the older session's.
            newer.barrier()
            assert not newer.messages


def test_bytes_that_never_make_a_packet_do_not_keep_a_connection(ours: EmbeddedBroker, cast: Cast) -> None:
    with log_in(ours, cast.attacker, keepalive=1) as attacker:
        deadline_s = time.monotonic() + 5
        attacker.send(b"\x30\xff\x7f")
        while not attacker.closed(0.05):
            assert time.monotonic() < deadline_s
            with contextlib.suppress(ConnectionError):
                attacker.send(b"x")


def test_a_device_that_publishes_too_fast_waits_and_loses_nothing(tmp_path: Path, cast: Cast) -> None:
    count = 300
    request = topics.device_request(SITE, cast.victim.name)
    with (
        EmbeddedBroker(tmp_path / "fast", cast.logins(), limits={"device_publishes_per_s": 100}) as broker,
        log_in(broker, cast.gateway) as gateway,
        log_in(broker, cast.victim) as device,
    ):
        assert gateway.subscribe(request, qos=1) == [1]
        before_s = time.monotonic()
        for index in range(count):
            device.send(publish_packet(request, b"%d" % index, 1, False, index + 1))
        for index in range(count):
            message = gateway.message()
            assert message is not None and message.payload == b"%d" % index
        # The first hundred at once, the others at a hundred a second.
        assert time.monotonic() - before_s > 1.8


def test_sessions_are_clean_and_say_so(ours: EmbeddedBroker, cast: Cast) -> None:
    for _ in range(2):
        with Raw(ours) as victim:
            one = cast.victim
            victim.send(connect_packet(one.name, one.name, one.password, clean=False))
            assert victim.expect(CONNACK) == b"\x00\x00"
            victim.subscribe(VICTIMS_HEAD, qos=1)


def test_what_was_sent_just_before_goodbye_is_delivered(ours: EmbeddedBroker, cast: Cast) -> None:
    with log_in(ours, cast.victim) as victim, Raw(ours) as gateway:
        victim.subscribe(VICTIMS_HEAD, qos=1)
        one = cast.gateway
        burst = b"".join(publish_packet(VICTIMS_HEAD, b"%d" % index, 1, False, index + 1) for index in range(50))
        gateway.send(connect_packet(one.name, one.name, one.password) + burst + packet(0xE0))
        for index in range(50):
            message = victim.message()
            assert message is not None and message.payload == b"%d" % index


def test_overlapping_filters_deliver_once_with_the_highest_qos(ours: EmbeddedBroker, cast: Cast) -> None:
    root = topics.recipient_root(SITE, "doctor", VICTIMS_DOCTOR)
    with log_in(ours, cast.victim) as victim, log_in(ours, cast.gateway) as gateway:
        assert victim.subscribe(VICTIMS_HEAD) == [0]
        assert victim.subscribe(f"{root}/#", qos=1) == [1]
        gateway.publish(VICTIMS_HEAD, b"once")
        victim.barrier()
        assert [(one.payload, one.qos) for one in victim.messages] == [(b"once", 1)]


def test_subscriptions_are_bounded(tmp_path: Path, cast: Cast) -> None:
    root = topics.recipient_root(SITE, "doctor", VICTIMS_DOCTOR)
    with (
        EmbeddedBroker(tmp_path / "subs", cast.logins(), limits={"subscriptions": 10}) as broker,
        log_in(broker, cast.victim) as victim,
    ):
        assert victim.subscribe(*(f"{root}/{index}" for index in range(12))) == [0] * 10 + [0x80] * 2
        assert victim.subscribe(f"{root}/3", qos=1) == [1]
        victim.send(packet(0xA2, b"\0\1" + text(f"{root}/3")))
        assert victim.expect(UNSUBACK) == b"\0\1"
        assert victim.subscribe(f"{root}/11") == [0]


@pytest.mark.parametrize(
    "garbage",
    [
        packet(0x00),
        packet(0xF0),
        packet(0x20, b"\0\0"),
        packet(0x80, b"\0\1\0\1a\0"),  # SUBSCRIBE without its flags
        packet(0x82, b"\0\1"),  # SUBSCRIBE to nothing
        packet(0x82, b"\0\1\0\1a\3"),  # QoS 3
        packet(0x82, b"\0\1\0\xffa\0"),  # a filter longer than the packet
        packet(0x30, b"\0\xffa"),
        packet(0x36, b"\0\1a\0\1"),  # QoS 3
        packet(0x50, b"\0\1"),  # PUBREC
        packet(0xC0, b"x"),  # PINGREQ with a body
        packet(0x40, b"\0"),
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        connect_packet("x", "x", "x"),  # a second CONNECT
    ],
)
def test_malformed_packets_end_the_connection_and_nothing_else(
    garbage: bytes, ours: EmbeddedBroker, cast: Cast
) -> None:
    with log_in(ours, cast.victim) as bystander, log_in(ours, cast.attacker) as attacker:
        attacker.send(garbage)
        assert attacker.closed()
        bystander.barrier()
    assert "Traceback" not in ours.process.log


@pytest.mark.parametrize(
    "first",
    [
        publish_packet(VICTIMS_HEAD, b"x"),
        packet(0xC0),
        packet(0x10, b"\0\4MQTX\4\2\0\x0a\0\1a"),
        packet(0x10, bytes(20 * 1024)),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        os.urandom(4096),
    ],
)
def test_strangers_without_connect_are_ended(first: bytes, ours: EmbeddedBroker) -> None:
    with Raw(ours) as stranger:
        stranger.send(first)
        assert stranger.closed()
    assert "Traceback" not in ours.process.log


def test_mqtt_5_is_answered_with_its_code(ours: EmbeddedBroker, cast: Cast) -> None:
    with Raw(ours) as client:
        assert client.log_in(cast.victim, level=5) == 1
        assert client.closed()


def test_the_log_holds_nothing_that_a_client_sent(embedded_broker: EmbeddedBroker) -> None:
    identity, device = "KIM^CHULSOO", embedded_broker.allow("device")
    with Raw(embedded_broker) as stranger:
        assert stranger.connect(identity, identity, identity) == NOT_AUTHORIZED
    with Raw(embedded_broker) as client:
        assert client.connect(identity, device.name, device.password) == NOT_AUTHORIZED
    will = (f"mpacs/{identity}", identity.encode(), 0, True)
    with Raw(embedded_broker) as client:
        assert client.log_in(device, will=will) == NOT_AUTHORIZED
    with log_in(embedded_broker, device) as client:
        assert client.subscribe(f"mpacs/{identity}/#") == [0x80]
        client.send(publish_packet(f"mpacs/{identity}", identity.encode()))
        assert client.closed()
    wait_until(lambda: embedded_broker.process.log.count("WARNING") >= 4, 10, "all four refusals are logged")
    assert identity not in embedded_broker.process.log


def test_connections_leave_nothing_behind(embedded_broker: EmbeddedBroker) -> None:
    one = embedded_broker.allow("device", [("doctor", VICTIMS_DOCTOR)])

    def come_and_go(times: int) -> None:
        for index in range(times):
            client = log_in(embedded_broker, one)
            client.subscribe(VICTIMS_HEAD, f"{topics.recipient_root(SITE, 'doctor', VICTIMS_DOCTOR)}/#")
            client.close() if index % 2 else client.disconnect()

    descriptors = Path(f"/proc/{embedded_broker.process.pid}/fd")
    come_and_go(50)
    before, before_bytes = len(list(descriptors.iterdir())), embedded_broker.process.pss_bytes()
    come_and_go(500)
    wait_until(lambda: len(list(descriptors.iterdir())) <= before, 5, "descriptors are given back")
    assert embedded_broker.process.pss_bytes() - before_bytes < 2 * 1024 * 1024
