"""What waits for one client: bounded, shared between clients, and never in another client's way.

A packet goes straight to the transport while that has room; else it waits here, as a reference to bytes that all
subscribers share. QoS 0 that finds no room is dropped for this client alone. QoS 1 has its own bound, and a client that
exceeds it is disconnected, because to drop an announced message silently would be a lie.
"""

import asyncio
from collections import deque
from enum import Enum, auto

from broker.config import Limits
from broker.errors import PacketRefused
from broker.packets import encode_publish

# Two segments in the transport keep the socket busy; more would be private copies of what the queue shares.
TRANSPORT_HIGH_BYTES = 128 * 1024
TRANSPORT_LOW_BYTES = 32 * 1024
# What a client may have waiting even when all others together fill the broker's memory for this.
FAIR_SHARE_BYTES = 512 * 1024
# Answers to a client that does not read them: beyond this its own packets are no longer read.
MAX_REPLY_BYTES = 64 * 1024


class Kind(Enum):
    """What a waiting packet counts as."""

    QOS0 = auto()
    QOS1 = auto()
    REPLY = auto()


class Budget:
    """Bytes that wait for all clients together."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0


class Outbox:
    """The packets that wait for one client."""

    def __init__(self, writer: asyncio.StreamWriter, limits: Limits, budget: Budget) -> None:
        self._writer = writer
        self._transport = writer.transport
        self._transport.set_write_buffer_limits(high=TRANSPORT_HIGH_BYTES, low=TRANSPORT_LOW_BYTES)
        self._limits = limits
        self._budget = budget
        self._queue: deque[tuple[bytes, Kind]] = deque()
        self._waiting_bytes = dict.fromkeys(Kind, 0)
        self._work = asyncio.Event()
        self._progress = asyncio.Event()
        self._written_bytes = 0
        self._sent_bytes = 0
        self._progress_s: float | None = None
        self._next_id = 0
        self._unacknowledged: set[int] = set()
        self.dropped = 0

    def offer_qos0(self, packet: bytes) -> None:
        """Send or queue an encoded QoS 0 PUBLISH; drop it for this client if there is no room."""
        if not self._queue and self._transport.get_write_buffer_size() < TRANSPORT_HIGH_BYTES:
            self._write(packet)
        elif self._has_room(len(packet)):
            self._enqueue(packet, Kind.QOS0)
        else:
            self.dropped += 1

    def offer_qos1(self, topic: str, payload: bytes, retain: bool) -> None:
        """Send or queue a QoS 1 PUBLISH; PacketRefused when the client leaves too many unread or unacknowledged."""
        if len(self._unacknowledged) >= self._limits.qos1_unacknowledged:
            raise PacketRefused("too many QoS 1 messages not acknowledged")
        packet = encode_publish(topic, payload, qos=1, packet_id=self._take_id(), retain=retain)
        if not self._qos1_fits(len(packet)):
            raise PacketRefused("too many QoS 1 messages not read")
        self._send(packet, Kind.QOS1)

    def reply(self, packet: bytes) -> None:
        """Send or queue an answer to the client's own packet."""
        self._send(packet, Kind.REPLY)

    def acknowledge(self, packet_id: int) -> None:
        """A PUBACK came; one for an unknown packet is ignored."""
        self._unacknowledged.discard(packet_id)
        self._progress.set()

    def fits(self, size_bytes: int, qos: int) -> bool:
        """Whether a PUBLISH of this size would be neither dropped nor the client's end."""
        if qos == 0:
            return not self._queue or self._has_room(size_bytes)
        return len(self._unacknowledged) < self._limits.qos1_unacknowledged and self._qos1_fits(size_bytes)

    def _qos1_fits(self, size_bytes: int) -> bool:
        # One packet always fits, whatever the bound: it could never be sent otherwise.
        waiting = self._waiting_bytes[Kind.QOS1]
        return not waiting or waiting + size_bytes <= self._limits.qos1_pending_bytes

    def _has_room(self, size_bytes: int) -> bool:
        waiting = self._waiting_bytes[Kind.QOS0] + self._transport.get_write_buffer_size() + size_bytes
        fits_all = self._budget.used_bytes + size_bytes <= self._budget.limit_bytes
        return waiting <= self._limits.pending_bytes and (fits_all or waiting <= FAIR_SHARE_BYTES)

    async def progress(self) -> None:
        """Wait until the client took or acknowledged something more."""
        self._progress.clear()
        await self._progress.wait()

    async def replies_read(self) -> None:
        """Wait until the client took what it was answered."""
        while self._waiting_bytes[Kind.REPLY] > MAX_REPLY_BYTES:
            await self.progress()

    async def pump(self) -> None:
        """Move what waits to the transport as the client takes it; runs as long as the connection."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._queue:
                await self._writer.drain()
                if not self._queue:
                    break
                packet, kind = self._queue.popleft()
                self._waiting_bytes[kind] -= len(packet)
                self._budget.used_bytes -= len(packet)
                self._write(packet)
                self._progress.set()

    def discard(self) -> None:
        """Give back what waits; the connection is over."""
        self._budget.used_bytes -= sum(len(packet) for packet, _ in self._queue)
        self._queue.clear()
        self._waiting_bytes = dict.fromkeys(Kind, 0)
        self._progress.set()

    def is_stalled(self, now_s: float) -> bool:
        """Whether the client has taken nothing for too long although something waits. Ask it regularly."""
        in_transport = self._transport.get_write_buffer_size()
        sent_bytes = self._written_bytes - in_transport
        if not self._queue and not in_transport:
            self._progress_s = None
        elif self._progress_s is None or sent_bytes != self._sent_bytes:
            self._progress_s = now_s
        self._sent_bytes = sent_bytes
        return self._progress_s is not None and now_s - self._progress_s > self._limits.stalled_s

    def _send(self, packet: bytes, kind: Kind) -> None:
        if not self._queue and self._transport.get_write_buffer_size() < TRANSPORT_HIGH_BYTES:
            self._write(packet)
        else:
            self._enqueue(packet, kind)

    def _write(self, packet: bytes) -> None:
        self._written_bytes += len(packet)
        self._writer.write(packet)

    def _enqueue(self, packet: bytes, kind: Kind) -> None:
        self._queue.append((packet, kind))
        self._waiting_bytes[kind] += len(packet)
        self._budget.used_bytes += len(packet)
        self._work.set()

    def _take_id(self) -> int:
        # Identifiers in use are skipped [MQTT-2.3.1-2]; the bound on them is far below 65,535.
        while True:
            self._next_id = self._next_id % 65535 + 1
            if self._next_id not in self._unacknowledged:
                self._unacknowledged.add(self._next_id)
                return self._next_id
