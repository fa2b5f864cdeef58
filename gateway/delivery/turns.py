"""A rendering loop: studies take turns, an object each, so that a long one does not hold up the next.

A few have their turns side by side: a turn that waits for a worker, or has one that takes long, holds up no other.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.delivery.health import Health
from gateway.management.index import deliveries
from gateway.management.index.deliveries import Work
from gateway.management.studio.studio import Studio

_FIRST_REST_S = 2.0
_LONGEST_REST_S = 600.0
_SIDE_BY_SIDE = 3
"""Each holds an object's worth of pictures at most, and the few that the workers are ahead."""


class Turns:
    """Makes what studies lack of one studio's layers, for ever."""

    def __init__(
        self, engine: Engine, studio: Studio, announce: Callable[[int], Awaitable[None]], health: Health
    ) -> None:
        """``announce`` is awaited with a study's id after each object that was made of it."""
        self._engine = engine
        self._studio = studio
        self._announce = announce
        self._health = health
        self._woken = asyncio.Event()
        self._revision = 0
        self._lacking: set[int] = set()
        self._running: dict[int, AsyncGenerator[None, None]] = {}
        self._resting: dict[int, tuple[float, float]] = {}
        self._turns: dict[int, asyncio.Task[bool]] = {}
        self._had: dict[int, int] = {}
        """By study that lacks something: the number of its last turn. Whose is the longest ago is next."""
        self._idle: set[int] = set()
        """Studies of which nothing could be made since anything changed."""
        self._number = 0

    def wake(self) -> None:
        """Something changed in the index."""
        self._woken.set()

    async def step(self) -> None:
        """Wait until something changed, then work until nothing is lacking that can be made now.

        Raises OSError and SQLAlchemyError where disk or index do not do; what was made until then stays.
        """
        await self._woken.wait()
        try:
            while await self._begin():
                await self._wait()
                self._end()
        except BaseException:
            await self._stop()
            self._woken.set()
            raise
        self._look_well()

    async def _begin(self) -> bool:
        """Begin the turns that are due; whether any is under way."""
        if self._woken.is_set():
            self._woken.clear()
            self._idle.clear()
        lacking = await asyncio.to_thread(self._look)
        ids = {work.study_id for work in lacking}
        await self._drop(self._running.keys() - ids - self._turns.keys())
        self._had = {study_id: number for study_id, number in self._had.items() if study_id in ids}
        for work in sorted(lacking, key=lambda work: self._had.get(work.study_id, 0)):
            if len(self._turns) < _SIDE_BY_SIDE and self._is_due(work.study_id):
                self._number += 1
                self._had[work.study_id] = self._number
                self._turns[work.study_id] = asyncio.create_task(self._turn(work))
        return bool(self._turns)

    def _is_due(self, study_id: int) -> bool:
        is_resting = self._resting.get(study_id, (0.0, 0.0))[0] > time.monotonic()
        return not is_resting and study_id not in self._turns and study_id not in self._idle

    async def _wait(self) -> None:
        """Until a turn is over, or something changed while there is room for another turn."""
        woken = [asyncio.create_task(self._woken.wait())] if len(self._turns) < _SIDE_BY_SIDE else []
        try:
            await asyncio.wait([*self._turns.values(), *woken], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in woken:
                task.cancel()

    def _end(self) -> None:
        """Take in the turns that are over."""
        for study_id, task in [(study_id, task) for study_id, task in self._turns.items() if task.done()]:
            try:
                made = task.result()
            except (OSError, SQLAlchemyError):
                raise
            except Exception as error:
                # A study that provokes a fault must not end the others' pictures.
                self._health.trouble(self._studio.name, error)
                self._rest(study_id)
            else:
                self._resting.pop(study_id, None)
                if made:
                    self._idle.clear()
                    self._look_well()
                else:
                    self._idle.add(study_id)
            del self._turns[study_id]

    def _look_well(self) -> None:
        if not self._resting:
            self._health.well(self._studio.name)

    async def _stop(self) -> None:
        turns = list(self._turns.values())
        self._turns.clear()
        for task in turns:
            task.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
        await self._drop(list(self._running))

    async def _turn(self, work: Work) -> bool:
        is_new = work.study_id not in self._running
        if is_new:
            self._running[work.study_id] = self._studio.work(work.study_id, work.settled)
        try:
            await anext(self._running[work.study_id])
        except StopAsyncIteration:
            del self._running[work.study_id]
            return not is_new  # it was begun before the last look, so a new one may find more
        except BaseException:
            del self._running[work.study_id]
            raise
        await self._announce(work.study_id)
        return True

    def _rest(self, study_id: int) -> None:
        _, before_s = self._resting.get(study_id, (0.0, 0.0))
        rest_s = min(max(before_s * 2, _FIRST_REST_S), _LONGEST_REST_S)
        self._resting[study_id] = (time.monotonic() + rest_s, rest_s)

    def _look(self) -> list[Work]:
        """Studies that lack something. Only those are looked at that changed, or lacked something before."""
        with self._engine.connect() as connection:
            while changed := deliveries.changed_since(connection, self._revision):
                self._lacking.update(study_id for study_id, _ in changed)
                self._revision = changed[-1][1]
            found = self._studio.lacking(connection, self._lacking)
        self._lacking = {work.study_id for work in found}
        return found

    async def _drop(self, study_ids: Collection[int]) -> None:
        """End what is half done or over; what is lacking begins again behind the last object that was kept."""
        for study_id in study_ids:
            work = self._running.pop(study_id)
            with contextlib.suppress(Exception):
                await work.aclose()
