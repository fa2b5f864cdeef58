"""What devices ask beyond what is announced to them: judged at that moment, carried out, answered.

What takes long (the PACS is asked) goes on beside the device's other requests; what changes something is done in turn.
An unknown study and one that the asker may not know of take the same way and get the same answer.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from sqlalchemy.engine import Engine

from gateway.audit import Kind, Outcome
from gateway.config import Config
from gateway.delivery.accounts import Accounts
from gateway.delivery.herald import Herald
from gateway.delivery.seeking import Seeking
from gateway.delivery.uploads import Uploads
from gateway.management.access import TABLE
from gateway.management.census import Census
from gateway.management.index import arrivals_read, grants
from gateway.management.index.people import Device, Profile
from gateway.management.registry import NotTaken
from gateway.management.relations import Relations
from gateway.management.routing import join_patient
from gateway.management.sharing import Sharing, may
from gateway.middleware.pacs.client import PacsClient
from gateway.middleware.pacs.errors import PacsError, QueryInvalid
from gateway.middleware.pacs.query import Progress, Query, Retrieved
from wire import asks, names
from wire.asks import Asked, Told
from wire.messages import Done, Refused
from wire.names import encode_reference

_log = logging.getLogger(__name__)

_CATCH_UP_S = 5.0
_AT_ONCE = 4
"""Of one device; more is answered ``busy``."""
_AT_ONCE_IN_ALL = 64
_PROGRESS_EVERY_S = 0.5
_DAY_MS = 86_400_000

Reply = Told | Done | Refused
Tell = Callable[[Reply], Awaitable[None]]
"""Answers a request; may be called several times where the request has Progress."""

_NOTED: dict[type, Kind] = {
    asks.Search: "search",
    asks.Retrieve: "retrieve",
    asks.Directory: "directory",
    asks.Share: "shared",
    asks.Unshare: "unshared",
    asks.Receipts: "audit-used",
    asks.Upload: "uploaded",
    asks.Release: "released",
    asks.BreakGlass: "break-glass",
}
_FORBIDDEN = Refused(reason="forbidden")
_BUSY = Refused(reason="busy")


class Asks:
    """One for a gateway's requests."""

    def __init__(
        self,
        engine: Engine,
        census: Census,
        herald: Herald,
        pacs: PacsClient,
        config: Config,
        uploads: Uploads,
        failed: Callable[[BaseException], None],
    ) -> None:
        """``failed`` hears of what broke in the background."""
        self._engine = engine
        self._census = census
        self._herald = herald
        self._pacs = pacs
        self._names = tuple(one.name for one in config.pacs)
        self._window_ms = int(config.delivery.window_days * _DAY_MS)
        self._failed = failed
        self.uploads = uploads
        self._access = config.access
        self._sharing = Sharing(engine, census)
        self.accounts = Accounts(engine)
        self._working: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._seeking = Seeking(engine, census, pacs, self._names)

    async def take(self, device: Device, profile: Profile, body: Asked, tell: Tell) -> None:
        """Carry a request out, and answer it by ``tell``, now or later; what comes of it goes to the audit trail."""
        tell = self._noting(device, profile, body, tell)
        if encode_reference(body.recipient) != profile.reference or not asked_at_all(profile.kind, body):
            await tell(_FORBIDDEN)
        elif isinstance(body, asks.Upload):
            await self._beside(device, tell, self._upload(device, profile, body, tell))
        elif isinstance(body, asks.Search):
            await self._beside(device, tell, self._search(device, profile, body, tell))
        elif isinstance(body, asks.Retrieve):
            await self._beside(device, tell, self._retrieve(profile, body, tell))
        else:
            await tell(await self._at_once(profile, body))

    def _noting(self, device: Device, profile: Profile, body: Asked, tell: Tell) -> Tell:
        kind, whom = _NOTED.get(type(body), "request-refused"), getattr(body, "to", b"")
        what = _keys(body) if isinstance(body, asks.Search) else "receipts" if isinstance(body, asks.Receipts) else ""

        async def noting(reply: Reply) -> None:
            # What was released or taken in an emergency has its entry in the same transaction.
            is_noted = isinstance(body, asks.Release | asks.BreakGlass) and not isinstance(reply, Refused)
            if not isinstance(reply, asks.Progress | asks.Wanted) and not is_noted:
                refused = isinstance(reply, Refused)
                outcome: Outcome = "success" if not refused else "refused" if reply == _FORBIDDEN else "failed"
                study = getattr(reply, "StudyInstanceUID", "") or getattr(body, "study", "")
                to = encode_reference(whom) if whom else ""
                await asyncio.to_thread(self.accounts.note, device, profile, kind, outcome, study, to, what)
            await tell(reply)

        return noting

    async def stop(self) -> None:
        """End what goes on; devices ask again."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _beside(self, device: Device, tell: Tell, work: Coroutine[Any, Any, None]) -> None:
        if self._working[device.device] >= _AT_ONCE or self._working.total() >= _AT_ONCE_IN_ALL:
            work.close()
            await tell(_BUSY)
            return
        self._working[device.device] += 1
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(device.device, done))

    def _end(self, device: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._working[device] -= 1
        if self._working[device] <= 0:
            del self._working[device]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def _at_once(self, profile: Profile, body: Asked) -> Reply:
        match body:
            case asks.Share():
                return await self._changed(await asyncio.to_thread(self._sharing.share, profile, body))
            case asks.Unshare():
                return await self._changed(await asyncio.to_thread(self._sharing.unshare, profile, body))
            case asks.Directory():
                return await asyncio.to_thread(self._sharing.directory, profile, body)
            case asks.Receipts():
                return await asyncio.to_thread(self._sharing.receipts, profile, body) or _FORBIDDEN
            case asks.Release():
                return await self._changed(await asyncio.to_thread(self._release, profile, body))
            case asks.BreakGlass():
                return await self._break_glass(profile, body)
        return Refused(reason="unsupported")

    async def _changed(self, verdict: str) -> Reply:
        if verdict != "done":
            return _BUSY if verdict == "busy" else _FORBIDDEN
        # When it is answered the others have heard of it.
        await self._herald.catch_up(_CATCH_UP_S)
        return Done()

    def _release(self, profile: Profile, body: asks.Release) -> str:
        with self._engine.connect() as connection:
            there, study = self._census.look_within(connection), arrivals_read.study(connection, body.study)
            if study is None or not may("release", connection, there, profile, study):
                return "forbidden"
        self._relations(profile).release(body.study)
        return "done"

    async def _break_glass(self, profile: Profile, body: asks.BreakGlass) -> Reply:
        patient = join_patient(body.PatientID, body.IssuerOfPatientID)
        try:
            term = await asyncio.to_thread(self._relations(profile).break_glass, profile, patient, body.reason)
        except NotTaken:
            return Refused(reason="malformed")
        _log.warning("emergency access was taken; `mpacs-gateway profile list` shows by whom")
        await self._herald.look()
        await self._herald.catch_up(_CATCH_UP_S)
        return asks.Granted(until=int((term.ends or 0) * 1000))

    def _relations(self, profile: Profile) -> Relations:
        return Relations(self._engine, self._access, f"{profile.kind}:{profile.identifier}")

    # ── search ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _search(self, device: Device, profile: Profile, search: asks.Search, tell: Tell) -> None:
        try:
            await tell(await self._seeking.search(device, profile, search))
        except QueryInvalid:
            await tell(Refused(reason="malformed"))

    async def _upload(self, device: Device, profile: Profile, body: asks.Upload, tell: Tell) -> None:
        reply = await self.uploads.take(device, profile, body)
        if isinstance(reply, asks.Stored):
            await self._herald.catch_up(_CATCH_UP_S)
        await tell(reply)

    # ── retrieve ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _retrieve(self, profile: Profile, body: asks.Retrieve, tell: Tell) -> None:
        if not await asyncio.to_thread(self._has, profile, body.study):
            try:
                hits, silent = await self._seeking.ask(Query("STUDY", {"StudyInstanceUID": body.study}))
            except QueryInvalid:
                hits, silent = [], []
            if not await asyncio.to_thread(self._seeking.theirs, profile, hits):
                await tell(_BUSY if silent else _FORBIDDEN)
                return
        done = await self._fetch(body.study, tell)
        if done.here and await asyncio.to_thread(self._note_fetched, profile, body.study):
            await self._herald.catch_up(_CATCH_UP_S)
        match done.outcome:
            case "complete":
                await tell(Done())
            case "partial":
                await tell(_BUSY)
            case "absent":
                await tell(Refused(reason="gone"))

    async def _fetch(self, study: str, tell: Tell) -> Retrieved:
        """Have the study here; ``tell`` gets the progress."""
        if not self._names:
            here, known = await asyncio.to_thread(self._counted, study)
            return Retrieved("complete" if here == known else "partial" if here else "absent", here, known)
        latest: Progress | None = None
        came = asyncio.Event()

        def note(progress: Progress) -> None:
            nonlocal latest
            latest = progress
            came.set()

        async def pass_on() -> None:
            while True:
                await came.wait()
                came.clear()
                if latest is not None:
                    await tell(asks.Progress(here=latest.here, of=max(latest.total, 0)))
                await asyncio.sleep(_PROGRESS_EVERY_S)

        telling = asyncio.create_task(pass_on())
        try:
            return await self._pacs.retrieve(study, on_progress=note)
        except PacsError as error:
            _log.info("a study was not fetched: %s", type(error).__name__)
            here, known = await asyncio.to_thread(self._counted, study)
            return Retrieved("partial", here, known)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    def _has(self, profile: Profile, study: str) -> bool:
        with self._engine.connect() as connection:
            row = arrivals_read.study(connection, study)
            return row is not None and may("retrieve", connection, self._census.look_within(connection), profile, row)

    def _counted(self, study: str) -> tuple[int, int]:
        """Instances whose files are here, and all that are known."""
        with self._engine.connect() as connection:
            row = arrivals_read.study(connection, study)
            found = arrivals_read.instances_of(connection, row.id) if row is not None else []
        return sum(one.state != "evicted" for one in found), len(found)

    def _note_fetched(self, profile: Profile, study: str) -> bool:
        """It stays announced to the asker for a window of days from now; False where the asker has no right to it."""
        now = _now_ms()
        with self._engine.begin() as connection:
            row = arrivals_read.study(connection, study)
            if row is None or not may("retrieve", connection, self._census.look_within(connection), profile, row):
                return False
            return grants.put(connection, row.id, profile.reference, profile.reference, now + self._window_ms, now)


def asked_at_all(kind: names.Kind, body: Asked) -> bool:
    """Whether somebody of this kind may ask this at all; of which studies is judged where they are known."""
    op = type(body).__struct_config__.tag
    return body.kind == kind and any(name == op and relations for name, relations in TABLE[kind].items())


def _keys(search: asks.Search) -> str:
    """The keys of a search that say something, for the audit trail."""
    named = {name: getattr(search, name) for name in search.__struct_fields__ if name[0].isupper()}
    return "; ".join(f"{name}={value}" for name, value in named.items() if value)


def _now_ms() -> int:
    return int(time.time() * 1000)
