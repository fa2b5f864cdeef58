"""A rendering loop: studies take turns, an object each, so that a long one does not hold up the next."""

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

    def wake(self) -> None:
        """Something changed in the index."""
        self._woken.set()

    async def step(self) -> None:
        """Wait until something changed, then work until nothing is lacking that can be made now.

        Raises OSError and SQLAlchemyError where disk or index do not do; what was made until then stays.
        """
        await self._woken.wait()
        self._woken.clear()
        try:
            while await self._round():
                pass
        except BaseException:
            await self._drop(list(self._running))
            self._woken.set()
            raise

    async def _round(self) -> bool:
        """One turn for each study; whether another round may find something to do."""
        made = False
        lacking = await asyncio.to_thread(self._look)
        await self._drop(self._running.keys() - {work.study_id for work in lacking})
        for work in lacking:
            if self._resting.get(work.study_id, (0.0, 0.0))[0] > time.monotonic():
                continue
            try:
                if await self._turn(work):
                    made = True
                self._resting.pop(work.study_id, None)
            except (OSError, SQLAlchemyError):
                raise
            except Exception as error:
                # A study that provokes a fault must not end the others' pictures.
                self._health.trouble(self._studio.name, error)
                self._rest(work.study_id)
        if not self._resting:
            self._health.well(self._studio.name)
        return made

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
