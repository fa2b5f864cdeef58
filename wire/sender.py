"""The sending end, without IO: which segment is published next, for all devices that have asked.

Every publish reaches all devices of a recipient that are subscribed to the object. So a segment that several ask for
is published once: askers are gathered for a moment when a flow begins, and a first ask for a segment that was published
a short while ago, when its asker was already known, is taken as on its way. What a device asks for *again*, or what
should have reached it long ago, was lost for it alone; that goes through a lane of its own, which takes a bounded
share, so that a slow device does not hold up the others.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from wire.limits import MAX_CREDIT

Part = Literal["page", "segment"]

# Inside, a segment is its index and a page is the complement of its (-1 for page 0): one integer, since a flow
# remembers all that it published.
_Item = int

_LEAST_ON_WAY_S = 2.0
_MOST_ON_WAY_S = 120.0
_ON_WAY_LAGS = 1.5


@dataclass(frozen=True, slots=True)
class Piece:
    """Publish this part of ``object_id`` in the tree ``root``."""

    root: str
    object_id: str
    part: Part
    index: int


@dataclass(slots=True)
class _Asker:
    """A device and its connection: known since, and last heard.

    A slow device's queue at the broker may hold minutes of what others asked for. How long what was published may still
    be on its way is measured: a device asks on when half of what it asked for has come, so the age of ``mark`` (the
    last item of its ask before) is about the time that its queue takes.
    """

    since: float
    heard: float
    mark: _Item | None = None
    on_way_s: float = _LEAST_ON_WAY_S

    def measure(self, now: float, published: dict[_Item, float], items: list[_Item]) -> None:
        was = published.get(self.mark) if self.mark is not None else None
        if was is not None:
            self.on_way_s = min(max(_LEAST_ON_WAY_S, _ON_WAY_LAGS * (now - was)), _MOST_ON_WAY_S)
        self.mark = items[-1] if items else self.mark


@dataclass(slots=True)
class _Flow:
    """One object in one recipient's tree."""

    root: str
    object_id: str
    began: float
    opens_at: float
    touched: float
    waits_for: set[str]
    askers: dict[str, _Asker] = field(default_factory=dict)
    pending: OrderedDict[_Item, None] = field(default_factory=OrderedDict)
    published: dict[_Item, float] = field(default_factory=dict)
    repairs: OrderedDict[str, deque[_Item]] = field(default_factory=OrderedDict)
    repairing: set[_Item] = field(default_factory=set)

    def pop_pending(self) -> _Item:
        return self.pending.popitem(last=False)[0]

    def pop_repair(self) -> _Item:
        # Askers take turns: the one served goes to the end. A lane that is empty does not stand in ``repairs``.
        asker, lane = self.repairs.popitem(last=False)
        item = lane.popleft()
        if lane:
            self.repairs[asker] = lane
        self.repairing.discard(item)
        return item

    def drop(self, asker: str) -> None:
        self.askers.pop(asker, None)
        self.repairing.difference_update(self.repairs.pop(asker, ()))
        if not self.askers:
            self.pending.clear()


class _Rota:
    """The flows that have something to publish, taking turns."""

    def __init__(self, repair: bool) -> None:
        self._repair = repair
        self._turns: OrderedDict[tuple[str, str], _Flow] = OrderedDict()

    def _has_work(self, flow: _Flow) -> bool:
        return bool(flow.repairs if self._repair else flow.pending)

    def add(self, flow: _Flow) -> None:
        """Let ``flow`` take turns while it has work."""
        key = (flow.root, flow.object_id)
        # An earlier flow of the same object may still stand here, forgotten and empty.
        if self._has_work(flow) and self._turns.get(key) is not flow:
            self._turns[key] = flow

    def take(self, now: float) -> tuple[_Flow, _Item] | None:
        """The next flow and its item, or None if no open flow has any."""
        for _ in range(len(self._turns)):
            key, flow = self._turns.popitem(last=False)
            if not self._has_work(flow):
                continue
            if flow.opens_at > now:
                self._turns[key] = flow
                continue
            item = flow.pop_repair() if self._repair else flow.pop_pending()
            if self._has_work(flow):
                self._turns[key] = flow
            return flow, item
        return None

    def opens_at(self) -> float | None:
        """When the first flow with work opens, or has opened."""
        return min((flow.opens_at for flow in self._turns.values() if self._has_work(flow)), default=None)

    def clear(self) -> None:
        self._turns.clear()


class Sender:
    """All flows of one gateway. Times in seconds of any steady clock."""

    def __init__(
        self, hold_s: float = 0.15, repeat_s: float = 0.5, repair_share: int = 12, forget_s: float = 60.0
    ) -> None:
        """Gather askers for ``hold_s``; repeat nothing within ``repeat_s``; one of ``repair_share`` is a repair.

        What nobody asked for during ``forget_s`` is forgotten, as is an asker that said nothing.
        """
        self._hold_s = hold_s
        self._repeat_s = repeat_s
        self._repair_share = repair_share
        self._forget_s = forget_s
        self._forget_at = float("-inf")
        self._flows: dict[tuple[str, str], _Flow] = {}
        self._pending = _Rota(repair=False)
        self._repairs = _Rota(repair=True)
        self._turn = 0
        # Devices that did not ask within the hold, last time: nobody waits for them again.
        self._late: set[str] = set()

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
        expected: Collection[str] = (),
        came: float | None = None,
    ) -> bool:
        """``asker`` (``device/connection``) wants these parts; the devices ``expected`` may ask for the same now.

        ``came`` is when the ask reached the gateway, ``now`` unless given: what was published since is on its way to
        the asker, which subscribed before it asked, however long it took to judge what it asked.
        The caller has checked that the asker may have the object and that the object has these parts.
        False if so much is already queued for this asker that the request is not taken.
        """
        self._forget(now)
        came = now if came is None else came
        flow = self._flows.get((root, object_id))
        device = asker.partition("/")[0]
        if flow is None:
            waits_for = {one for one in expected if one != device} - self._late
            flow = _Flow(root, object_id, now, now + (self._hold_s if waits_for else 0.0), now, waits_for)
            self._flows[root, object_id] = flow
        elif asker not in flow.askers:
            self._gather(flow, device, now, came)
        flow.touched = now
        known = flow.askers.setdefault(asker, _Asker(came, now))
        known.heard = now
        items: list[_Item] = [~page for page in pages]
        items += segments
        if len(flow.repairs.get(asker, ())) + len(items) > 4 * MAX_CREDIT:
            return False
        if not again:
            known.measure(now, flow.published, items)
        patience_s = self._repeat_s if again else known.on_way_s
        for item in items:
            self._queue(flow, asker, item, known.since, now - patience_s)
        self._pending.add(flow)
        self._repairs.add(flow)
        return True

    def _gather(self, flow: _Flow, device: str, now: float, came: float) -> None:
        """Another device asks: in time, or it is not waited for when the next flow begins."""
        if came <= flow.began + self._hold_s:
            self._late.discard(device)
        else:
            self._late.add(device)
        flow.waits_for.discard(device)
        if not flow.waits_for:
            flow.opens_at = min(flow.opens_at, now)

    @staticmethod
    def _queue(flow: _Flow, asker: str, item: _Item, known_since: float, on_way_since: float) -> None:
        if item in flow.pending or item in flow.repairing:
            return
        published = flow.published.get(item)
        if published is None or published < known_since:
            # Never published, or before this asker came.
            flow.pending[item] = None
        elif published <= on_way_since:
            flow.repairs.setdefault(asker, deque()).append(item)
            flow.repairing.add(item)

    def forget_asker(self, asker: str) -> None:
        """The device is gone: what only it wanted again is not published; what is shared goes on."""
        for flow in self._flows.values():
            flow.drop(asker)

    def reset(self) -> None:
        """The gateway's own link was cut: nobody has what was being published, and everybody asks anew."""
        self._flows.clear()
        self._late.clear()
        self._pending.clear()
        self._repairs.clear()

    def _forget(self, now: float) -> None:
        # Now and then, since it looks at every flow. Also askers: each connection of a device is another.
        if now < self._forget_at:
            return
        self._forget_at = now + self._forget_s / 4
        old = now - self._forget_s
        for key, flow in list(self._flows.items()):
            for asker in [asker for asker, known in flow.askers.items() if known.heard < old]:
                flow.drop(asker)
            if flow.touched < old:
                flow.pending.clear()
                flow.repairs.clear()
                del self._flows[key]

    # ── what is published ─────────────────────────────────────────────────────────────────────────────────────────

    def next(self, now: float) -> Piece | None:
        """What to publish now, or None if nothing is due."""
        self._turn += 1
        first, second = self._pending, self._repairs
        if self._turn % self._repair_share == 0:
            first, second = second, first
        taken = first.take(now) or second.take(now)
        if taken is None:
            return None
        flow, item = taken
        flow.published[item] = now
        flow.touched = now
        if item < 0:
            return Piece(flow.root, flow.object_id, "page", ~item)
        return Piece(flow.root, flow.object_id, "segment", item)

    def wake_at(self, now: float) -> float | None:
        """When ``next`` may have something that it has not now: now itself, the opening of a flow, or never."""
        times = [opens for opens in (self._pending.opens_at(), self._repairs.opens_at()) if opens is not None]
        return max(min(times), now) if times else None
