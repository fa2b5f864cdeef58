"""One MQTT 3.1.1 connection on the event loop: the only module that knows paho.

paho parses and writes packets; its socket is watched by asyncio, so everything happens on one thread and what is not
read stays in the kernel, where TCP slows the broker down.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from device_client.errors import LinkFailed, LinkRefused
from device_client.tls import Address
from wire.limits import MAX_PACKET_BYTES
from wire.topics import MAX_TOPIC_BYTES

KEEPALIVE_S = 30
CONNECT_S = 5.0
_REFUSED = {"Bad user name or password", "Not authorized", "Client identifier not valid"}
_OVERHEAD_BYTES = 16

OnMessage = Callable[[str, bytes, bool], None]
"""Topic, payload, retained."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and client id at once, and the password."""

    name: str
    password: str


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when the connection is lost."""

    topic: str
    payload: bytes


class Link:
    """One connection, from ``open`` to its end; a new one is a new object."""

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None,
        credentials: Credentials,
        on_message: OnMessage,
        will: Will | None = None,
    ) -> None:
        """Nothing is connected yet. ``on_message`` is called on the event loop and must not block."""
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._on_message = on_message
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[str] = self._loop.create_future()
        self._acks: dict[int, asyncio.Future[None]] = {}
        self._reading = True
        self._socket: Any = None
        self._misc: asyncio.Task[None] | None = None
        self._client = self._make_client(tls, credentials, will)

    def _make_client(self, tls: ssl.SSLContext | None, credentials: Credentials, will: Will | None) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, credentials.name, clean_session=True, protocol=MQTTProtocolVersion.MQTTv311
        )
        client.username_pw_set(credentials.name, credentials.password)
        client.connect_timeout = CONNECT_S
        if tls is not None:
            client.tls_set_context(tls)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_ack
        client.on_publish = self._on_ack
        client.on_message = self._on_publish
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_written
        return client

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self, timeout_s: float = 15.0) -> None:
        """Connect; LinkRefused if the credentials are not taken, LinkFailed if there is no connection."""
        try:
            async with asyncio.timeout(timeout_s):
                # Resolving, connecting and the TLS handshake block: they happen in a thread, callbacks hop back.
                await self._loop.run_in_executor(
                    None, self._client.connect, self._address.host, self._address.port, KEEPALIVE_S
                )
                await asyncio.shield(self._connected)
        except TimeoutError:
            self._end("no answer to the connection")
            raise LinkFailed("the broker does not answer") from None
        except ssl.SSLCertVerificationError:
            self._end("certificate")
            raise LinkFailed("the broker's certificate is not its authority's, or not for its name") from None
        except OSError as error:
            self._end("unreachable")
            raise LinkFailed(f"the broker cannot be reached ({type(error).__name__})") from None
        except asyncio.CancelledError:
            self._end("cancelled")
            raise
        self._misc = self._loop.create_task(self._keep_alive())

    async def closed(self) -> str:
        """Wait for the end of the connection; why it ended."""
        return await asyncio.shield(self._closed)

    async def close(self) -> None:
        """Send DISCONNECT, so that the broker does not publish the will."""
        if not self._closed.done():
            self._client.disconnect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await asyncio.shield(self._closed)
        self._end("closed here")

    def abort(self, reason: str) -> None:
        """Drop the connection without a word; the broker publishes the will."""
        self._end(reason)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(1)
            if self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._end("the broker fell silent")
                return

    def _end(self, reason: str) -> None:
        if self._closed.done():
            return
        self._closed.set_result(reason)
        self._watch(None)
        socket = self._client.socket()
        if socket is not None:
            socket.close()
        failure = LinkFailed(f"the connection to the broker ended ({reason})")
        for ack in (*self._acks.values(), self._connected):
            if not ack.done():
                ack.set_exception(failure)
                ack.exception()  # looked at here, because perhaps nobody waits for it any more
        self._acks.clear()
        if self._misc is not None:
            self._misc.cancel()

    # ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────────

    async def subscribe(self, filters: Iterable[str], qos: int = 1) -> None:
        """Subscribe and wait for SUBACK; LinkFailed if the broker refuses one of the filters."""
        wanted = [(topic_filter, qos) for topic_filter in filters]
        await self._acknowledged(lambda: self._client.subscribe(wanted))

    async def unsubscribe(self, filters: Iterable[str]) -> None:
        """Unsubscribe and wait for UNSUBACK."""
        unwanted = list(filters)
        await self._acknowledged(lambda: self._client.unsubscribe(unwanted))

    async def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """QoS 1, and wait for PUBACK."""
        await self.post(topic, payload, retain)

    def post(self, topic: str, payload: bytes, retain: bool = False) -> Awaitable[None]:
        """QoS 1; the PUBACK may be awaited or not. LinkFailed at once if there is no connection."""

        def send() -> tuple[MQTTErrorCode, int | None]:
            info = self._client.publish(topic, payload, qos=1, retain=retain)
            return info.rc, info.mid

        return self._acknowledged(send)

    def _acknowledged(self, send: Callable[[], tuple[MQTTErrorCode, int | None]]) -> Awaitable[None]:
        code, mid = send() if not self._closed.done() else (MQTTErrorCode.MQTT_ERR_NO_CONN, None)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise LinkFailed("there is no connection to the broker")
        ack: asyncio.Future[None] = self._loop.create_future()
        self._acks[mid] = ack
        return ack

    # ── the socket ────────────────────────────────────────────────────────────────────────────────────────────────

    def reading(self, wanted: bool) -> None:
        """Stop or go on reading: what is not read waits at the broker."""
        if wanted == self._reading:
            return
        self._reading = wanted
        if self._socket is None:
            return
        if wanted:
            self._loop.add_reader(self._socket, self._readable)
            # TLS may hold decrypted bytes of which the descriptor says nothing.
            self._loop.call_soon(self._readable)
        else:
            self._loop.remove_reader(self._socket)

    def _on_socket_open(self, _client: mqtt.Client, _userdata: Any, socket: Any) -> None:
        # Requests are small and each waits for an answer: Nagle and delayed ACKs would add 40 ms to every one.
        socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._loop.call_soon_threadsafe(self._watch, socket)

    def _on_socket_close(self, _client: mqtt.Client, _userdata: Any, _socket: Any) -> None:
        # Always on the loop: the thread that connects never closes what it opened.
        self._watch(None)

    def _watch(self, socket: Any) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket = None
        if socket is None:
            return
        if self._closed.done() or socket.fileno() < 0:
            socket.close()
            return
        self._socket = socket
        self._loop.add_reader(socket, self._readable)
        if self._client.want_write():
            self._loop.add_writer(socket, self._writable)

    def _on_want_write(self, _client: mqtt.Client, _userdata: Any, _socket: Any) -> None:
        self._loop.call_soon_threadsafe(self._start_writing)

    def _start_writing(self) -> None:
        if self._socket is not None and self._client.want_write():
            self._loop.add_writer(self._socket, self._writable)

    def _on_written(self, _client: mqtt.Client, _userdata: Any, socket: Any) -> None:
        if self._socket is not None:
            self._loop.remove_writer(socket)

    def _writable(self) -> None:
        self._client.loop_write()

    def _readable(self) -> None:
        # Bytes that TLS has decrypted already do not wake the descriptor again.
        while self._reading and self._socket is not None:
            self._client.loop_read()
            if self._is_too_large():
                self._end("a packet larger than the contract allows")
                return
            pending = getattr(self._client.socket(), "pending", None)
            if pending is None or not pending():
                return

    def _is_too_large(self) -> bool:
        # paho has no inbound bound and no public view of a packet in the making: MQTT 3.1.1 lets it declare 256 MB.
        packet = self._client._in_packet
        return packet["remaining_length"] > MAX_PACKET_BYTES + MAX_TOPIC_BYTES + _OVERHEAD_BYTES

    # ── what paho reports ─────────────────────────────────────────────────────────────────────────────────────────

    def _on_connect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        if self._connected.done():
            return
        if not code.is_failure:
            self._connected.set_result(None)
        elif code.getName() in _REFUSED:
            self._connected.set_exception(LinkRefused("the broker does not take this device's credentials"))
        else:
            self._connected.set_exception(LinkFailed(f"the broker does not take connections ({code.getName()})"))

    def _on_disconnect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        self._end("closed" if not code.is_failure else str(code))

    def _on_subscribe(
        self, _client: mqtt.Client, _userdata: Any, mid: int, codes: list[ReasonCode], _properties: Any
    ) -> None:
        ack = self._acks.pop(mid, None)
        if ack is None or ack.done():
            return
        if any(code.is_failure for code in codes):
            ack.set_exception(LinkFailed("the broker refuses a subscription of this device"))
        else:
            ack.set_result(None)

    def _on_ack(self, _client: mqtt.Client, _userdata: Any, mid: int, *_rest: Any) -> None:
        ack = self._acks.pop(mid, None)
        if ack is not None and not ack.done():
            ack.set_result(None)

    def _on_publish(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if len(message.payload) > MAX_PACKET_BYTES:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        self._on_message(topic, bytes(message.payload), message.retain)
