"""A client that sends any bytes at all: MQTT 3.1.1 packets are put together by hand, right or wrong."""

import contextlib
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Self

from tests.support.brokers import Login, RunningBroker

TIMEOUT_S = 10.0

CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP = 2, 3, 4, 9, 11, 13
ACCEPTED, NOT_AUTHORIZED = 0, 5


def length(size: int) -> bytes:
    """Remaining length, MQTT 3.1.1 section 2.2.3."""
    encoded = bytearray()
    while True:
        size, low = divmod(size, 128)
        encoded.append(low | (0x80 if size else 0))
        if not size:
            return bytes(encoded)


def text(value: str | bytes) -> bytes:
    """A string or binary field with its length."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


def packet(first: int, body: bytes = b"") -> bytes:
    return bytes([first]) + length(len(body)) + body


def connect_packet(
    client_id: str,
    user: str | None,
    password: str | None,
    *,
    clean: bool = True,
    keepalive: int = 60,
    will: tuple[str, bytes, int, bool] | None = None,
    level: int = 4,
) -> bytes:
    flags = 0x02 * clean | 0x80 * (user is not None) | 0x40 * (password is not None)
    fields = text(client_id)
    if will is not None:
        flags |= 0x04 | will[2] << 3 | 0x20 * will[3]
        fields += text(will[0]) + text(will[1])
    fields += b"".join(text(one) for one in (user, password) if one is not None)
    return packet(0x10, text("MQTT") + bytes([level, flags]) + struct.pack("!H", keepalive) + fields)


def publish_packet(topic: str | bytes, payload: bytes, qos: int = 0, retain: bool = False, packet_id: int = 1) -> bytes:
    return packet(0x30 | qos << 1 | retain, text(topic) + (struct.pack("!H", packet_id) if qos else b"") + payload)


def subscribe_packet(*filters: str, qos: int = 0, packet_id: int = 1) -> bytes:
    return packet(0x82, struct.pack("!H", packet_id) + b"".join(text(one) + bytes([qos]) for one in filters))


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool


class Raw:
    """One connection. Everything waits with a deadline; ``closed`` tells whether the broker ended it."""

    def __init__(self, broker: RunningBroker, port: int | None = None, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect((broker.host, port or broker.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.messages: deque[Message] = deque()
        self._acknowledge = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        """End the connection without DISCONNECT."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def disconnect(self) -> None:
        """Say goodbye."""
        self.send(packet(0xE0))
        self._socket.close()

    def log_in(self, one: Login, **options: object) -> int:
        """Send CONNECT as ``one``; returns the CONNACK's return code."""
        return self.connect(one.name, one.name, one.password, **options)

    def connect(self, client_id: str, user: str | None, password: str | None, **options: object) -> int:
        self.send(connect_packet(client_id, user, password, **options))  # type: ignore[arg-type]  # passed through
        return self.expect(CONNACK)[1]

    def subscribe(self, *filters: str, qos: int = 0) -> list[int]:
        """Returns the SUBACK's return codes."""
        self.send(subscribe_packet(*filters, qos=qos))
        return list(self.expect(SUBACK)[2:])

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """QoS 1; returns when it was acknowledged."""
        self.send(publish_packet(topic, payload, 1, retain))
        self.expect(PUBACK)

    def barrier(self) -> None:
        """PINGREQ, and everything that comes before its answer."""
        self.send(packet(0xC0))
        self.expect(PINGRESP)

    def expect(self, kind: int, timeout_s: float = TIMEOUT_S) -> bytes:
        """The body of the next packet of ``kind``; messages before it are kept. ConnectionError at the end."""
        deadline = time.monotonic() + timeout_s
        while True:
            first, body = self._read(deadline)
            if first >> 4 == kind:
                return body
            self._keep(first, body)

    def message(self, timeout_s: float = TIMEOUT_S) -> Message | None:
        """The next message, or None if none comes in time or the connection ends."""
        deadline = time.monotonic() + timeout_s
        try:
            while not self.messages:
                self._keep(*self._read(deadline))
        except (TimeoutError, ConnectionError):
            return None
        return self.messages.popleft()

    def closed(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Whether the broker ends the connection in time."""
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                self._keep(*self._read(deadline))
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def acknowledge_nothing(self) -> None:
        """Leave QoS 1 messages unacknowledged from now on."""
        self._acknowledge = False

    def _keep(self, first: int, body: bytes) -> None:
        if first >> 4 != PUBLISH:
            return
        qos = first >> 1 & 3
        size = 2 + int.from_bytes(body[:2], "big")
        if qos and self._acknowledge:
            self.send(packet(0x40, body[size : size + 2]))
        payload = body[size + (2 if qos else 0) :]
        self.messages.append(Message(body[2:size].decode(errors="replace"), payload, qos, bool(first & 1)))

    def _read(self, deadline: float) -> tuple[int, bytes]:
        size, position = 0, 1
        while True:
            self._need(position + 1, deadline)
            low = self._buffer[position]
            size |= (low & 0x7F) << 7 * (position - 1)
            position += 1
            if not low & 0x80:
                break
        self._need(position + size, deadline)
        first, body = self._buffer[0], bytes(self._buffer[position : position + size])
        del self._buffer[: position + size]
        return first, body

    def _need(self, size: int, deadline: float) -> None:
        while len(self._buffer) < size:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            received = self._socket.recv(256 * 1024)
            if not received:
                raise ConnectionError("closed by the broker")
            self._buffer += received
