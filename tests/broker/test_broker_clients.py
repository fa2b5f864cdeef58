"""A well-behaved client, paho, as gateway and devices use it: the same on every broker."""

import queue
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.broker.cast import VICTIMS_HEAD, Cast, segment
from tests.support.brokers import SITE, Login, RunningBroker
from wire import topics

TIMEOUT_S = 20.0
SEGMENT_BYTES = 64 * 1024


class Client:
    """A connected paho client whose messages stand in a queue."""

    def __init__(self, broker: RunningBroker, one: Login, will: str | None = None) -> None:
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._connected, self._subscribed = threading.Event(), threading.Event()
        self.granted: list[int] = []
        version = MQTTProtocolVersion.MQTTv311
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, one.name, clean_session=True, protocol=version)
        self.paho.username_pw_set(one.name, one.password)
        if will is not None:
            self.paho.will_set(will, b"offline", qos=1, retain=True)
        self.paho.on_connect = lambda *_: self._connected.set()
        self.paho.on_subscribe = self._on_subscribe
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.connect(broker.host, broker.port, keepalive=30)
        self.paho.loop_start()
        assert self._connected.wait(TIMEOUT_S)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, codes: list[Any], _properties: Any) -> None:
        self.granted = [one.value for one in codes]
        self._subscribed.set()

    def subscribe(self, *filters: str) -> list[int]:
        self._subscribed.clear()
        self.paho.subscribe([(one, 1) for one in filters])
        assert self._subscribed.wait(TIMEOUT_S)
        return self.granted

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        info = self.paho.publish(topic, payload, qos=1, retain=retain)
        info.wait_for_publish(TIMEOUT_S)
        assert info.is_published()

    def message(self) -> mqtt.MQTTMessage:
        return self.messages.get(timeout=TIMEOUT_S)


@contextmanager
def client(broker: RunningBroker, one: Login, will: str | None = None) -> Iterator[Client]:
    new = Client(broker, one, will)
    try:
        yield new
    finally:
        new.paho.disconnect()
        new.paho.loop_stop()


@pytest.fixture(params=["ours", "mosquitto", "stock"])
def broker(request: pytest.FixtureRequest) -> RunningBroker:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, RunningBroker)
    return found


def test_announcements_reach_a_device_that_was_there_and_one_that_comes(broker: RunningBroker, cast: Cast) -> None:
    with client(broker, cast.gateway) as gateway, client(broker, cast.victim) as early:
        assert early.subscribe(VICTIMS_HEAD) == [1]
        gateway.publish(VICTIMS_HEAD, b"head", retain=True)
        message = early.message()
        assert (message.payload, message.qos, message.retain) == (b"head", 1, False)
        with client(broker, cast.bystanders[0]) as late:
            late.subscribe(VICTIMS_HEAD)
            message = late.message()
            assert (message.payload, message.retain) == (b"head", True)
        gateway.publish(VICTIMS_HEAD, b"", retain=True)


def test_segments_arrive_whole_and_in_order(broker: RunningBroker, cast: Cast) -> None:
    count, window = 200, 32
    with client(broker, cast.gateway) as gateway, client(broker, cast.victim) as device:
        assert device.subscribe(f"{topics.recipient_root(SITE, *cast.victim.principal.recipients[0])}/object/#") == [1]
        sent = 0
        for index in range(count):
            while sent < min(count, index + window):
                gateway.paho.publish(segment(sent), bytes([sent]) * SEGMENT_BYTES, qos=0)
                sent += 1
            message = device.message()
            assert message.topic == segment(index)
            assert message.payload == bytes([index]) * SEGMENT_BYTES


def test_a_device_that_vanishes_is_offline(broker: RunningBroker, cast: Cast) -> None:
    status = topics.device_status(SITE, cast.victim.name)
    with client(broker, cast.gateway) as gateway:
        gateway.subscribe(status)
        device = Client(broker, cast.victim, will=status)
        device.publish(status, b"online", retain=True)
        assert gateway.message().payload == b"online"
        device.paho.loop_stop()
        connection = device.paho.socket()
        assert connection is not None and not isinstance(connection, ssl.SSLSocket)
        connection.close()
        assert gateway.message().payload == b"offline"
        gateway.publish(status, b"", retain=True)
