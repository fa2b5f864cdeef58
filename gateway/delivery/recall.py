"""What is wanted and was evicted, or never came because a fetch was cut, is fetched from the PACS by itself."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy.engine import Engine

from gateway.audit import Event, Outcome
from gateway.management.index import arrivals_read, deliveries, retrieved, told, trail
from gateway.middleware.pacs.client import PacsClient
from gateway.middleware.pacs.errors import PacsError
from gateway.middleware.pacs.query import Retrieved

_log = logging.getLogger(__name__)

_RESTS_S = 60.0
"""A study that could not be fetched is left alone so long."""
_REMEMBERED = 1000
_Lacking = tuple[int, str, Sequence[str]]
"""A study's id and UID, and the series that are to be fetched; an empty text for all."""


class Recall:
    """One for the core. Who wants is judged before; here a study is only fetched."""

    def __init__(self, engine: Engine, pacs: PacsClient, on_lost: Callable[[str], None]) -> None:
        """``on_lost`` has an object forgotten, so that it is made again."""
        self._engine = engine
        self._on_lost = on_lost
        self._looking: set[asyncio.Task[None]] = set()
        self._pacs = pacs
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failed: OrderedDict[int, float] = OrderedDict()

    async def ordered(self, recipient: str, study_ref: str, is_gone: bool) -> bool:
        """Whether files of a study that a recipient ordered a layer of are on their way now.

        ``is_gone``: the layer cannot be made without those that were evicted. What a cut fetch left out comes anyway.
        """
        if not self._pacs.is_there:
            return False
        return self._begin(await asyncio.to_thread(self._study_announced, recipient, study_ref, is_gone))

    def evicted(self, object_id: str) -> None:
        """Somebody wants an object whose file went: it is made again of the files that are here, or come now."""
        task = asyncio.create_task(self._wanted(object_id))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _wanted(self, object_id: str) -> None:
        if self._pacs.is_there:
            self._begin(await asyncio.to_thread(self._study_of, object_id))
        self._on_lost(object_id)  # not before: by the object its study is found

    async def stop(self) -> None:
        """Let go; what is being fetched comes all the same."""
        tasks = [*self._tasks.values(), *self._looking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, study: _Lacking | None) -> bool:
        if study is None:
            return False
        study_id, uid, several = study
        if time.monotonic() - self._failed.get(study_id, float("-inf")) < _RESTS_S:
            return False
        if study_id not in self._tasks:
            task = asyncio.create_task(self._fetch(study_id, uid, several))
            self._tasks[study_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(study_id, None))
        return True

    async def _fetch(self, study_id: int, uid: str, several: Sequence[str]) -> None:
        outcome = "complete"
        try:
            for series in several:
                done = await self._pacs.retrieve(uid, series)
                if done.from_pacs:
                    await asyncio.to_thread(self._note, study_id, done)
                outcome = outcome if done.outcome == "complete" else done.outcome
        except PacsError as error:
            outcome = type(error).__name__
        if outcome != "complete":
            self._failed[study_id] = time.monotonic()
            if len(self._failed) > _REMEMBERED:
                self._failed.popitem(last=False)
        _log.info("what a study lacks was asked for again: %s", outcome)

    def _note(self, study_id: int, done: Retrieved) -> None:
        outcome: Outcome = "success" if done.outcome == "complete" else "failed"
        what = f"what was lacking: {done.from_pacs} instances"
        with self._engine.begin() as connection:
            study = arrivals_read.study_by_id(connection, study_id)
            if study is not None:
                patient, uid = study.PatientID, study.StudyInstanceUID
                event = Event("retrieve", "gateway", outcome, whom=f"pacs:{done.pacs}", patient=patient, study=uid)
                trail.record(connection, replace(event, what=what))

    def _study_announced(self, recipient: str, study_ref: str, is_gone: bool) -> _Lacking | None:
        with self._engine.connect() as connection:
            study_id = told.study_announced(connection, recipient, study_ref)
        return None if study_id is None else self._lacking(study_id, is_gone)

    def _study_of(self, object_id: str) -> _Lacking | None:
        with self._engine.connect() as connection:
            found = deliveries.object_by_id(connection, object_id)
        return None if found is None else self._lacking(found.study_id)

    def _lacking(self, study_id: int, is_gone: bool = True) -> _Lacking | None:
        """What is to be fetched if a fetch was cut, or (``is_gone``) if some of its files were evicted."""
        with self._engine.connect() as connection:
            study = arrivals_read.study_by_id(connection, study_id)
            if study is None:
                return None
            if is_gone and arrivals_read.instances_of(connection, study_id, "evicted"):
                return study_id, study.StudyInstanceUID, [""]
            several = retrieved.cut(connection, study.StudyInstanceUID)
        return (study_id, study.StudyInstanceUID, several) if several else None
