"""Uploads on their way to the PACS: sent, asked for, and let go of only when the PACS says that it has them."""

import asyncio
import logging
import time
from pathlib import Path

from sqlalchemy.engine import Engine

from gateway.management.index import arrivals_read, uploads
from gateway.management.index.uploads import Uploaded
from gateway.middleware.pacs.client import PacsClient
from gateway.middleware.pacs.errors import PacsError
from gateway.middleware.pacs.query import Query

_log = logging.getLogger(__name__)

_STEP_S = 2.0
_TRY_AGAIN_S = 60.0
_CONFIRM_SOON_S = 2.0


class Forwarding:
    """One for the gateway."""

    def __init__(self, engine: Engine, pacs: PacsClient, archive: Path) -> None:
        """``archive`` is where instances lie."""
        self._engine = engine
        self._pacs = pacs
        self._archive = archive

    async def step(self) -> None:
        """Send and confirm what is due, then rest."""
        for one in await asyncio.to_thread(self._due):
            try:
                await self._go_on(one)
            except PacsError as error:
                await self._note(one, reason=type(error).__name__)
        await asyncio.sleep(_STEP_S)

    def _due(self) -> list[Uploaded]:
        now = time.time()
        with self._engine.connect() as connection:
            found = uploads.pending(connection, now - _CONFIRM_SOON_S)
        # What failed waits longer than what was only just sent.
        return [one for one in found if not one.reason or one.tried_at < now - _TRY_AGAIN_S]

    async def _go_on(self, one: Uploaded) -> None:
        path = await asyncio.to_thread(self._path_of, one)
        if path is None:
            await self._note(one, reason="the file is not here")
        elif one.sent_at is None:
            stored = await self._pacs.store(one.pacs, path)
            if not stored.ok:
                await self._note(one, reason=f"refused, status 0x{stored.status:04X}")
                return
            _log.info("an upload was sent to PACS %s", one.pacs)
            await self._note(one, sent_at=time.time())
            await self._confirm(one)
        else:
            await self._confirm(one)

    async def _confirm(self, one: Uploaded) -> None:
        """Whether the PACS finds it among what it keeps."""
        series = await asyncio.to_thread(self._series_of, one)
        keys = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": series}
        found = await self._pacs.find(Query("IMAGE", {**keys, "SOPInstanceUID": one.SOPInstanceUID}, 1), [one.pacs])
        if found.hits:
            _log.info("PACS %s has an upload", one.pacs)
            await self._note(one, confirmed_at=time.time())
        else:
            await self._note(one, reason="sent, and the PACS does not find it" if not found.away else "PacsAway")

    async def _note(self, one: Uploaded, **values: float | str | None) -> None:
        def note() -> None:
            with self._engine.begin() as connection:
                uploads.note(connection, one.device, one.object, **{"tried_at": time.time(), "reason": "", **values})

        await asyncio.to_thread(note)

    def _path_of(self, one: Uploaded) -> Path | None:
        with self._engine.connect() as connection:
            row = arrivals_read.instance(connection, one.SOPInstanceUID)
        return self._archive / row.path if row is not None and row.state != "evicted" else None

    def _series_of(self, one: Uploaded) -> str:
        with self._engine.connect() as connection:
            row = arrivals_read.instance(connection, one.SOPInstanceUID)
            if row is None:
                return ""
            return next(s.SeriesInstanceUID for s in arrivals_read.series_of(connection, row.study_id)
                        if s.id == row.series_id)  # fmt: skip
