"""Keeps the quarantine within its quota, the oldest go first: nobody may fill the disk with what is refused."""

import logging
import time
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from gateway.management.index import arrivals_tables as t
from gateway.management.index.counting import QUARANTINE_DROPPED, add, get
from gateway.management.quota import LOW_WATER
from gateway.middleware.archive import Archive

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 64
_STRAY_S: Final = 3600.0
"""A file is placed before it is entered: one that is so old and not entered never will be."""


class QuarantineQuota:
    """One for a gateway. All methods block."""

    def __init__(self, engine: Engine, archive: Archive, limit: int) -> None:
        """``limit`` in bytes, of refused files; what was kept apart or not rendered lies in the archive."""
        self._engine = engine
        self._archive = archive
        self.limit = limit
        self._status: dict[str, Any] = {}

    def hold(self) -> None:
        """Drop the oldest until a little less than the quota is used."""
        dropped, used = 0, self._look()
        target = used - int(self.limit * LOW_WATER) if used > self.limit else 0
        while target > 0 and (freed := self._drop_oldest(target)):
            dropped += freed[0]
            target -= freed[1]
        if dropped:
            _log.warning("%d refused files were dropped, the oldest first: the quarantine was above its quota", dropped)
            self._look()

    def _look(self) -> int:
        with self._engine.connect() as connection:
            files, used = connection.execute(
                sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(t.quarantine.c.size_bytes), 0))
            ).one()
            dropped = get(connection, QUARANTINE_DROPPED)
        self._status = {"used": int(used), "files": int(files), "dropped": dropped}
        return int(used)

    def _drop_oldest(self, lacking: int) -> tuple[int, int] | None:
        """``(files, bytes)`` that went, a few at once; None where nothing is left."""
        with self._engine.connect() as connection:
            query = sa.select(t.quarantine.c.digest, t.quarantine.c.size_bytes)
            oldest = connection.execute(query.order_by(t.quarantine.c.refused_at, t.quarantine.c.id).limit(_AT_ONCE))
            going: dict[str, int] = {}
            for digest, size in oldest:
                if sum(going.values()) >= lacking:
                    break
                going[digest] = int(size)
        if not going:
            return None
        with self._archive.holding(*going):
            with self._engine.begin() as connection:
                connection.execute(sa.delete(t.quarantine).where(t.quarantine.c.digest.in_(list(going))))
                add(connection, QUARANTINE_DROPPED, len(going))
            for digest in going:
                self._archive.drop_quarantined(digest)
        return len(going), sum(going.values())

    def sweep(self) -> int:
        """Remove files that the index does not know, which a cut left; returns how many."""
        swept = 0
        for digest, changed_at in self._archive.quarantined():
            if changed_at < time.time() - _STRAY_S:
                with self._archive.holding(digest), self._engine.connect() as connection:
                    if not _is_known(connection, digest):
                        self._archive.drop_quarantined(digest)
                        swept += 1
        return swept

    def status(self) -> dict[str, Any]:
        """Use and quota in bytes, how many files there are, and how many were ever dropped for want of room."""
        return {"used": 0, "files": 0, "dropped": 0, **self._status, "quota": self.limit}


def _is_known(connection: Connection, digest: str) -> bool:
    return connection.execute(sa.select(t.quarantine.c.id).where(t.quarantine.c.digest == digest)).first() is not None
