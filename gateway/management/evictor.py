"""Keeps the stores within their quotas: what was not used for the longest time goes. The PACS is the archive.

Nothing goes that is being served, that still arrives, or of which something is still to be made. Studies within their
announcement window go only where a quota leaves no other way, and that is said. All methods block.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy.engine import Engine

from gateway.management.index import uses
from gateway.management.index.counting import ARCHIVE_BYTES, get
from gateway.management.index.layers import Stage
from gateway.management.index.uses import StoredFile
from gateway.management.object_store import ObjectStore
from gateway.management.quarantine_quota import QuarantineQuota
from gateway.management.quota import LOW_WATER, Limits, free_bytes
from gateway.middleware.archive import Archive

_log = logging.getLogger(__name__)

SERVED_S = 60.0
"""An object counts as being served so long after it was asked for (docs/protocol.md section 11)."""
RESTING_S = 600.0
"""A layer that was made on request is left alone so long after its last use."""
_LOOK_AT = 256
_FILES_AT_ONCE = 64
_SWEEP_AT_ONCE = 500
_SAID_FOR_S = 600.0
_T = TypeVar("_T")


@dataclass(slots=True)
class _Store:
    """What is said of one of the two stores."""

    used: int = 0
    squeezed_at: float = float("-inf")
    is_over: bool = False


class Evictor:
    """One for a gateway: of several processes, the core alone evicts."""

    def __init__(
        self,
        engine: Engine,
        archive: Archive,
        store: ObjectStore,
        limits: Limits,
        window_days: float,
        layers: Collection[Stage],
        on_evicted: Callable[[], None] = lambda: None,
    ) -> None:
        """``layers`` are those that are made here. ``on_evicted`` is called when objects' files went."""
        self._engine = engine
        self._archive = archive
        self._store = store
        self.limits = limits
        self._window_s = window_days * 86400
        self._layers = {*layers, *("original",)}
        self.on_evicted = on_evicted
        self.measure: Callable[[], Limits] | None = None
        """Looks at the disk again, which may have grown; OSError where that cannot be done."""
        self.is_stopping = False
        """Set where a long sweep must not hold up the process's end."""
        self._served: dict[str, float] = {}
        self._noted: dict[str, float] = {}
        self._archive_state, self._objects_state = _Store(), _Store()
        self._quarantine = QuarantineQuota(engine, archive, limits.quarantine)

    # ── uses ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def served(self, object_id: str) -> None:
        """Parts of the object were asked for; costs nothing, is written down by ``note``."""
        self._served[object_id] = self._noted[object_id] = time.time()

    def note(self) -> None:
        """Write down what was served since the last time."""
        noted, self._noted = self._noted, {}
        since = time.time() - SERVED_S
        for object_id in [object_id for object_id, at in list(self._served.items()) if at < since]:
            self._served.pop(object_id, None)
        with self._engine.begin() as connection:
            uses.note_objects(connection, dict(noted))
            uses.sweep(connection)

    # ── a start ───────────────────────────────────────────────────────────────────────────────────────────────────

    def count(self) -> None:
        """Count the archive once; from here on every arrival and eviction keeps the sum."""
        with self._engine.begin() as connection:
            uses.count_archive(connection)

    def sweep(self) -> int:
        """Remove files of archive and quarantine that the index does not know, which a cut left; returns how many."""
        swept = self._quarantine.sweep()
        for digests in _batches(self._archive.digests(), _SWEEP_AT_ONCE):
            if self.is_stopping:
                break
            with self._engine.connect() as connection:
                strays = set(digests) - uses.referenced(connection, digests)
            for digest in sorted(strays):
                # Held by whoever is between placing a file and entering it, so what is not known now never will be.
                with self._archive.holding(digest), self._engine.connect() as connection:
                    if not uses.referenced(connection, [digest]):
                        self._archive.remove(digest)
                        swept += 1
        return swept

    # ── the round ─────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> None:
        """Evict what is above the quotas, and what the reserve lacks."""
        if self.measure is not None:
            self.limits = self.measure()
            self._quarantine.limit = self.limits.quarantine
        lacking = self.limits.reserve - free_bytes(self._archive.root)
        if lacking > 0:
            # The disk may be filled by others: what is announced does not go for that.
            lacking -= self._evict_objects(lacking, within_window=False)
            self._evict_files(lacking, within_window=False)
        with self._engine.connect() as connection:
            self._archive_state.used = get(connection, ARCHIVE_BYTES)
        self._objects_state.used = self._store.used_bytes
        self._hold(self._objects_state, self.limits.objects, self._evict_objects, "sealed objects")
        self._hold(self._archive_state, self.limits.archive, self._evict_files, "the archive")
        self._quarantine.hold()

    def _hold(self, state: _Store, limit: int, evict: Callable[[int, bool], int], what: str) -> None:
        if state.used > limit:
            target = state.used - int(limit * LOW_WATER)
            freed = evict(target, False)
            if freed < state.used - limit and (squeezed := evict(state.used - limit - freed, True)):
                freed += squeezed
                if time.monotonic() - state.squeezed_at > _SAID_FOR_S:
                    _log.warning("the quota of %s does not hold the announcement window: some of it was evicted", what)
                state.squeezed_at = time.monotonic()
            state.used -= freed
        is_over = state.used > limit
        if is_over and not state.is_over:
            _log.warning("%s are above their quota, and nothing can be evicted now", what)
        state.is_over = is_over

    def _evict_objects(self, lacking: int, within_window: bool) -> int:
        """Evict until ``lacking`` bytes are free, or nothing is left to evict; the bytes that became free."""
        now, freed = time.time(), 0
        while freed < lacking:
            with self._engine.begin() as connection:
                found = uses.evictable_objects(connection, now - self._window_s, now - RESTING_S, _LOOK_AT)
                going: list[str] = []
                size = 0
                for one, is_open in found:
                    if freed + size >= lacking:
                        break
                    if (is_open and not within_window) or now - self._served.get(one.object, 0.0) < SERVED_S:
                        continue
                    going.append(one.object)
                    size += one.size
                uses.evict_objects(connection, going)
            if not going:
                break
            freed += sum(self._store.remove(object_id) for object_id in going)
            self.on_evicted()
        return freed

    def _evict_files(self, lacking: int, within_window: bool) -> int:
        """The same of the archive."""
        now, freed = time.time(), 0
        if lacking <= 0:
            return 0
        with self._engine.connect() as connection:
            found = uses.evictable_studies(connection, now - self._window_s, self._layers, _LOOK_AT)
        for study_id, is_open in found:
            if freed >= lacking:
                break
            if is_open and not within_window:
                break  # those within the window come last
            freed += self._evict_study(study_id)
        return freed

    def _evict_study(self, study_id: int) -> int:
        """The whole study: half of one would be of no use to anybody."""
        with self._engine.connect() as connection:
            files = uses.evictable_files(connection, study_id, self._layers)
        return sum(self._evict_group(study_id, group) for group in _batches(files, _FILES_AT_ONCE))

    def _evict_group(self, study_id: int, group: list[StoredFile]) -> int:
        """Note, then remove: a cut between them leaves files that the next start sweeps."""
        with self._archive.holding(*(file.digest for file in group)):
            with self._engine.begin() as connection:
                # Something may have come to need them since they were looked at.
                still = {one.instance_id for one in uses.evictable_files(connection, study_id, self._layers)}
                going = [file for file in group if file.instance_id in still]
                uses.evict_files(connection, going)
            for file in going:
                self._archive.remove(file.digest)
        return sum(file.size_bytes for file in going)

    # ── what is said ──────────────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> dict[str, Any]:
        """Use and quota in bytes; ``squeezed``: what is announced had to go a short while ago."""
        now = time.monotonic()
        return {
            name: {
                "used": state.used,
                "quota": limit,
                "squeezed": now - state.squeezed_at < _SAID_FOR_S,
                "over": state.is_over,
            }
            for name, state, limit in (
                ("archive", self._archive_state, self.limits.archive),
                ("objects", self._objects_state, self.limits.objects),
            )
        } | {"quarantine": {**self._quarantine.status(), "squeezed": False, "over": False}}


def _batches(items: Iterable[_T], count: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, count)):
        yield batch
