"""The gateway's connection to the broker; the one module of the gateway that imports MQTT."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from wire.limits import MAX_PACKET_BYTES
from wire.messages import OFFLINE

_log = logging.getLogger(__name__)

_IN_FLIGHT = 16
"""QoS 0 publishes that may wait for the socket: about 1 MiB, enough to keep it busy."""


class LinkDown(Exception):
    """The broker is away; what was being published may or may not have arrived."""


class Link:
    """One MQTT 3.1.1 connection with a clean session and a will; it reconnects for ever.

    Call everything from the event loop; paho's own thread does the socket's work and hands over.
    """

    def __init__(self, host: str, port: int, name: str, password: str, will_topic: str) -> None:
        """``name`` is client id and user name; the will says OFFLINE on ``will_topic``, retained."""
        self._address = (host, port)
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.connected = asyncio.Event()
        self.on_connected: Callable[[], None] = lambda: None
        self.on_disconnected: Callable[[], None] = lambda: None
        self.on_message: Callable[[str, bytes], None] = lambda topic, payload: None
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=name, clean_session=True, protocol=MQTTProtocolVersion.MQTTv311
        )
        client.username_pw_set(name, password)
        client.will_set(will_topic, OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(1, 5)
        client.max_inflight_messages_set(64)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._message
        client.on_publish = self._published
        self._client = client

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._client.connect_async(*self._address, keepalive=30)
        self._client.loop_start()

    async def stop(self) -> None:
        """Disconnect; the will is not sent, so say goodbye before."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe with QoS 1; the broker judges."""
        self._client.subscribe([(text, 1) for text in filters])

    async def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish with QoS 1 and wait for the broker's acknowledgement; LinkDown if the connection is away."""
        await self._send(topic, payload, 1, retain)

    async def stream(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        """Publish with QoS 0; returns once there is room for it. The future ends when it was written."""
        await self._room.acquire()
        try:
            sent = self._send(topic, payload, 0, False)
        except BaseException:
            self._room.release()
            raise
        sent.add_done_callback(lambda _: self._room.release())
        return sent

    def _send(self, topic: str, payload: bytes, qos: int, retain: bool) -> asyncio.Future[None]:
        if not self.connected.is_set():
            raise LinkDown
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            raise LinkDown
        # Registered before the loop can run the callback, which comes by call_soon_threadsafe.
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting[info.mid] = future
        return future

    # ── paho's thread ─────────────────────────────────────────────────────────────────────────────────────────────

    def _connected(self, _c: mqtt.Client, _u: Any, _f: Any, code: ReasonCode, _p: Properties | None) -> None:
        if code.is_failure:
            _log.warning("the broker refused the connection: %s", code)
            return
        self._call(self._note_connected)

    def _disconnected(self, _c: mqtt.Client, _u: Any, _f: Any, code: ReasonCode, _p: Properties | None) -> None:
        self._call(self._note_disconnected, str(code))

    def _message(self, _c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # no broker should pass it on, and paho's thread would end with it
        if len(message.payload) <= MAX_PACKET_BYTES:
            self._call(self.on_message, topic, bytes(message.payload))

    def _published(self, _c: mqtt.Client, _u: Any, mid: int, _r: ReasonCode, _p: Properties) -> None:
        self._call(self._note_published, mid)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to hear of it
            self._loop.call_soon_threadsafe(function, *arguments)

    # ── the loop's side ───────────────────────────────────────────────────────────────────────────────────────────

    def _note_connected(self) -> None:
        _log.info("connected to the broker")
        self.connected.set()
        self.on_connected()

    def _note_disconnected(self, reason: str) -> None:
        if self.connected.is_set():
            _log.warning("the broker is away: %s", reason)
        self.connected.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(LinkDown())
                # Streams are not awaited one by one; without this Python would complain of each.
                future.exception()
        self.on_disconnected()

    def _note_published(self, mid: int) -> None:
        future = self._waiting.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(None)
