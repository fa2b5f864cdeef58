"""The receiving end of one object, without IO: what to ask for, what came, what to ask for again.

The caller passes in the clock, sends what ``plan`` returns, hands over what arrives and keeps what comes back. A
segment is given back only once it is shown to be the announced one, in whatever order segments and pages come.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from wire import manifest
from wire.bits import Bitmap
from wire.errors import DigestMismatch, Malformed
from wire.limits import DIGEST_BYTES, MAX_CREDIT, MAX_SEGMENT_BYTES, PAGE_DIGESTS
from wire.pace import Pace

_MAX_HELD = 2 * MAX_CREDIT
_MAX_ASKED_PAGES = 16
_PROBES = 4


@dataclass(frozen=True, slots=True)
class Ask:
    """What to ask for now: manifest pages, segments (ascending), and whether they were asked for before and lost."""

    pages: tuple[int, ...]
    segments: tuple[int, ...]
    again: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A verified segment, to be written."""

    index: int
    ciphertext: bytes


class Receiver:
    """State of one object that is being received. Each call costs the same however large the object is."""

    def __init__(self, segments: int, announced: bytes, pace: Pace, have: Bitmap | None = None) -> None:
        """``announced`` is the manifest digest of the signed announcement; ``have`` what was kept earlier."""
        self.have = have if have is not None else Bitmap(segments)
        if self.have.size != segments:
            raise Malformed("a bitmap of another object")
        self.refetched = 0
        self._segments = segments
        self._announced = announced
        self._pace = pace
        self._digests: dict[int, bytes] = {}
        # What is in flight, and since when. Both stand in the order of asking, so the first is the first to be late.
        self._pages_asked: dict[int, float] = {}
        self._asked: dict[int, float] = {}
        # What was asked for and did not come in time: no longer in flight, to be asked for again.
        self._pages_lost: dict[int, None] = {}
        self._lost: dict[int, None] = {}
        self._asked_again: set[int] = set()
        self._pages_asked_again: set[int] = set()
        # Segments that came before the page that vouches for them, by page.
        self._held: dict[int, dict[int, bytes]] = {}
        self._held_count = 0
        # Latest arrival of anything that had been asked for, as (asked at, came at): while earlier asks still come in,
        # later ones are queued behind them and not lost.
        self._progress: tuple[float, float] = (float("-inf"), float("-inf"))
        self._silent_since = float("-inf")
        self._probes_due = 0

    @property
    def complete(self) -> bool:
        """Whether every segment is here."""
        return self.have.complete

    @property
    def in_flight(self) -> int:
        """Segments asked for that have not come and are not late."""
        return len(self._asked)

    def restart(self) -> None:
        """The link was cut: nothing is in flight any more."""
        self._asked.clear()
        self._pages_asked.clear()
        self._asked_again.clear()
        self._pages_asked_again.clear()
        self._lost.clear()
        self._probes_due = 0
        self._pages_lost.clear()

    # ── what to ask ───────────────────────────────────────────────────────────────────────────────────────────────

    def plan(self, now: float, budget: int, order: Iterable[int] | None = None) -> Ask | None:
        """What to ask for now, at most ``budget`` segments in flight for this object; None if nothing is to be asked.

        Call it until it returns None: what is asked for again and what is asked for first are two asks. Call it when
        something arrived, at ``next_deadline``, and when ``budget`` was zero and no longer is.
        ``order`` lists the segments by urgency (what is on the screen first); without it they come ascending.
        """
        self._expire(now)
        room = budget - len(self._asked)
        if budget > 0:
            room = max(room, self._probes_due)
        again = self._plan_again(now, room)
        if again is not None:
            return again
        # Asking at half of the credit keeps the flow going without a request for every segment.
        if self._asked and room < (budget + 1) // 2:
            return None
        chosen = self._choose(room, order)
        pages = self._choose_pages(chosen)
        if not chosen and not pages:
            return None
        return self._note_asked(now, pages, chosen, again=False)

    def _expire(self, now: float) -> None:
        late = self._late(now, self._asked)
        late_pages = self._late(now, self._pages_asked)
        if not late and not late_pages:
            return
        self._pace.lost(now)
        overtaken = [index for index in late if self._asked[index] < self._progress[0]]
        # Nothing came for the others: the gateway fell, or the link is so slow that all of it is still on its way. Only
        # the last few are asked for again. If they come first, what was asked for before them is lost; if it comes
        # before them, it was not, and the slow link carries a few segments twice instead of all.
        probes = late[len(overtaken) :][-_PROBES:]
        if probes:
            self._silent_since = now
        # They are asked for even where the credit has shrunk below what waits on.
        self._probes_due = len(probes)
        for index in (*overtaken, *probes):
            del self._asked[index]
        self._lost = dict.fromkeys((*probes, *overtaken, *self._lost))
        for page in late_pages:
            del self._pages_asked[page]
            self._pages_lost[page] = None

    def _late(self, now: float, asked: dict[int, float]) -> list[int]:
        """The late ones, at the front: what was asked for later is late later, so the first that is not ends it."""
        return list(itertools.takewhile(lambda index: now >= self._deadline(asked[index]), asked))

    def _plan_again(self, now: float, room: int) -> Ask | None:
        segments = list(itertools.islice(self._lost, max(room, 0)))
        pages = list(self._pages_lost)[:_MAX_ASKED_PAGES]
        if not segments and not pages:
            return None
        for index in segments:
            del self._lost[index]
        for page in pages:
            del self._pages_lost[page]
        self._pages_asked_again.update(pages)
        self._asked_again.update(segments)
        self._probes_due = 0
        return self._note_asked(now, pages, segments, again=True)

    def _note_asked(self, now: float, pages: list[int], segments: list[int], again: bool) -> Ask:
        self._asked.update(dict.fromkeys(segments, now))
        self._pages_asked.update(dict.fromkeys(pages, now))
        return Ask(tuple(sorted(pages)), tuple(sorted(segments)), again)

    def _choose(self, room: int, order: Iterable[int] | None) -> list[int]:
        chosen: dict[int, None] = {}
        for index in self.have.missing() if order is None else order:
            if len(chosen) >= room:
                break
            if not 0 <= index < self._segments or index in self.have or index in self._asked or index in self._lost:
                continue
            if index not in self._held.get(index // PAGE_DIGESTS, ()):
                chosen[index] = None
        return list(chosen)

    def _choose_pages(self, chosen: list[int]) -> list[int]:
        needed = dict.fromkeys((*self._held, *(index // PAGE_DIGESTS for index in chosen)))
        known = (self._digests, self._pages_asked, self._pages_lost)
        return [page for page in needed if not any(page in pages for pages in known)][:_MAX_ASKED_PAGES]

    def _deadline(self, asked: float) -> float:
        progress_asked, progress_came = self._progress
        if asked < progress_asked:
            # Overtaken by what was asked for later: on a link that keeps its order it was dropped.
            return asked + self._pace.overtaken_s
        return max(asked, progress_came, self._silent_since) + self._pace.repair_s

    def next_deadline(self) -> float | None:
        """When ``plan`` should be called again at the latest, if nothing arrives; None if nothing is in flight."""
        first = [next(iter(asked.values())) for asked in (self._asked, self._pages_asked) if asked]
        return self._deadline(min(first)) if first else None

    # ── what arrives ──────────────────────────────────────────────────────────────────────────────────────────────

    def page(self, now: float, index: int, payload: bytes) -> list[Kept]:
        """A manifest page came. Returns the segments that waited for it; DigestMismatch if it is not the announced."""
        if index in self._digests:
            return []
        self._digests[index] = manifest.check_page(self._announced, index, self._segments, payload)
        asked = self._pages_asked.pop(index, None)
        self._pages_lost.pop(index, None)
        # A page stands before the segments that were asked for with it: after a second ask, nobody knows which came.
        self._note_progress(now, self._progress[0] if index in self._pages_asked_again else asked)
        held = self._held.pop(index, {})
        self._held_count -= len(held)
        kept = []
        for segment, ciphertext in held.items():
            if self._fits(segment, ciphertext):
                self.have.add(segment)
                kept.append(Kept(segment, ciphertext))
            else:
                self._lost[segment] = None
        return kept

    def segment(self, now: float, index: int, payload: bytes) -> list[Kept]:
        """A segment came, asked for or not. Returns it once verified; DigestMismatch if it is not the announced."""
        if not 0 <= index < self._segments:
            raise Malformed("there is no such segment")
        if index in self.have:
            self.refetched += 1
            if index in self._asked_again:
                # The second copy of what was asked for twice: more may be queued behind it.
                self._note_progress(now, self._progress[0])
            return []
        page = index // PAGE_DIGESTS
        if page not in self._digests:
            self._hold(now, page, index, payload)
            return []
        if not self._fits(index, payload):
            raise DigestMismatch("a segment that is not the announced one")
        self._arrive(now, index)
        self.have.add(index)
        return [Kept(index, payload)]

    def _hold(self, now: float, page: int, index: int, payload: bytes) -> None:
        # The bound is on memory: what no page vouches for yet may be anybody's.
        if self._held_count >= _MAX_HELD or len(payload) > MAX_SEGMENT_BYTES:
            return
        held = self._held.setdefault(page, {})
        if index in held:
            return
        held[index] = payload
        self._held_count += 1
        self._arrive(now, index)

    def _fits(self, index: int, payload: bytes) -> bool:
        digests = self._digests[index // PAGE_DIGESTS]
        start = index % PAGE_DIGESTS * DIGEST_BYTES
        return manifest.segment_digest(payload) == digests[start : start + DIGEST_BYTES]

    def _arrive(self, now: float, index: int) -> None:
        asked = self._asked.pop(index, None)
        self._lost.pop(index, None)
        # Karn's rule: what was asked for twice says nothing about the round trip.
        if asked is not None and index not in self._asked_again:
            self._pace.arrived(now - asked)
        self._note_progress(now, asked)

    def _note_progress(self, now: float, asked: float | None) -> None:
        if asked is not None and asked >= self._progress[0]:
            self._progress = (asked, now)
