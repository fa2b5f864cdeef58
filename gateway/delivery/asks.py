"""What devices ask beyond what is announced to them: judged at that moment, carried out, answered.

What takes long (the PACS is asked) goes on beside the device's other requests; what changes something is done in turn.
An unknown study and one that the asker may not know of take the same way and get the same answer.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy.engine import Engine

from gateway.audit import Kind, Outcome
from gateway.config import Config
from gateway.delivery.accounts import Accounts
from gateway.delivery.herald import Herald
from gateway.management import searching
from gateway.management.census import Census
from gateway.management.index import arrivals_read, grants, movements
from gateway.management.index.people import Device, Profile
from gateway.management.searching import Line
from gateway.management.sharing import Sharing, has
from gateway.middleware.pacs.client import PacsClient
from gateway.middleware.pacs.errors import PacsError, QueryInvalid
from gateway.middleware.pacs.query import Hit, Progress, Query, Retrieved
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
_FOUND_KEPT_S = 60.0
_FOUND_KEPT = 64
_SERIES_ASKED = 50
_DAY_MS = 86_400_000

Reply = Told | Done | Refused
Tell = Callable[[Reply], Awaitable[None]]
"""Answers a request; may be called several times where the request has Progress."""

MAY: dict[type, frozenset[names.Kind]] = {
    asks.Search: frozenset({"patient", "doctor"}),
    asks.Retrieve: frozenset({"patient", "doctor"}),
    asks.Directory: frozenset({"doctor"}),
    asks.Share: frozenset({"doctor"}),
    asks.Unshare: frozenset({"doctor"}),
    asks.Receipts: frozenset({"doctor"}),
}
"""Who may ask what at all; of which studies the profiles say."""
_NOTED: dict[type, Kind] = {
    asks.Search: "search",
    asks.Retrieve: "retrieve",
    asks.Directory: "directory",
    asks.Share: "shared",
    asks.Unshare: "unshared",
    asks.Receipts: "audit-used",
}
_FORBIDDEN = Refused(reason="forbidden")
_BUSY = Refused(reason="busy")


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    hits: list[Hit]
    silent: list[str]


class Asks:
    """One for a gateway's requests."""

    def __init__(
        self,
        engine: Engine,
        census: Census,
        herald: Herald,
        pacs: PacsClient,
        config: Config,
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
        self._sharing = Sharing(engine, census)
        self.accounts = Accounts(engine)
        self._working: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._found: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()

    async def take(self, device: Device, profile: Profile, body: Asked, tell: Tell) -> None:
        """Carry a request out, and answer it by ``tell``, now or later; what comes of it goes to the audit trail."""
        tell = self._noting(device, profile, body, tell)
        if encode_reference(body.recipient) != profile.reference or body.kind != profile.kind:
            await tell(_FORBIDDEN)
        elif type(body) not in MAY:
            await tell(Refused(reason="unsupported"))
        elif profile.kind not in MAY[type(body)]:
            await tell(_FORBIDDEN)
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
            if not isinstance(reply, asks.Progress):
                refused = isinstance(reply, Refused)
                outcome: Outcome = "success" if not refused else "refused" if reply == _FORBIDDEN else "failed"
                study, to = getattr(body, "study", ""), encode_reference(whom) if whom else ""
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
        return Refused(reason="unsupported")

    async def _changed(self, verdict: str) -> Reply:
        if verdict != "done":
            return _BUSY if verdict == "busy" else _FORBIDDEN
        # When it is answered the others have heard of it.
        await self._herald.catch_up(_CATCH_UP_S)
        return Done()

    # ── search ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _search(self, device: Device, profile: Profile, search: asks.Search, tell: Tell) -> None:
        try:
            hits, silent = await self._hits(device, profile, search)
        except QueryInvalid:
            await tell(Refused(reason="malformed"))
            return
        # Who may know of what is asked for each page, whatever the PACS are asked for only once.
        own = await asyncio.to_thread(self._own, profile, search)
        theirs = await asyncio.to_thread(self._theirs, profile, hits)
        await tell(searching.page_of(searching.merged(own, theirs)[: searching.MOST], search.page, silent))

    async def _hits(self, device: Device, profile: Profile, search: asks.Search) -> tuple[list[Hit], list[str]]:
        """What the PACS answered; for further pages what they did a moment ago."""
        key = (device.device, msgspec.json.encode(msgspec.structs.replace(search, recipient=b"", page=0)))
        kept = self._found.pop(key, None)
        if kept is None or search.page == 0 or kept.until < time.monotonic():
            query = searching.query_of(profile, search)
            hits, silent = await self._ask_pacs(query, search.BodyPartExamined)
            kept = _Kept(time.monotonic() + _FOUND_KEPT_S, hits, silent)
        self._found[key] = kept
        if len(self._found) > _FOUND_KEPT:
            self._found.popitem(last=False)
        return kept.hits, kept.silent

    def _own(self, profile: Profile, search: asks.Search) -> list[Line]:
        with self._engine.connect() as connection:
            there = self._census.look_within(connection)
            return searching.own_lines(connection, there, profile, search, _now_ms())

    def _theirs(self, profile: Profile, hits: Sequence[Hit]) -> list[Hit]:
        with self._engine.connect() as connection:
            there = self._census.look_within(connection)
            located = movements.located(connection)
            return [hit for hit in hits if searching.is_for(there, located, profile, hit.attributes)]

    async def _ask_pacs(self, query: Query | None, body_part: str = "") -> tuple[list[Hit], list[str]]:
        """Hits, and the PACS that did not answer."""
        if query is None or not self._names:
            return [], []
        try:
            found = await self._pacs.find(query)
            hits = found.hits
            if body_part.strip("*"):
                hits = [hit for hit in hits[:_SERIES_ASKED] if await self._has_part(hit, body_part)]
        except QueryInvalid:
            raise
        except PacsError:
            return [], list(self._names)
        return hits, [one.pacs for one in found.away]

    async def _has_part(self, hit: Hit, body_part: str) -> bool:
        """A study's query does not say which part of the body it shows: its series' do."""
        uid = searching.Line(hit.attributes).uid
        query = Query("SERIES", {"StudyInstanceUID": uid, "BodyPartExamined": body_part}, 1)
        return bool((await self._pacs.find(query, [hit.pacs])).hits)

    # ── retrieve ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _retrieve(self, profile: Profile, body: asks.Retrieve, tell: Tell) -> None:
        if not await asyncio.to_thread(self._has, profile, body.study):
            try:
                hits, silent = await self._ask_pacs(Query("STUDY", {"StudyInstanceUID": body.study}))
            except QueryInvalid:
                hits, silent = [], []
            if not await asyncio.to_thread(self._theirs, profile, hits):
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
            return row is not None and has(connection, self._census.look_within(connection), profile, row)

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
            if row is None or not has(connection, self._census.look_within(connection), profile, row):
                return False
            return grants.put(connection, row.id, profile.reference, profile.reference, now + self._window_ms, now)


def _keys(search: asks.Search) -> str:
    """The keys of a search that say something, for the audit trail."""
    named = {name: getattr(search, name) for name in search.__struct_fields__ if name[0].isupper()}
    return "; ".join(f"{name}={value}" for name, value in named.items() if value)


def _now_ms() -> int:
    return int(time.time() * 1000)
