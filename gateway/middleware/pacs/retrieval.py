"""One retrieval: what is here is left alone, what is missing is asked for until it is here or the PACS has no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.middleware.header import legal_uid
from gateway.middleware.pacs.errors import PacsAway, PacsError, PacsRefused
from gateway.middleware.pacs.identifiers import tag_name
from gateway.middleware.pacs.peer import Peer, Wanted, by_series, with_tries
from gateway.middleware.pacs.query import MOST_HITS, Progress, Query, Retrieved, value

_MOST_INSTANCES = 20_000
_MOST_SERIES = 5_000
_LIST = 64
"""UIDs in one request: short enough for PACS that keep them in a field of 4,096 characters."""
_ROUNDS = 3
_MOST_SINGLES = 200
"""Of these, so many instances are asked for one by one."""
_TELL_S = 0.2
_SERIES_UID, _INSTANCE_UID, _CLASS_UID = map(tag_name, ("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))


class Store(Protocol):
    """What a retrieval asks of the gateway's own store. All of it blocks; serves many threads."""

    def here(self, StudyInstanceUID: str, SeriesInstanceUID: str) -> dict[str, bool]:
        """SOPInstanceUID of each instance that is known: whether its file is here, too, and not evicted."""

    def series_of(self, SOPInstanceUIDs: Sequence[str]) -> dict[str, tuple[str, str]]:
        """SOPInstanceUID to SeriesInstanceUID and SOPClassUID of instances that are known."""

    def is_whole(self, StudyInstanceUID: str, SeriesInstanceUID: str, since: float) -> str:
        """The PACS from which all of it was fetched after ``since``; empty if it was not."""

    def note_begun(self, StudyInstanceUID: str, SeriesInstanceUID: str, pacs: str) -> None:
        """Something of it is fetched now: until one of the two below is called it counts as cut."""

    def note_whole(self, StudyInstanceUID: str, SeriesInstanceUID: str, pacs: str) -> None:
        """All that this PACS has is here."""

    def note_over(self, StudyInstanceUID: str, SeriesInstanceUID: str) -> None:
        """Not all of it is here, and asking again brings no more: it was refused, by the PACS or at the door."""

    def note_use(self, StudyInstanceUID: str) -> None:
        """It is wanted now: what is evicted next is something else."""

    def settle(self, StudyInstanceUID: str) -> None:
        """Nothing more of it is on its way."""

    def note_asked(self, transaction: str, pacs: str, SOPInstanceUIDs: Sequence[str]) -> None:
        """A PACS is asked to keep these: its answer is to find them waiting."""


@dataclass(slots=True)
class Inventory:
    """What a PACS has of a study, or of one series: SOPInstanceUID to SeriesInstanceUID, and to SOPClassUID."""

    series: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    def members(self, wanted: Wanted) -> set[str]:
        """The instances for which ``wanted`` asks."""
        within = wanted.SeriesInstanceUID
        return set(wanted.instances) or {uid for uid, place in self.series.items() if place == within or not within}

    def wanted(self, missing: set[str], batch: int) -> list[Wanted]:
        """The requests that bring exactly ``missing``: one where that is everything."""
        if missing and len(missing) == len(self.series) and batch > 1:
            several = sorted(set(self.series.values()))
            return [Wanted(several[0] if len(several) == 1 else "", (), frozenset(filter(None, self.classes.values())))]
        found = []
        for series, instances in by_series(self.series, missing, batch):
            members = instances or [one for one, place in self.series.items() if place == series]
            classes = frozenset(name for one in members if (name := self.classes.get(one, "")))
            found.append(Wanted(series, tuple(instances), classes))
        return found


@dataclass(slots=True)
class Scope:
    """What is wanted."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    pacs: str
    must_ask: bool


class Retrieval:
    """One run, in one thread."""

    def __init__(
        self,
        scope: Scope,
        peers: Sequence[Peer],
        store: Store,
        fresh_s: float,
        tell: Callable[[Progress], None],
        stop: threading.Event,
    ) -> None:
        self._scope = scope
        self._peers = peers
        self._store = store
        self._fresh_s = fresh_s
        self._tell = tell
        self._stop = stop
        self._at_first = 0
        self._told_at = 0.0
        self._inventory = Inventory()

    def run(self) -> Retrieved:
        """Raises PacsError only where nothing at all can be said; see ``Retrieved`` for all else."""
        scope = self._scope
        self._at_first = len(self._here())
        if self._at_first:
            self._store.note_use(scope.StudyInstanceUID)
        whole = self._store.is_whole(scope.StudyInstanceUID, scope.SeriesInstanceUID, time.time() - self._fresh_s)
        if whole and not scope.must_ask and (done := self._from_what_is_known(whole)):
            return done
        reasons = []
        # One that was away a moment ago comes last, and is not waited for.
        for peer in sorted(self._peers, key=lambda peer: peer.rests):
            tries = 1 if peer.rests else peer.settings.tries
            try:
                inventory = with_tries(tries, lambda peer=peer: take_stock(peer, scope), self._stop)  # type: ignore[misc]
            except PacsError as error:
                reasons.append(f"{peer.name}: {error}")
                continue
            if inventory.series:
                self._inventory = inventory
                return self._fetch(peer)
        return self._nobody_has_it("; ".join(reasons))

    def _nobody_has_it(self, reason: str) -> Retrieved:
        here = len(self._here())
        if here:
            return Retrieved("partial" if reason else "complete", here, here, 0, "", reason)
        return Retrieved("absent", 0, 0, 0, "", reason)

    def _from_what_is_known(self, pacs: str) -> Retrieved | None:
        """It was whole a short while ago: no PACS is asked, unless something was evicted since; then for just that."""
        scope = self._scope
        known = self._store.here(scope.StudyInstanceUID, scope.SeriesInstanceUID)
        if not known:
            return None  # a series that its study does not have, or did not have then
        evicted = [uid for uid, is_here in known.items() if not is_here]
        if not evicted:
            self._report(known, must=True)
            return Retrieved("complete", len(known), len(known))
        peer = next((one for one in self._peers if one.name == pacs), None)
        if peer is None:
            return None
        places = self._store.series_of(list(known))
        self._inventory.series = {uid: series for uid, (series, _) in places.items()}
        self._inventory.classes = {uid: name for uid, (_, name) in places.items()}
        return self._fetch(peer)

    def _here(self) -> set[str]:
        scope = self._scope
        known = self._store.here(scope.StudyInstanceUID, scope.SeriesInstanceUID)
        return {uid for uid, is_here in known.items() if is_here}

    def _missing(self) -> set[str]:
        return self._inventory.series.keys() - self._here()

    def _fetch(self, peer: Peer) -> Retrieved:
        """Whole series first; what did not come of them by its UID (level IMAGE), as long as that brings something."""
        scope = self._scope
        reason, was_cut = "", False
        missing = self._missing()
        if missing:
            self._store.note_begun(scope.StudyInstanceUID, scope.SeriesInstanceUID, peer.name)
        self._report(missing=missing, must=True)
        for number in range(_ROUNDS):
            if not missing or self._stop.is_set():
                break
            try:
                # A PACS may end a whole request at the first instance that is refused: the last round asks one by one.
                is_last = number == _ROUNDS - 1
                for wanted in self._inventory.wanted(missing, 1 if is_last else _LIST):
                    self._fetch_one(peer, wanted, is_first=number == 0)
                reason = "it did not send them, or they were refused at the door: see `mpacs-gateway quarantine list`"
            except PacsError as error:
                reason = str(error)
                if was_cut := isinstance(error, PacsAway):
                    missing = self._missing()
                    break
            missing = self._missing()
            self._report(missing=missing, must=True)
            if len(missing) > _MOST_SINGLES and number == _ROUNDS - 2:
                break
        self._store.settle(scope.StudyInstanceUID)
        total = len(self._inventory.series)
        here = total - len(missing)
        fetched = max(0, len(self._here()) - self._at_first)
        if not missing:
            self._store.note_whole(scope.StudyInstanceUID, scope.SeriesInstanceUID, peer.name)
            return Retrieved("complete", here, total, fetched, peer.name)
        if not was_cut and not self._stop.is_set():
            self._store.note_over(scope.StudyInstanceUID, scope.SeriesInstanceUID)
        lacking = f"{len(missing)} of {total} instances are missing: {peer.name}: {reason}"
        return Retrieved("partial" if here else "absent", here, total, fetched, peer.name, lacking)

    def _fetch_one(self, peer: Peer, wanted: Wanted, is_first: bool) -> None:
        """Raises PacsError after as many tries as are set; each asks only for what is still missing."""
        left = [wanted]

        def attempt() -> None:
            while left:
                one = left[0]
                try:
                    with peer.turn() as way:
                        way.fetch(self._scope.StudyInstanceUID, one, self._report)
                except PacsAway:
                    left[:1] = self._inventory.wanted(self._missing() & self._inventory.members(one), _LIST)
                    raise
                left.pop(0)

        with_tries(peer.settings.tries if is_first else 1, attempt, self._stop)

    def _report(self, _: object = None, missing: set[str] | None = None, must: bool = False) -> None:
        now = time.monotonic()
        if not must and now - self._told_at < _TELL_S:
            return
        self._told_at = now
        here = len(self._here())
        total = len(self._inventory.series)
        if total:
            lacking = self._missing() if missing is None else missing
            self._tell(Progress(total - len(lacking), total, max(0, here - self._at_first)))
        else:
            self._tell(Progress(here, here))


def take_stock(peer: Peer, scope: Scope) -> Inventory:
    """What the PACS has: its series, then their instances (PS3.4 section C.6.2.1). Empty: it does not have it.

    Raises PacsError; PacsRefused where it has more than anybody could show.
    """
    found = Inventory()
    filters = {"StudyInstanceUID": scope.StudyInstanceUID}
    if scope.SeriesInstanceUID:
        filters["SeriesInstanceUID"] = scope.SeriesInstanceUID
    with peer.turn(is_search=True) as way:
        several = list(way.find(Query("SERIES", filters, max(MOST_HITS, _MOST_SERIES))))
        for hit in several:
            series = value(hit, _SERIES_UID)
            if not legal_uid(series):
                continue
            below = {"StudyInstanceUID": scope.StudyInstanceUID, "SeriesInstanceUID": series}
            for one in way.find(Query("IMAGE", below, _MOST_INSTANCES)):
                uid = value(one, _INSTANCE_UID)
                if legal_uid(uid):
                    found.series[uid] = series
                    found.classes[uid] = value(one, _CLASS_UID)
                if len(found.series) > _MOST_INSTANCES:
                    raise PacsRefused(f"the study has more than {_MOST_INSTANCES} instances: retrieve it by series")
    return found
