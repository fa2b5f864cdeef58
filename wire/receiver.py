"""The receiving end of one object, without IO: what to ask for, what came, what to ask for again.

The caller passes in the clock, sends what ``plan`` returns, hands over what arrives and keeps what comes back. A
segment is given back only once it is shown to be the announced one, in whatever order segments and pages come.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from wire import manifest
from wire.bits import Bitmap
from wire.errors import DigestMismatch, Malformed
from wire.limits import DIGEST_BYTES, MAX_CREDIT, PAGE_DIGESTS
from wire.pace import Pace

_MAX_HELD = 2 * MAX_CREDIT
_MAX_ASKED_PAGES = 16


@dataclass(frozen=True, slots=True)
class Ask:
    """What to ask for now: manifest pages, segments (ascending), and whether some were asked for before."""

    pages: tuple[int, ...]
    segments: tuple[int, ...]
    again: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A verified segment, to be written."""

    index: int
    ciphertext: bytes


class Receiver:
    """State of one object that is being received."""

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
        self._pages_asked: dict[int, float] = {}
        self._asked: dict[int, float] = {}
        self._asked_again: set[int] = set()
        self._held: dict[int, bytes] = {}
        # Latest arrival of anything that had been asked for, as (asked at, came at): while earlier asks still come in,
        # later ones are queued behind them and not lost.
        self._progress: tuple[float, float] = (float("-inf"), float("-inf"))

    @property
    def complete(self) -> bool:
        """Whether every segment is here."""
        return self.have.complete

    @property
    def in_flight(self) -> int:
        """Segments asked for that have not come."""
        return len(self._asked)

    def restart(self) -> None:
        """The link was cut: nothing is in flight any more."""
        self._asked.clear()
        self._pages_asked.clear()

    # ── what to ask ───────────────────────────────────────────────────────────────────────────────────────────────

    def plan(self, now: float, budget: int, order: Iterable[int] | None = None) -> Ask | None:
        """What to ask for now, at most ``budget`` segments in flight for this object; None if nothing is to be asked.

        ``order`` lists the segments by urgency (what is on the screen first); without it they come ascending.
        """
        expired = [index for index, asked in self._asked.items() if self._is_late(now, asked)]
        late_pages = [page for page, asked in self._pages_asked.items() if self._is_late(now, asked)]
        if expired or late_pages:
            self._pace.lost(now)
        room = budget - (len(self._asked) - len(expired))
        # Asking at half of the credit keeps the flow going without a request for every segment.
        if not expired and not late_pages and self._asked and room < (budget + 1) // 2:
            return None
        chosen = self._choose(expired, room, order)
        pages = self._choose_pages(chosen, late_pages)
        if not chosen and not pages:
            return None
        again = bool(late_pages) or any(index in self._asked for index in chosen)
        self._asked_again.update(index for index in chosen if index in self._asked)
        self._asked.update((index, now) for index in chosen)
        self._pages_asked.update((page, now) for page in pages)
        return Ask(tuple(pages), tuple(sorted(chosen)), again)

    def _choose(self, expired: list[int], room: int, order: Iterable[int] | None) -> list[int]:
        chosen = expired[: max(room, 0)]
        for index in self.have.missing() if order is None else order:
            if len(chosen) >= room:
                break
            if index not in self._asked and index not in self.have and index not in self._held:
                chosen.append(index)
        return chosen

    def _choose_pages(self, chosen: list[int], late: list[int]) -> list[int]:
        needed = dict.fromkeys(late)
        needed.update(dict.fromkeys(index // PAGE_DIGESTS for index in (*chosen, *self._held)))
        waiting = self._pages_asked.keys() - set(late)
        return sorted(page for page in needed if page not in self._digests and page not in waiting)[:_MAX_ASKED_PAGES]

    def _is_late(self, now: float, asked: float) -> bool:
        progress_asked, progress_came = self._progress
        since = max(asked, progress_came) if progress_asked <= asked else asked
        return now - since > self._pace.repair_s

    def next_deadline(self) -> float | None:
        """When ``plan`` should be called again at the latest, if nothing arrives."""
        waiting = (*self._asked.values(), *self._pages_asked.values())
        if not waiting:
            return None
        return max(min(waiting), self._progress[1]) + self._pace.repair_s

    # ── what arrives ──────────────────────────────────────────────────────────────────────────────────────────────

    def page(self, now: float, index: int, payload: bytes) -> list[Kept]:
        """A manifest page came. Returns the segments that waited for it; DigestMismatch if it is not the announced."""
        if index in self._digests:
            return []
        self._digests[index] = manifest.check_page(self._announced, index, self._segments, payload)
        self._note(now, self._pages_asked.pop(index, None))
        held = [segment for segment in self._held if segment // PAGE_DIGESTS == index]
        kept = []
        for segment in held:
            ciphertext = self._held.pop(segment)
            if self._fits(segment, ciphertext):
                self.have.add(segment)
                kept.append(Kept(segment, ciphertext))
        return kept

    def segment(self, now: float, index: int, payload: bytes) -> list[Kept]:
        """A segment came, asked for or not. Returns it once verified; DigestMismatch if it is not the announced."""
        if not 0 <= index < self._segments:
            raise Malformed("there is no such segment")
        if index in self.have:
            self.refetched += 1
            self._asked.pop(index, None)
            return []
        if index // PAGE_DIGESTS not in self._digests:
            if len(self._held) < _MAX_HELD:
                self._held[index] = payload
                self._arrive(now, index)
            return []
        if not self._fits(index, payload):
            raise DigestMismatch("a segment that is not the announced one")
        self._arrive(now, index)
        self.have.add(index)
        return [Kept(index, payload)]

    def _fits(self, index: int, payload: bytes) -> bool:
        digests = self._digests[index // PAGE_DIGESTS]
        start = index % PAGE_DIGESTS * DIGEST_BYTES
        return manifest.segment_digest(payload) == digests[start : start + DIGEST_BYTES]

    def _arrive(self, now: float, index: int) -> None:
        asked = self._asked.pop(index, None)
        # Karn's rule: what was asked for twice says nothing about the round trip.
        if asked is not None and index not in self._asked_again:
            self._pace.arrived(now - asked)
        self._asked_again.discard(index)
        self._note(now, asked)

    def _note(self, now: float, asked: float | None) -> None:
        if asked is not None and asked >= self._progress[0]:
            self._progress = (asked, now)
