"""What the gateway's own store says to whoever fetches from a PACS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.management.index import arrivals_read, commitments, retrieved, uses

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.management.entrance import Entrance


class Holdings:
    """Blocks; serves many threads. The methods are those of ``middleware.pacs.retrieval.Store``."""

    def __init__(self, engine: Engine, entrance: Entrance) -> None:
        self._engine = engine
        self._entrance = entrance

    def here(self, StudyInstanceUID: str, SeriesInstanceUID: str) -> dict[str, bool]:
        """SOPInstanceUID of each instance that is known: whether its file is here."""
        with self._engine.connect() as connection:
            return retrieved.here(connection, StudyInstanceUID, SeriesInstanceUID)

    def series_of(self, SOPInstanceUIDs: Sequence[str]) -> dict[str, tuple[str, str]]:
        """SOPInstanceUID to SeriesInstanceUID and SOPClassUID."""
        with self._engine.connect() as connection:
            return retrieved.places(connection, SOPInstanceUIDs)

    def is_whole(self, StudyInstanceUID: str, SeriesInstanceUID: str, since: float) -> str:
        """The PACS from which all of it was fetched after ``since``."""
        with self._engine.connect() as connection:
            return retrieved.whole_from(connection, StudyInstanceUID, SeriesInstanceUID, since)

    def note_begun(self, StudyInstanceUID: str, SeriesInstanceUID: str, pacs: str) -> None:
        """It is being fetched, or that was cut."""
        with self._engine.begin() as connection:
            retrieved.note_begun(connection, StudyInstanceUID, SeriesInstanceUID, pacs)

    def note_whole(self, StudyInstanceUID: str, SeriesInstanceUID: str, pacs: str) -> None:
        """All that this PACS has is here."""
        with self._engine.begin() as connection:
            retrieved.note_whole(connection, StudyInstanceUID, SeriesInstanceUID, pacs, time.time())

    def note_over(self, StudyInstanceUID: str, SeriesInstanceUID: str) -> None:
        """No more of it comes."""
        with self._engine.begin() as connection:
            retrieved.note_over(connection, StudyInstanceUID, SeriesInstanceUID)

    def note_use(self, StudyInstanceUID: str) -> None:
        """The study becomes the last one to be evicted."""
        with self._engine.begin() as connection:
            study = arrivals_read.study(connection, StudyInstanceUID)
            if study is not None:
                uses.note_study(connection, study.id, time.time())

    def note_asked(self, transaction: str, pacs: str, SOPInstanceUIDs: Sequence[str]) -> None:
        """A PACS is asked to keep these."""
        with self._engine.begin() as connection:
            commitments.ask(connection, transaction, pacs, SOPInstanceUIDs, time.time())

    def settle(self, StudyInstanceUID: str) -> None:
        """Nothing more of it is on its way."""
        self._entrance.settle({StudyInstanceUID})
