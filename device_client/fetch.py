"""Which objects are fetched, and how the link's credit is shared among them."""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

from device_client.disk import DiskThread
from device_client.download import Download
from device_client.errors import LinkFailed
from device_client.events import Events
from device_client.ledger import Held
from device_client.session import Session, object_filter
from device_client.store.state import Store
from wire.bits import to_ranges
from wire.errors import WireError
from wire.limits import MAX_CREDIT, MAX_RANGES
from wire.messages import ObjectEntry, Want
from wire.names import decode_reference, encode_reference
from wire.pace import Pace
from wire.receiver import Ask
from wire.topics import ObjectTopic

MAX_AT_ONCE = 3
"""Objects that are asked for."""
MAX_OPEN = 16
"""Objects that are subscribed: what another device of the recipient asks for comes without asking."""
RETRY_S = 30.0
"""How long an object rests that is gone at the gateway, does not open, or does not fit on the disk."""

log = logging.getLogger("mpacs.device")

OnComplete = Callable[[Held], None]


class Fetcher:
    """Keeps a few downloads going, and listens for those that come next; they outlive connections."""

    def __init__(self, store: Store, disk: DiskThread, events: Events, on_complete: OnComplete) -> None:
        """Nothing is wanted yet."""
        self.complete: set[str] = set()
        self.progress_at = time.monotonic()
        self._store = store
        self._disk = disk
        self._events = events
        self._on_complete = on_complete
        self._pace = Pace()
        self._session: Session | None = None
        self._targets: dict[str, tuple[Held, ObjectEntry]] = {}
        self._active: dict[str, Download] = {}
        self._starting: set[str] = set()
        self._missing: dict[str, None] = {}
        self._resting: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._changed = True

    # ── what is wanted ────────────────────────────────────────────────────────────────────────────────────────────

    def want(self, targets: list[tuple[Held, ObjectEntry]]) -> None:
        """From now on these objects, in this order; what is no longer among them is stopped."""
        self._targets = {encode_reference(entry.object): (held, entry) for held, entry in targets}
        self.complete &= self._targets.keys()
        self._missing = dict.fromkeys(one for one in self._targets if one not in self.complete)
        for object_id, download in list(self._active.items()):
            target = self._targets.get(object_id)
            if target is None or target[1].manifest != download.entry.manifest:
                self._stop(download)
            else:
                download.held = target[0]
        self._look()

    def _look(self) -> None:
        """Something about what is wanted or at work has changed, so that another download may begin."""
        self._changed = True
        self._wake.set()

    def rest(self, object_id: str) -> None:
        """Leave an object alone for a while; a new announcement may name another in its place."""
        self._resting[object_id] = time.monotonic() + RETRY_S
        if object_id in self._active:
            self._stop(self._active[object_id])

    def again(self, object_id: str) -> None:
        """What was complete is damaged on the disk: fetch what does not fit its digest."""
        self.complete.discard(object_id)
        if object_id in self._targets:
            self._missing[object_id] = None
        self._look()

    @property
    def idle(self) -> bool:
        """Whether everything that is wanted is here."""
        return not self._missing and not self._tasks

    def _stop(self, download: Download) -> None:
        del self._active[download.object_id]
        self._spawn(self._close(download))

    async def _close(self, download: Download) -> None:
        if download.subscribed and self._session is not None:
            download.subscribed = False
            self._spawn(self._session.link.unsubscribe([self._filter(download)]))
        try:
            await download.flush(self._disk)
        finally:
            await download.close(self._disk)

    def _filter(self, download: Download) -> str:
        held = download.held
        return object_filter(self._store.site, held.kind, held.recipient, download.entry.object)

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except LinkFailed:
                pass  # the session's end is noticed where the session is run
            except OSError as error:
                log.error("the disk does not take what came: %s", error.strerror)
            finally:
                self._look()

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ── the pump ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, session: Session) -> None:
        """Ask over ``session`` until cancelled; nothing was in flight before."""
        self._session = session
        self.restart()
        try:
            while True:
                self._wake.clear()
                self._fill()
                now = time.monotonic()
                deadline = self._plan(now)
                try:
                    async with asyncio.timeout(max(deadline - now, 0.0)):
                        await self._wake.wait()
                except TimeoutError:
                    self._changed = True
        finally:
            self._session = None
            for download in self._active.values():
                download.subscribed = False

    def restart(self) -> None:
        """The gateway or the link is new: ask anew for whatever is missing."""
        for download in self._active.values():
            download.restart()
        self._look()

    async def close(self) -> None:
        """Make everything durable and close the files."""
        for download in list(self._active.values()):
            self._stop(download)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _fill(self) -> None:
        if not self._changed:
            return
        self._changed = False
        self._begin()
        for download in self._active.values():
            if not download.subscribed and self._session is not None:
                download.subscribed = True
                self._spawn(self._subscribe(self._session, download))

    def _begin(self) -> None:
        now = time.monotonic()
        for rank, object_id in enumerate(self._missing):
            if len(self._active) + len(self._starting) >= MAX_OPEN and not (rank < MAX_AT_ONCE and self._make_room()):
                return
            busy = object_id in self._active or object_id in self._starting
            if not busy and self._resting.get(object_id, 0.0) <= now:
                self._resting.pop(object_id, None)
                self._starting.add(object_id)
                self._spawn(self._start(object_id, *self._targets[object_id]))

    def _make_room(self) -> bool:
        """Give up listening for one object, since a more urgent one is to be asked for."""
        first = set(itertools.islice(self._missing, MAX_AT_ONCE))
        for download in reversed(self._active.values()):
            if not download.in_flight and download.object_id not in first:
                self._stop(download)
                return True
        return False

    async def _start(self, object_id: str, held: Held, entry: ObjectEntry) -> None:
        try:
            download = await Download.open(self._disk, self._store.blobs, held, entry, self._pace)
        except OSError:
            self._resting[object_id] = time.monotonic() + RETRY_S
            raise
        finally:
            self._starting.discard(object_id)
        if object_id not in self._targets:
            await download.close(self._disk)
            return
        self._active[object_id] = download
        if download.complete:
            await self._finish(download)

    async def _subscribe(self, session: Session, download: Download) -> None:
        await session.link.subscribe([self._filter(download)], qos=0)
        download.ready_on = session

    def _plan(self, now: float) -> float:
        """Send what is to be asked; when to look again."""
        deadline = now + RETRY_S
        ready = [one for one in self._active.values() if one.ready_on is self._session and not one.complete]
        urgent = set(itertools.islice((one for one in self._missing if one in self._active), MAX_AT_ONCE))
        asking = [one for one in ready if one.object_id in urgent or one.in_flight]
        for download in asking:
            others = sum(one.in_flight for one in asking if one is not download)
            # A share for each, or a credit that shrank could leave all of them waiting for one another.
            budget = max(self._pace.credit - others, self._pace.credit // len(asking), 1)
            self._ask(download, now, min(budget, MAX_CREDIT))
        for download in ready:
            if download not in asking:
                # Without segments: the page that vouches for those that another device asked for.
                self._ask(download, now, 0)
        for download in self._active.values():
            download.save_if_due(now, self._disk, partial(self._saved, download))
            deadline = min(deadline, download.next_deadline() or deadline)
        return deadline

    def _ask(self, download: Download, now: float, budget: int) -> None:
        # What is asked for again and what is asked for first are two asks.
        session = self._session
        while session is not None and (ask := download.plan(now, budget)) is not None:
            try:
                session.post(self._want(download, ask, budget))
            except LinkFailed:
                download.restart()
                return

    @staticmethod
    def _want(download: Download, ask: Ask, budget: int) -> Want:
        return Want(
            kind=download.held.kind,
            recipient=decode_reference(download.held.recipient),
            object=download.entry.object,
            pages=list(ask.pages),
            ranges=to_ranges(ask.segments)[:MAX_RANGES],
            credit=max(len(ask.segments), min(budget, MAX_CREDIT), 1),
            again=ask.again,
        )

    def _saved(self, download: Download, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._fail(download)
        self._wake.set()

    def _fail(self, download: Download) -> None:
        self._events.tell("disk-full", object=download.object_id)
        if download.object_id in self._active:
            self.rest(download.object_id)

    # ── what arrives ──────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, part: ObjectTopic, payload: bytes) -> None:
        """A part of an object came. WireError if it is not the announced one."""
        download = self._active.get(part.object_id)
        if download is None or download.received == download.segments:
            return
        now = time.monotonic()
        try:
            new = download.take(now, part, payload)
        except OSError:
            self._fail(download)
            return
        if new:
            self.progress_at = now
            self._events.tell(
                "progress",
                study=download.held.study,
                object=download.object_id,
                received=download.received,
                segments=download.segments,
                bytes=len(payload),
            )
        if download.complete:
            self._spawn(self._finish(download))
        self._wake.set()

    async def _finish(self, download: Download) -> None:
        try:
            await download.finish(self._disk, self._store.site)
        except WireError as error:
            log.warning("object %s is not what was announced: %s", download.object_id, error.code)
            self._events.tell("broken", object=download.object_id, code=error.code)
            if self._active.get(download.object_id) is download:
                self.rest(download.object_id)
            return
        if self._active.get(download.object_id) is not download:
            return
        self.complete.add(download.object_id)
        self._missing.pop(download.object_id, None)
        self._stop(download)
        self._on_complete(download.held)
