"""Who gets a worker next, and who has to give one back.

A study that has none comes before one that has some. Whoever has waited a while takes a worker from a job whose
pictures nobody reads (its study waits for its turn, and could wait for a worker that it holds up itself); or, where
every worker has long been silent, from the last of those jobs to begin. A job from which a worker was taken goes on
later, behind the others; the first of them is left alone, so that each comes to its end. Where there is one place only,
another is lent while the job that has it is silent: a file that takes its time stops nobody. Where there are two, which
is what the service's memory limit allows for, none is lent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.management.worker_process import WorkerProcess

_STARVED_S: Final = 1.0
"""Until a waiting job looks whether it may take a worker; then again and again."""
_UNREAD_S: Final = 1.0
_SILENT_S: Final = 2.0
"""A slice takes milliseconds; an honest large frame, begun again, costs its time once more."""


@dataclass(eq=False, slots=True)
class Seat:
    """A worker's place, held by a job. ``worker`` None: one is yet to be started."""

    owner: int
    worker: WorkerProcess | None
    started_at: float
    since: float
    """When the job began, the worker answered, or its answer was read: the last of these, in the loop's time."""
    unread: bool = False
    """It answered, and nobody has asked for more."""
    resumable: bool = True
    begun: bool = False
    """The job knows that it has it."""
    taken: bool = False

    def answered(self, *, unread: bool) -> None:
        """Something came, or (not ``unread``) more was asked for."""
        self.unread, self.since = unread, asyncio.get_running_loop().time()


@dataclass(eq=False, slots=True)
class _Waiter:
    owner: int
    again: bool
    seat: asyncio.Future[Seat] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Seats:
    """Places for ``size`` workers. ``end`` kills a worker and returns when it is gone."""

    def __init__(self, size: int, end: Callable[[WorkerProcess], Awaitable[None]]) -> None:
        self._idle: list[WorkerProcess | None] = [None] * size
        self._end = end
        self._may_lend = size == 1
        self._lent = False
        self._held: list[Seat] = []
        self._waiting: list[_Waiter] = []

    @property
    def idle(self) -> int:
        """How many have nothing to do, those that are yet to be started among them."""
        return len(self._idle)

    def add(self, worker: WorkerProcess) -> None:
        """A worker that was started before any job takes a free place."""
        self._idle.remove(None)
        self._idle.append(worker)

    async def take(self, owner: int, *, again: bool) -> Seat:
        """Wait for a place. ``again``: one was taken from the job, which goes behind all others, and takes none."""
        waiter = _Waiter(owner, again)
        self._waiting.append(waiter)
        self._serve()
        try:
            while not waiter.seat.done():
                await asyncio.wait([waiter.seat], timeout=_STARVED_S)
                if waiter.seat.done() or again:
                    continue
                if seat := self._victim():
                    # Now, not when the task begins: nobody else may choose it, nor its job give it back.
                    seat.taken = True
                    await asyncio.shield(self._vacate(seat))
                elif self._may_lend and not self._lent and all(self._is_stuck(seat) for seat in self._held):
                    self._lent = True
                    self._idle.append(None)
                    self._serve()
        except BaseException:
            if waiter.seat.done():
                self.give(waiter.seat.result(), waiter.seat.result().worker)
            else:
                self._waiting.remove(waiter)
            raise
        given = waiter.seat.result()
        given.begun = True
        return given

    def is_surplus(self, seat: Seat) -> bool:
        """Whether a place was lent and no other job is silent any more: the worker in this one has to be ended."""
        return self._lent and not any(self._is_silent(other) for other in self._held if other is not seat)

    def give(self, seat: Seat, worker: WorkerProcess | None) -> None:
        """Back from a job; ``worker`` None: it was ended."""
        surplus = worker is None and self.is_surplus(seat)
        self._held.remove(seat)
        if surplus:
            self._lent = False
        else:
            self._idle.append(worker)
        self._serve()

    def _serve(self) -> None:
        held = Counter(seat.owner for seat in self._held)
        now = asyncio.get_running_loop().time()
        while self._idle and self._waiting:
            # the first of equals: they wait in the order in which they came
            waiter = min(self._waiting, key=lambda one: (one.again, held[one.owner]))
            self._waiting.remove(waiter)
            seat = Seat(waiter.owner, self._idle.pop(), now, now)
            self._held.append(seat)
            held[waiter.owner] += 1
            waiter.seat.set_result(seat)

    def _victim(self) -> Seat | None:
        now = asyncio.get_running_loop().time()
        begun = [seat for seat in self._held if seat.begun and not seat.taken]
        may = [seat for seat in begun if seat.resumable and seat.worker is not None]
        if unread := [seat for seat in may if seat.unread and now - seat.since >= _UNREAD_S]:
            return min(unread, key=lambda seat: seat.since)
        first, *later = sorted(self._held, key=lambda seat: seat.started_at)
        if self._idle or not all(self._is_silent(seat) for seat in (first, *later)):
            return None
        return next((seat for seat in reversed(later) if seat in may), None)

    def _is_silent(self, seat: Seat) -> bool:
        return not seat.unread and asyncio.get_running_loop().time() - seat.since >= _SILENT_S

    def _is_stuck(self, seat: Seat) -> bool:
        """Silent, and neither starting nor being taken."""
        return seat.worker is not None and not seat.taken and self._is_silent(seat)

    async def _vacate(self, seat: Seat) -> None:
        if seat.worker is not None:
            await self._end(seat.worker)
        self.give(seat, None)
