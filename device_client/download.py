"""One object on its way: the wire's receiver, and the files that it fills."""

import asyncio
from collections.abc import Callable

from device_client.disk import DiskThread
from device_client.ledger import Held
from device_client.reader import ObjectReader
from device_client.store.blobs import Blob, Blobs
from wire import seal
from wire.errors import Malformed
from wire.messages import ObjectEntry
from wire.names import encode_reference
from wire.pace import Pace
from wire.receiver import Ask, Receiver
from wire.topics import ObjectTopic

GROUP_SEGMENTS = 32
GROUP_S = 0.25
"""A group of segments shares one fsync of the data and one of the bitmap."""


class Download:
    """Segments are written as they come; groups of them are made durable in the disk thread."""

    def __init__(self, held: Held, entry: ObjectEntry, blob: Blob, pages: dict[int, bytes], pace: Pace) -> None:
        """Over a blob that was opened and recovered, with the manifest ``pages`` that were kept."""
        self.held = held
        self.entry = entry
        self.object_id = encode_reference(entry.object)
        self.subscribed = False
        self.ready_on: object = None
        self._failed = False
        self._blob = blob
        self._receiver = Receiver(blob.segments, entry.manifest, pace, blob.have)
        self._receiver.refetched = blob.refetched
        self._pages = set(pages)
        self._cursor = 0
        self._unsaved = 0
        self._dirty_at: float | None = None
        self._saving: asyncio.Task[None] | None = None
        for page, payload in pages.items():
            self._receiver.page(0.0, page, payload)

    @classmethod
    async def open(cls, disk: DiskThread, blobs: Blobs, held: Held, entry: ObjectEntry, pace: Pace) -> "Download":
        """Open the files, and find what a kill left without its bit."""

        def prepare() -> tuple[Blob, dict[int, bytes]]:
            blob = blobs.open(encode_reference(entry.object), entry.size)
            try:
                pages = blob.pages(entry.manifest)
                if blob.recover(pages):
                    blob.commit(blob.snapshot())
            except BaseException:
                blob.close()
                raise
            return blob, pages

        blob, pages = await disk.run(prepare)
        return cls(held, entry, blob, pages, pace)

    # ── the wire ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def complete(self) -> bool:
        """Whether every segment is here."""
        return self._receiver.complete

    @property
    def received(self) -> int:
        """Segments that are here."""
        return self._receiver.have.count

    @property
    def segments(self) -> int:
        """Segments of the object."""
        return self._blob.segments

    @property
    def in_flight(self) -> int:
        """Segments asked for that have not come."""
        return self._receiver.in_flight

    def restart(self) -> None:
        """The link was cut, or the gateway is new: nothing is in flight any more."""
        self._receiver.restart()

    def plan(self, now: float, budget: int) -> Ask | None:
        """What to ask for now."""
        while self._cursor in self._blob.have:
            self._cursor += 1
        return self._receiver.plan(now, budget, range(self._cursor, self._blob.segments))

    def take(self, now: float, part: ObjectTopic, payload: bytes) -> int:
        """A segment or page came: verify and write. How many segments are new; WireError if it is not the announced."""
        before = self._receiver.refetched
        if part.part == "page":
            kept = self._receiver.page(now, part.index, payload)
            if part.index not in self._pages:
                self._pages.add(part.index)
                self._blob.save_page(part.index, payload)
        else:
            if len(payload) != seal.segment_span(part.index, self.entry.size)[1]:
                raise Malformed("a segment of another length than its place")
            kept = self._receiver.segment(now, part.index, payload)
        try:
            for segment in kept:
                self._blob.write(segment.index, segment.ciphertext)
        except OSError:
            # The receiver counts it as kept: this bitmap must not reach the disk any more.
            self._failed = True
            raise
        self._blob.refetched = self._receiver.refetched
        if kept or self._receiver.refetched != before:
            self._unsaved += len(kept)
            self._dirty_at = now if self._dirty_at is None else self._dirty_at
        return len(kept)

    def next_deadline(self) -> float | None:
        """When to plan again at the latest."""
        times = [time for time in (self._receiver.next_deadline(), self._save_at()) if time is not None]
        return min(times, default=None)

    # ── the disk ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _save_at(self) -> float | None:
        waits = self._dirty_at is None or self._saving is not None or self._failed
        return None if waits or self._dirty_at is None else self._dirty_at + GROUP_S

    def save_if_due(self, now: float, disk: DiskThread, then: Callable[[asyncio.Task[None]], None]) -> None:
        """Start to make a group durable; ``then`` hears of its end, well or not."""
        save_at = self._save_at()
        if save_at is not None and (now >= save_at or self._unsaved >= GROUP_SEGMENTS):
            self._saving = asyncio.get_running_loop().create_task(self._save(disk))
            self._saving.add_done_callback(then)

    async def _save(self, disk: DiskThread) -> None:
        snapshot = self._blob.snapshot()
        self._unsaved, self._dirty_at = 0, None
        try:
            await disk.run(lambda: self._blob.commit(snapshot))
        except OSError:
            self._failed = True
            raise
        finally:
            self._saving = None

    async def finish(self, disk: DiskThread, site: str) -> None:
        """Make all durable and look into the object: WireError if it is not what was announced."""
        await self.flush(disk)
        await disk.run(lambda: ObjectReader(site, self.entry, self._blob).header())

    async def flush(self, disk: DiskThread) -> None:
        """Make what is written durable."""
        if self._saving is not None:
            await asyncio.wait([self._saving])
        if self._dirty_at is not None and not self._failed:
            await self._save(disk)

    async def close(self, disk: DiskThread) -> None:
        """Give the files back once nothing uses them."""
        if self._saving is not None:
            await asyncio.wait([self._saving])
        await disk.run(self._blob.close)
