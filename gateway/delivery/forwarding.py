"""Uploads on their way to the PACS: sent, and let go of only when it has committed itself to keep them.

A PACS without storage commitment, and one by DICOMweb, is asked whether it finds the instance.
"""

import asyncio
import logging
import time
from pathlib import Path

from sqlalchemy.engine import Engine

from gateway.audit import Event
from gateway.management.index import arrivals_read, commitments, trail, uploads
from gateway.management.index.uploads import Uploaded
from gateway.middleware.pacs.client import PacsClient
from gateway.middleware.pacs.errors import PacsError, PacsRefused
from gateway.middleware.pacs.query import Query

_log = logging.getLogger(__name__)

_STEP_S = 2.0
_TRY_AGAIN_S = 60.0
_CONFIRM_SOON_S = 2.0
_ANSWER_S = 900.0
"""So long the PACS may take to say that it keeps something before it is asked again."""


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
        else:
            await self._confirm(one)

    async def _confirm(self, one: Uploaded) -> None:
        """Ask the PACS to keep it, or look what it has answered."""
        if one.transaction_uid:
            await self._look_at_answer(one)
            return
        sop_class, _ = await asyncio.to_thread(self._class_and_series, one)
        try:
            transaction = await self._pacs.commit(one.pacs, [(sop_class, one.SOPInstanceUID)])
        except PacsRefused:
            await self._search(one)
        else:
            await self._note(one, transaction_uid=transaction)

    async def _look_at_answer(self, one: Uploaded) -> None:
        state, reason = await asyncio.to_thread(self._answer, one)
        if state == commitments.KEPT:
            _log.info("PACS %s keeps an upload", one.pacs)
            await self._note(one, confirmed_at=time.time())
        elif state == commitments.FAILED:
            # Sent again: what it lost it may take.
            await self._note(one, sent_at=None, transaction_uid="", reason=f"not kept, reason 0x{reason:04X}")
        elif time.time() - one.tried_at > _ANSWER_S:
            await self._note(one, transaction_uid="", reason="sent, and the PACS does not say that it keeps it")

    async def _search(self, one: Uploaded) -> None:
        """Whether the PACS finds it among what it has."""
        _, series = await asyncio.to_thread(self._class_and_series, one)
        keys = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": series}
        found = await self._pacs.find(Query("IMAGE", {**keys, "SOPInstanceUID": one.SOPInstanceUID}, 1), [one.pacs])
        if found.hits:
            _log.info("PACS %s has an upload", one.pacs)
            await self._note(one, confirmed_at=time.time(), reason="found by a search, not committed")
        else:
            await self._note(one, reason="sent, and the PACS does not find it" if not found.away else "PacsAway")

    def _answer(self, one: Uploaded) -> tuple[str, int]:
        with self._engine.connect() as connection:
            states = commitments.states(connection, one.transaction_uid)
        return states.get(one.SOPInstanceUID, (commitments.PENDING, 0))

    async def _note(self, one: Uploaded, **values: float | str | None) -> None:
        def note() -> None:
            with self._engine.begin() as connection:
                if values.get("confirmed_at"):
                    event = Event("forwarded", "gateway", whom=f"pacs:{one.pacs}", study=one.StudyInstanceUID)
                    trail.record(connection, event)
                uploads.note(connection, one.device, one.object, **{"tried_at": time.time(), "reason": "", **values})

        await asyncio.to_thread(note)

    def _path_of(self, one: Uploaded) -> Path | None:
        with self._engine.connect() as connection:
            row = arrivals_read.instance(connection, one.SOPInstanceUID)
        return self._archive / row.path if row is not None and row.state != "evicted" else None

    def _class_and_series(self, one: Uploaded) -> tuple[str, str]:
        """SOPClassUID and SeriesInstanceUID."""
        with self._engine.connect() as connection:
            row = arrivals_read.instance(connection, one.SOPInstanceUID)
            if row is None:
                return "", ""
            series = arrivals_read.series_of(connection, row.study_id)
        return row.SOPClassUID, next(found.SeriesInstanceUID for found in series if found.id == row.series_id)
