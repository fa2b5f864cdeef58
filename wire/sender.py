"""The sending end, without IO: which segment is published next, for all devices that have asked.

Every publish reaches all devices of a recipient that are subscribed to the object. So a segment that several ask for
is published once: askers are gathered for a moment when a flow begins, and a first ask for a segment that was published
while its asker was already known is taken as on its way. What a device asks for *again* was lost for it alone; that
goes through a lane of its own, which takes a bounded share, so that a slow device does not hold up the others.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from wire.limits import MAX_CREDIT

Part = Literal["page", "segment"]
_Item = tuple[Part, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Publish this part of ``object_id`` in the tree ``root``."""

    root: str
    object_id: str
    part: Part
    index: int


@dataclass(slots=True)
class _Flow:
    """One object in one recipient's tree."""

    root: str
    object_id: str
    opens_at: float
    askers: dict[str, float] = field(default_factory=dict)
    pending: dict[_Item, None] = field(default_factory=dict)
    published: dict[_Item, float] = field(default_factory=dict)
    repairs: dict[str, deque[_Item]] = field(default_factory=dict)
    touched: float = 0.0


class Sender:
    """All flows of one gateway. Times in seconds of any steady clock."""

    def __init__(
        self, hold_s: float = 0.15, repeat_s: float = 0.5, repair_share: int = 4, forget_s: float = 60.0
    ) -> None:
        """Gather askers for ``hold_s``; repeat nothing within ``repeat_s``; one of ``repair_share`` is a repair."""
        self._hold_s = hold_s
        self._repeat_s = repeat_s
        self._repair_share = repair_share
        self._forget_s = forget_s
        self._flows: dict[tuple[str, str], _Flow] = {}
        self._order: deque[tuple[str, str]] = deque()
        self._turn = 0

    # ── what is asked ─────────────────────────────────────────────────────────────────────────────────────────────

    def ask(
        self,
        now: float,
        asker: str,
        root: str,
        object_id: str,
        pages: Iterable[int],
        segments: Iterable[int],
        again: bool,
        expected: int = 1,
    ) -> bool:
        """``asker`` (a device and its connection) wants these parts; ``expected`` devices may ask for the same now.

        False if so much is already queued for this asker that the request is not taken.
        """
        self._forget(now)
        flow = self._flows.get((root, object_id))
        if flow is None:
            flow = _Flow(root, object_id, now + (self._hold_s if expected > 1 else 0.0))
            self._flows[root, object_id] = flow
            self._order.append((root, object_id))
        flow.touched = now
        known_since = flow.askers.setdefault(asker, now)
        if len(flow.askers) >= expected:
            flow.opens_at = min(flow.opens_at, now)
        items: list[_Item] = [("page", page) for page in pages]
        items += [("segment", segment) for segment in segments]
        if again and len(flow.repairs.get(asker, ())) + len(items) > 4 * MAX_CREDIT:
            return False
        for item in items:
            self._queue(flow, now, asker, item, known_since, again)
        return True

    def _queue(self, flow: _Flow, now: float, asker: str, item: _Item, known_since: float, again: bool) -> None:
        if item in flow.pending:
            return
        published = flow.published.get(item)
        if published is None:
            flow.pending[item] = None
        elif again:
            lane = flow.repairs.setdefault(asker, deque())
            if now - published >= self._repeat_s and not any(item in queued for queued in flow.repairs.values()):
                lane.append(item)
        elif published < known_since:
            # This asker came after the publish and cannot have it.
            flow.pending[item] = None

    def forget_asker(self, asker: str) -> None:
        """The device is gone: what only it wanted again is not published; what is shared goes on."""
        for flow in self._flows.values():
            flow.askers.pop(asker, None)
            flow.repairs.pop(asker, None)
            if not flow.askers:
                flow.pending.clear()

    def reset(self) -> None:
        """The gateway's own link was cut: nobody has what was being published, and everybody asks anew."""
        self._flows.clear()
        self._order.clear()

    def _forget(self, now: float) -> None:
        for key in [key for key, flow in self._flows.items() if now - flow.touched > self._forget_s]:
            del self._flows[key]
            self._order.remove(key)

    # ── what is published ─────────────────────────────────────────────────────────────────────────────────────────

    def next(self, now: float) -> Piece | None:
        """What to publish now, or None if nothing is due."""
        self._turn += 1
        repair_first = self._turn % self._repair_share == 0
        return self._take(now, repair_first) or self._take(now, not repair_first)

    def _take(self, now: float, repair: bool) -> Piece | None:
        for _ in range(len(self._order)):
            flow = self._flows[self._order[0]]
            self._order.rotate(-1)
            if flow.opens_at > now:
                continue
            item = self._pop_repair(flow) if repair else self._pop_pending(flow)
            if item is not None:
                flow.published[item] = now
                flow.touched = now
                return Piece(flow.root, flow.object_id, *item)
        return None

    @staticmethod
    def _pop_pending(flow: _Flow) -> _Item | None:
        item = next(iter(flow.pending), None)
        if item is not None:
            del flow.pending[item]
        return item

    @staticmethod
    def _pop_repair(flow: _Flow) -> _Item | None:
        for asker, lane in list(flow.repairs.items()):
            # Askers take turns: the one served goes to the end.
            del flow.repairs[asker]
            if lane:
                flow.repairs[asker] = lane
                return lane.popleft()
        return None

    def wake_at(self, now: float) -> float | None:
        """When ``next`` may have something that it has not now: now itself, the opening of a flow, or never."""
        times = [max(flow.opens_at, now) for flow in self._flows.values() if flow.pending or any(flow.repairs.values())]
        return min(times, default=None)
