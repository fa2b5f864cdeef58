"""Slow readers, retained messages, wills, take-over: what one client does must stay its own affair."""

import os
from pathlib import Path

import pytest

from tests.broker.cast import VICTIMS_HEAD, Cast, segment
from tests.broker.raw import (
    ACCEPTED,
    Raw,
    packet,
    publish_packet,
    subscribe_packet,
)
from tests.support.broker_process import wait_until
from tests.support.brokers import SITE, EmbeddedBroker, Login, RunningBroker
from wire import topics

SEGMENT_BYTES = 64 * 1024
MIB = 1024 * 1024
SEGMENTS = segment(0).rsplit("/", 1)[0] + "/+"


def log_in(broker: RunningBroker, one: Login, **options: object) -> Raw:
    client = Raw(broker)
    assert client.log_in(one, **options) == ACCEPTED
    return client


def slow_reader(broker: RunningBroker, one: Login, topic_filter: str, qos: int = 0) -> Raw:
    """A subscriber whose kernel takes little, and which reads nothing more until it is asked to."""
    client = Raw(broker, receive_buffer=4096)
    assert client.log_in(one) == ACCEPTED
    assert client.subscribe(topic_filter, qos=qos) == [qos]
    return client


# ── slow readers ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_reader_loses_alone_and_keeps_its_connection(tmp_path: Path, cast: Cast) -> None:
    count = 400  # 25 MiB, six times what waits for one client
    with EmbeddedBroker(tmp_path / "slow", cast.logins()) as broker, log_in(broker, cast.gateway) as gateway:
        fast = [log_in(broker, one) for one in cast.bystanders[:9]]
        for one in fast:
            assert one.subscribe(SEGMENTS) == [0]
        slow = slow_reader(broker, cast.victim, SEGMENTS)
        before = broker.process.pss_bytes()
        for index in range(count):
            gateway.send(publish_packet(segment(index), os.urandom(SEGMENT_BYTES)))
            for one in fast:
                message = one.message()
                assert message is not None and message.topic == segment(index)
        assert broker.process.pss_bytes() - before < 10 * MIB
        gateway.publish(segment(count), b"flush")
        received = read_until(slow, segment(count), gateway)
        assert received, "the slow reader is still connected"
        # What it got is whole, in order, and stops where its queue was full.
        assert received == list(range(len(received)))
        assert 4 * MIB // SEGMENT_BYTES - 2 <= len(received) < count // 2
        slow.barrier()
        for one in [*fast, slow]:
            one.close()


def read_until(slow: Raw, last: str, gateway: Raw) -> list[int]:
    """Indices of the segments that waited for ``slow``; ``last`` is published again until it fits."""
    received: list[int] = []
    while (message := slow.message(2)) is not None and message.topic != last:
        received.append(int(message.topic.rsplit("/", 1)[1]))
    if message is None:
        gateway.publish(last, b"flush")
        message = slow.message()
    assert message is not None and message.topic == last
    return received


def test_a_reader_that_takes_nothing_is_ended(tmp_path: Path, cast: Cast) -> None:
    with EmbeddedBroker(tmp_path / "stalled", cast.logins(), limits={"stalled_s": 1.0}) as broker:
        slow = slow_reader(broker, cast.victim, SEGMENTS)
        idle = log_in(broker, cast.attacker)
        with log_in(broker, cast.gateway) as gateway:
            for index in range(100):
                gateway.send(publish_packet(segment(index), bytes(SEGMENT_BYTES)))
            wait_until(lambda: "has not read for too long" in broker.process.log, 5, "the stalled client is ended")
            gateway.barrier()
        # Nothing waits for an idle client, so it is not stalled.
        idle.barrier()
        slow.close()
        idle.close()


def test_a_reader_that_is_slow_but_reads_is_not_ended(tmp_path: Path, cast: Cast) -> None:
    with EmbeddedBroker(tmp_path / "crawl", cast.logins(), limits={"stalled_s": 1.0}) as broker:
        slow = slow_reader(broker, cast.victim, SEGMENTS)
        with log_in(broker, cast.gateway) as gateway:
            for index in range(60):
                gateway.send(publish_packet(segment(index), bytes(SEGMENT_BYTES)))
            gateway.barrier()
            for _ in range(8):
                assert slow.message() is not None
                # Reading goes on, a little at a time, for longer than the limit.
                assert not gateway.closed(0.25)
        assert "has not read" not in broker.process.log
        slow.close()


def test_qos1_beyond_its_bound_disconnects(tmp_path: Path, cast: Cast) -> None:
    limits = {"qos1_pending_bytes": 256 * 1024}
    with EmbeddedBroker(tmp_path / "qos1", cast.logins(), limits=limits) as broker:
        slow = slow_reader(broker, cast.victim, VICTIMS_HEAD, qos=1)
        with log_in(broker, cast.gateway) as gateway:
            # The sockets' own buffers take several MiB before anything waits in the broker.
            for _ in range(1500):
                gateway.publish(VICTIMS_HEAD, bytes(8 * 1024))
            wait_until(lambda: "QoS 1 messages not read" in broker.process.log, 5, "the client is ended")
            gateway.barrier()
        slow.close()


def test_qos1_without_acknowledgement_disconnects(tmp_path: Path, cast: Cast) -> None:
    with (
        EmbeddedBroker(tmp_path / "noack", cast.logins(), limits={"qos1_unacknowledged": 100}) as broker,
        log_in(broker, cast.victim) as victim,
        log_in(broker, cast.gateway) as gateway,
    ):
        victim.acknowledge_nothing()
        assert victim.subscribe(VICTIMS_HEAD, qos=1) == [1]
        for _ in range(101):
            gateway.publish(VICTIMS_HEAD, b"x")
        assert victim.closed()
        assert len(victim.messages) == 100


def test_qos1_acknowledged_goes_on(ours: EmbeddedBroker, cast: Cast) -> None:
    count = 5000
    with log_in(ours, cast.victim) as victim, log_in(ours, cast.gateway) as gateway:
        assert victim.subscribe(VICTIMS_HEAD, qos=1) == [1]
        for index in range(count):
            gateway.publish(VICTIMS_HEAD, b"%d" % index)
            message = victim.message()
            assert message is not None and message.payload == b"%d" % index and message.qos == 1


def test_all_slow_readers_together_are_bounded(tmp_path: Path, cast: Cast) -> None:
    limits = {"pending_total_bytes": 2 * MIB}
    with EmbeddedBroker(tmp_path / "many", cast.logins(), limits=limits) as broker:
        # Each has a topic of its own: what several wait for is in memory once.
        slow = [slow_reader(broker, one, segment(index)) for index, one in enumerate(cast.bystanders)]
        with log_in(broker, cast.gateway) as gateway:
            before = broker.process.pss_bytes()
            for _ in range(130):
                for index in range(len(slow)):
                    gateway.send(publish_packet(segment(index), os.urandom(SEGMENT_BYTES)))
            gateway.barrier()
            # Unbounded together it would be 40 MiB: 4 for each.
            assert broker.process.pss_bytes() - before < 16 * MIB
        for one in slow:
            one.close()


def test_a_client_that_does_not_read_its_answers_is_not_read_either(tmp_path: Path, cast: Cast) -> None:
    with EmbeddedBroker(tmp_path / "pings", cast.logins()) as broker:
        with Raw(broker, receive_buffer=4096) as flood:
            assert flood.log_in(cast.attacker) == ACCEPTED
            flood._socket.settimeout(1)
            with pytest.raises(TimeoutError):
                for _ in range(100):
                    flood.send(packet(0xC0) * 1_000_000)
        assert broker.process.pss_bytes() < 60 * MIB
        with log_in(broker, cast.gateway) as gateway:
            gateway.barrier()


# ── retained ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_retained_reaches_a_new_subscriber_and_can_be_cleared(ours: EmbeddedBroker, cast: Cast) -> None:
    with log_in(ours, cast.gateway) as gateway:
        gateway.publish(VICTIMS_HEAD, b"current", retain=True)
        with log_in(ours, cast.victim) as victim:
            assert victim.subscribe(VICTIMS_HEAD, qos=1) == [1]
            message = victim.message()
            assert message is not None and message.payload == b"current" and message.retain
            gateway.publish(VICTIMS_HEAD, b"newer", retain=True)
            message = victim.message()
            # [MQTT-3.3.1-9]: to an existing subscription the flag is not set.
            assert message is not None and message.payload == b"newer" and not message.retain
        gateway.publish(VICTIMS_HEAD, b"", retain=True)
        with log_in(ours, cast.victim) as victim:
            victim.subscribe(VICTIMS_HEAD)
            victim.barrier()
            assert not victim.messages


def test_a_wildcard_takes_all_that_is_retained_even_where_it_exceeds_the_queue(tmp_path: Path, cast: Cast) -> None:
    count = 300
    limits = {"pending_bytes": MIB}
    with EmbeddedBroker(tmp_path / "wild", cast.logins(), limits=limits) as broker:
        with log_in(broker, cast.gateway) as gateway:
            for index in range(count):
                gateway.publish(segment(index), bytes(SEGMENT_BYTES), retain=True)
        with log_in(broker, cast.victim) as victim:
            victim.send(subscribe_packet(SEGMENTS))
            received = [message.topic for _ in range(count) if (message := victim.message()) is not None]
            assert sorted(received) == sorted(segment(index) for index in range(count))


def test_more_retained_qos1_than_may_be_unacknowledged(tmp_path: Path, cast: Cast) -> None:
    count = 500
    limits = {"qos1_unacknowledged": 50}
    with EmbeddedBroker(tmp_path / "acks", cast.logins(), limits=limits) as broker:
        with log_in(broker, cast.gateway) as gateway:
            for index in range(count):
                gateway.publish(segment(index), b"x", retain=True)
        with log_in(broker, cast.victim) as victim:
            victim.send(subscribe_packet(SEGMENTS, qos=1))
            received = {message.topic for _ in range(count) if (message := victim.message()) is not None}
            assert len(received) == count


def test_retained_is_bounded_for_the_gateway(tmp_path: Path, cast: Cast) -> None:
    bounds = {"messages": 3, "total_bytes": 4096, "message_bytes": 2048}
    with (
        EmbeddedBroker(tmp_path / "bounded", cast.logins(), limits={"retained_gateway": bounds}) as broker,
        log_in(broker, cast.gateway) as gateway,
        log_in(broker, cast.victim) as victim,
    ):
        for index in range(5):
            gateway.publish(segment(index), b"x", retain=True)
        gateway.publish(segment(0), bytes(3000), retain=True)
        assert victim.subscribe(SEGMENTS) == [0]
        victim.barrier()
        # The fourth and fifth do not fit; neither does the larger one, which takes the older value with it.
        assert sorted(one.topic for one in victim.messages) == [segment(1), segment(2)]
        assert "does not fit and is not retained" in broker.process.log


@pytest.mark.parametrize("retained", [True, False])
def test_a_device_retains_its_own_status_only(retained: bool, ours: EmbeddedBroker, cast: Cast) -> None:
    name = cast.attacker.name
    with log_in(ours, cast.attacker) as device:
        device.publish(topics.device_status(SITE, name), b"online", retain=True)
        device.send(publish_packet(topics.device_request(SITE, name), b"sealed", retain=retained))
        assert device.closed(1) == retained
    with log_in(ours, cast.gateway) as gateway:
        gateway.publish(topics.device_status(SITE, name), b"", retain=True)
