"""Files that devices send up: what lacks is asked for, what came is checked, and what is whole becomes DICOM."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import Engine

from gateway.config import Config
from gateway.delivery.forwarding import Forwarding
from gateway.management.census import Census
from gateway.management.index import uploads
from gateway.management.index.people import Device, Profile
from gateway.management.index.uploads import Uploaded
from gateway.management.receiving import Receiving
from gateway.management.uploading import may_upload
from wire import asks, envelope
from wire.errors import NameInvalid, WireError
from wire.messages import Refused
from wire.names import encode_reference, parse_decimal

_log = logging.getLogger(__name__)

_AT_ONCE = 2
"""Of one device."""
_AT_ONCE_IN_ALL = 32
_SEGMENTS = 32
"""That may be on their way from one upload."""
_LATE_S = 2.0
"""So long what was asked for is waited for before it is asked for again."""
_SOON_S = 5.0
_IDLE_S = 900.0
_PART_DAYS = 7.0

Reply = asks.Wanted | asks.Stored | Refused


@dataclass(frozen=True, slots=True)
class Job:
    """A file that is whole, and what it is to become. ``who`` sent it."""

    path: Path
    ask: asks.Upload
    who: Profile


@dataclass(frozen=True, slots=True)
class Became:
    """What became of it: an instance, or none (``malformed``: for what it is; ``busy``: try again)."""

    StudyInstanceUID: str = ""
    SOPInstanceUID: str = ""
    reason: str = ""


Convert = Callable[[Job], Awaitable[Became]]


@dataclass
class _Coming:
    """One upload of one device."""

    receiving: Receiving
    ask: asks.Upload
    used_at: float
    asked: set[str] = field(default_factory=set)
    parts: list[tuple[str, bytes]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Task[Reply] | None = None


class Uploads:
    """One for the gateway."""

    def __init__(
        self,
        engine: Engine,
        census: Census,
        config: Config,
        folder: Path,
        convert: Convert,
        forwarding: Forwarding,
    ) -> None:
        """``folder`` holds what is on its way; ``convert`` makes DICOM of it and stores that."""
        self.forwarding = forwarding
        self._engine = engine
        self._census = census
        self._settings = config.uploads
        self._site = config.site
        self._folder = folder
        self._convert = convert
        self._coming: dict[tuple[str, str], _Coming] = {}
        self._opening = asyncio.Lock()

    def part(self, device: str, object_id: str, name: str, payload: bytes) -> None:
        """A segment or page came; only what was asked for is looked at."""
        coming = self._coming.get((device, object_id))
        if coming is not None and name in coming.asked:
            coming.asked.discard(name)
            coming.parts.append((name, payload))
            coming.changed.set()

    async def take(self, device: Device, profile: Profile, ask: asks.Upload) -> Reply:
        """Say what lacks, after what is on its way has come; or what became of it."""
        if not await asyncio.to_thread(self._may, profile, ask):
            return Refused(reason="forbidden")
        if ask.size > self._settings.max_mb * 1_000_000:
            return Refused(reason="unsupported")
        object_id = encode_reference(ask.object)
        stored = await asyncio.to_thread(self._stored, device.device, object_id)
        if stored is not None:
            return asks.Stored(StudyInstanceUID=stored.StudyInstanceUID, SOPInstanceUID=stored.SOPInstanceUID)
        async with self._opening:
            coming = await self._open(device.device, object_id, ask)
        if coming is None:
            return Refused(reason="busy")
        await self._settle(coming)
        wanted = self._wanted(coming)
        if wanted is not None:
            return wanted
        if coming.work is None:
            coming.work = asyncio.create_task(self._finish(device.device, object_id, profile, coming))
        done, _ = await asyncio.wait({coming.work}, timeout=_SOON_S)
        if not done:
            return asks.Wanted(pages=[], ranges=[])
        self._coming.pop((device.device, object_id), None)
        if (error := coming.work.exception()) is not None:
            # It stays on the disk, and may well be taken when it is asked for again.
            coming.receiving.close()
            _log.warning("an upload could not be taken: %s", type(error).__name__)
            return Refused(reason="busy")
        return coming.work.result()

    def _may(self, profile: Profile, ask: asks.Upload) -> bool:
        with self._engine.connect() as connection:
            return may_upload(connection, self._census.look_within(connection), profile, ask)

    def _stored(self, device: str, object_id: str) -> Uploaded | None:
        with self._engine.connect() as connection:
            return uploads.find(connection, device, object_id)

    async def _open(self, device: str, object_id: str, ask: asks.Upload) -> _Coming | None:
        now = time.monotonic()
        for key, one in list(self._coming.items()):
            if now - one.used_at > _IDLE_S and one.work is None:
                one.receiving.close()
                del self._coming[key]
        coming = self._coming.get((device, object_id))
        if coming is not None and coming.ask.manifest != ask.manifest:
            return None  # the same object is never another file
        if coming is None:
            mine = sum(key[0] == device for key in self._coming)
            total = sum(one.receiving.size for one in self._coming.values()) + ask.size
            too_many = mine >= _AT_ONCE or len(self._coming) >= _AT_ONCE_IN_ALL
            if too_many or total > self._settings.most_mb * 1_000_000:
                return None
            name = f"{device}-{object_id}"
            receiving = await asyncio.to_thread(Receiving, self._folder, name, ask.size, ask.manifest)
            coming = self._coming[device, object_id] = _Coming(receiving, ask, now)
        coming.used_at = now
        return coming

    async def _settle(self, coming: _Coming) -> None:
        """Keep what came, until all that was asked for is here or is late."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LATE_S):
                while coming.asked or coming.parts:
                    coming.changed.clear()
                    parts, coming.parts = coming.parts, []
                    if parts:
                        await asyncio.to_thread(_keep, coming.receiving, parts)
                    elif coming.asked:
                        await coming.changed.wait()
        if coming.parts:
            parts, coming.parts = coming.parts, []
            await asyncio.to_thread(_keep, coming.receiving, parts)

    def _wanted(self, coming: _Coming) -> asks.Wanted | None:
        pages, ranges = coming.receiving.lacking_pages[:16], coming.receiving.wanted(_SEGMENTS)
        if not pages and not ranges:
            return None
        coming.asked = {f"m{page}" for page in pages}
        coming.asked |= {str(index) for first, last in ranges for index in range(first, last + 1)}
        return asks.Wanted(pages=pages, ranges=ranges)

    async def _finish(self, device: str, object_id: str, profile: Profile, coming: _Coming) -> Reply:
        """All is here: open it, have it made into DICOM, write down what it became."""
        path = self._folder / f"{device}-{object_id}.plain"
        bound_to = envelope.object_context(self._site, coming.ask.object, "original")
        try:
            await asyncio.to_thread(coming.receiving.open_into, coming.ask.key, bound_to, path)
            became = await self._convert(Job(path, coming.ask, profile))
        except WireError:
            became = Became(reason="malformed")
        finally:
            path.unlink(missing_ok=True)
        if became.reason:
            _log.info("an upload was not taken: %s", became.reason)
            if became.reason == "busy":
                coming.receiving.close()
                return Refused(reason="busy")
            await asyncio.to_thread(coming.receiving.remove)
            return Refused(reason="forbidden" if became.reason == "forbidden" else "malformed")
        await asyncio.to_thread(self._note, device, object_id, became)
        await asyncio.to_thread(coming.receiving.remove)
        return asks.Stored(StudyInstanceUID=became.StudyInstanceUID, SOPInstanceUID=became.SOPInstanceUID)

    def _note(self, device: str, object_id: str, became: Became) -> None:
        with self._engine.begin() as connection:
            if uploads.find(connection, device, object_id) is None:
                study, instance, pacs = became.StudyInstanceUID, became.SOPInstanceUID, self._settings.pacs
                row = Uploaded(device, object_id, study, instance, time.time(), pacs, 0.0, None, "", None, "")
                uploads.add(connection, row)

    def sweep(self) -> None:
        """Remove what was begun and not gone on with for a week. Blocks on the disk."""
        before = time.time() - _PART_DAYS * 86_400
        open_now = {f"{device}-{object_id}" for device, object_id in list(self._coming)}
        for path in self._folder.glob("*.*") if self._folder.exists() else ():
            with contextlib.suppress(OSError):
                if path.stem not in open_now and path.stat().st_mtime < before:
                    path.unlink()


def _keep(receiving: Receiving, parts: list[tuple[str, bytes]]) -> None:
    for name, payload in parts:
        try:
            if name.startswith("m"):
                receiving.take_page(parse_decimal(name[1:]), payload)
            else:
                receiving.take_segment(parse_decimal(name), payload)
        except (WireError, NameInvalid) as error:
            _log.info("a part of an upload was not kept: %s", getattr(error, "code", "its name"))
