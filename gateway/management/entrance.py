"""What the index makes of an instance that stands in the door: the same for every way in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from gateway.management.index import arrivals, arrivals_quarantine, arrivals_read, commitments
from gateway.middleware.arrival import Arrival, StoreOutcome

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.middleware.commitment import Commitment
    from gateway.middleware.refusal import Refusal

_log = logging.getLogger(__name__)


class Entrance:
    """Enters arrivals and refusals in the index, and wakes the core. Serves many threads."""

    def __init__(self, engine: Engine, wake: Callable[[], None]) -> None:
        """``wake`` is called after each commit, by one thread at a time."""
        self._engine = engine
        self._wake = wake
        self._telling = threading.Lock()

    def on_arrival(self, arrival: Arrival) -> StoreOutcome:
        """Committed when it returns. Raises SQLAlchemyError."""
        with self._engine.begin() as connection:
            outcome = arrivals.add_arrival(connection, arrival, time.time())
        if outcome is StoreOutcome.CONFLICT:
            _log.warning("an instance was kept apart; `mpacs-gateway quarantine list` shows it")
        self.wake()
        return outcome

    def on_refused(self, refusal: Refusal) -> None:
        """Raises SQLAlchemyError."""
        _log.warning("an instance was refused: %s", refusal.reason)
        with self._engine.begin() as connection:
            arrivals_quarantine.add_quarantine(connection, refusal, time.time())

    def on_commitment(self, commitment: Commitment) -> bool:
        """Note what a PACS keeps; False where nobody had asked it. Raises SQLAlchemyError."""
        with self._engine.begin() as connection:
            is_ours = commitments.answer(connection, commitment.transaction, commitment.kept, commitment.failed)
        _log.info("a PACS keeps %d of %d instances", len(commitment.kept), len(commitment.kept + commitment.failed))
        self.wake()
        return is_ours

    def settle(self, studies: Collection[str]) -> None:
        """Nothing more of these StudyInstanceUIDs is on its way. Raises SQLAlchemyError."""
        with self._engine.begin() as connection:
            arrivals.mark_settled(connection, studies, time.time())
        self.wake()

    def is_known(self, SOPInstanceUID: str) -> bool:
        """Whether the instance is here with its file."""
        with self._engine.connect() as connection:
            row = arrivals_read.instance(connection, SOPInstanceUID)
        return row is not None and row.state != "evicted"

    def wake(self) -> None:
        """The core looks now instead of in a second."""
        with self._telling:
            self._wake()
