"""A gateway, a broker and devices on a simulated clock: real senders and receivers, links that lose and reorder."""

import hashlib
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from wire.bits import Bitmap
from wire.manifest import Manifest, page_count
from wire.pace import Pace
from wire.receiver import Receiver
from wire.sender import Piece, Sender

SEGMENT_BYTES = 65_600
ROOT = "mpacs/1/site/ward/aaaaaaaaaaaaaaaaaaaaaaaaaa"


class Clock:
    """Events in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> None:
        assert when >= self.now - 1e-9, "an event in the past"
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), action))

    def run(self, until: Callable[[], bool], limit_s: float) -> None:
        """Run until the condition holds; fails when nothing is left to happen, or time or steps run out."""
        at_this_instant, last = 0, -1.0
        while not until():
            assert self._events, "a stall: work remains and nothing will happen"
            when, _, action = heapq.heappop(self._events)
            assert when <= limit_s, f"not done after {limit_s} s"
            at_this_instant = at_this_instant + 1 if when == last else 0
            assert at_this_instant < 100_000, "a busy loop"
            last = self.now = when
            action()


@dataclass(frozen=True)
class Object:
    """Segments that stand for 64 KiB each."""

    segments: tuple[bytes, ...]
    manifest: Manifest
    name: str

    @classmethod
    def make(cls, count: int, name: str = "object") -> "Object":
        segments = tuple(f"{name} {index}".encode() for index in range(count))
        return cls(segments, Manifest(b"".join(hashlib.sha256(s).digest() for s in segments)), name)

    def payload(self, piece: Piece) -> bytes:
        return self.segments[piece.index] if piece.part == "segment" else self.manifest.page_message(piece.index)

    def size(self, piece: Piece) -> int:
        return SEGMENT_BYTES if piece.part == "segment" else 32 * (1024 + page_count(len(self.segments)))


@dataclass
class Link:
    """From the broker to one device. ``queue`` bounds what waits for the link; more is dropped, as brokers do."""

    bytes_per_s: float = 100e6
    delay_s: float = 0.005
    jitter_s: float = 0.0
    loss: float = 0.0
    queue: int = 1000
    free_at: float = 0.0
    waiting: int = 0
    dropped: int = 0


class Gateway:
    """A sender and the one link to the broker that all publishes share."""

    def __init__(self, clock: Clock, bytes_per_s: float = 100e6) -> None:
        self.clock, self.bytes_per_s = clock, bytes_per_s
        self.sender = Sender()
        self.objects: dict[str, Object] = {}
        self.devices: list[Device] = []
        self.published: Counter[tuple[str, str, int]] = Counter()
        self.online = True
        self._busy = False
        self._wake: float | None = None

    @property
    def segments_published(self) -> int:
        return sum(count for (_, part, _), count in self.published.items() if part == "segment")

    def ask(self, asker: str, obj: Object, pages: tuple[int, ...], segments: tuple[int, ...], again: bool) -> None:
        if not self.online:
            return
        expected = [device.name for device in self.devices if device.online]
        self.sender.ask(self.clock.now, asker, ROOT, obj.name, pages, segments, again, expected)
        self.pump()

    def pump(self) -> None:
        if self._busy or not self.online:
            return
        now = self.clock.now
        piece = self.sender.next(now)
        if piece is None:
            wake = self.sender.wake_at(now)
            if wake is not None and wake != self._wake:
                assert wake > now, "nothing to publish, and told to come back at once"
                self._wake = wake
                self.clock.at(wake, self.pump)
            return
        obj = self.objects[piece.object_id]
        self.published[piece.object_id, piece.part, piece.index] += 1
        self._busy = True
        self.clock.at(now + obj.size(piece) / self.bytes_per_s, lambda: self._sent(piece, obj))

    def _sent(self, piece: Piece, obj: Object) -> None:
        self._busy = False
        for device in self.devices:
            device.offer(piece, obj)
        self.pump()

    def cut(self) -> None:
        """The gateway falls and comes back with nothing in its memory."""
        self.sender.reset()


@dataclass
class Device:
    """A receiver, its link, and the loop that a real device has around it."""

    gateway: Gateway
    obj: Object
    name: str
    link: Link = field(default_factory=Link)
    seed: int = 1
    have: Bitmap | None = None

    def __post_init__(self) -> None:
        self.clock = self.gateway.clock
        self.random = random.Random(self.seed)
        self.pace = Pace()
        self.receiver = Receiver(len(self.obj.segments), self.obj.manifest.digest(), self.pace, self.have)
        self.kept: dict[int, bytes] = {}
        self.online = False
        self.connection = 0
        self.done_at: float | None = None
        self.asks = 0
        self.asked_again = 0
        self._wake = -1.0
        self.gateway.objects[self.obj.name] = self.obj
        self.gateway.devices.append(self)

    def connect(self) -> None:
        self.online = True
        self.connection += 1
        self.receiver.restart()
        self._act()

    def disconnect(self, noticed: bool = True) -> None:
        self.online = False
        if noticed:
            self.gateway.sender.forget_asker(self._asker)

    @property
    def _asker(self) -> str:
        return f"{self.name}/{self.connection}"

    def offer(self, piece: Piece, obj: Object) -> None:
        """The broker has a publish for this device."""
        link, now = self.link, self.clock.now
        if not self.online or obj is not self.obj or self.receiver.complete:
            return
        if link.waiting >= link.queue:
            link.dropped += 1
            return
        link.waiting += 1
        link.free_at = max(link.free_at, now) + obj.size(piece) / link.bytes_per_s
        lost = self.random.random() < link.loss
        connection = self.connection

        def leave() -> None:
            link.waiting -= 1
            if not lost:
                delay = link.delay_s + self.random.random() * link.jitter_s
                self.clock.at(self.clock.now + delay, lambda: self._receive(piece, obj, connection))

        self.clock.at(link.free_at, leave)

    def _receive(self, piece: Piece, obj: Object, connection: int) -> None:
        if not self.online or connection != self.connection:
            return
        take = self.receiver.segment if piece.part == "segment" else self.receiver.page
        for kept in take(self.clock.now, piece.index, obj.payload(piece)):
            assert kept.index not in self.kept
            self.kept[kept.index] = kept.ciphertext
        if self.receiver.complete and self.done_at is None:
            self.done_at = self.clock.now
        self._act()

    def _act(self) -> None:
        if not self.online:
            return
        now = self.clock.now
        while ask := self.receiver.plan(now, self.pace.credit):
            self.asks += 1
            self.asked_again += len(ask.segments) if ask.again else 0
            assert self.receiver.in_flight <= 64
            send = partial(self.gateway.ask, self._asker, self.obj, ask.pages, ask.segments, ask.again)
            self.clock.at(now + self.link.delay_s, send)
        deadline = self.receiver.next_deadline()
        if deadline is None:
            assert self.receiver.complete, "nothing in flight, and work remains"
        else:
            assert deadline > now, "late already, and nothing planned"
            if deadline != self._wake:
                self._wake = deadline
                self.clock.at(deadline, self._act)


def run(gateway: Gateway, devices: list[Device], limit_s: float = 3600.0) -> None:
    """Until every device is done; what they kept is the object."""
    gateway.clock.run(lambda: all(device.done_at is not None for device in devices), limit_s)
    for device in devices:
        for index, ciphertext in device.kept.items():
            assert ciphertext == device.obj.segments[index]
