"""Places of workers: several who wait at once, and what each of them takes."""

import asyncio
from typing import Any

import pytest

from gateway.management import worker_seats
from gateway.management.worker_seats import Seats


class _Worker:
    """Stands for a process that takes a moment to end."""

    ended = 0

    async def end(self) -> None:
        await asyncio.sleep(0.01)
        self.ended += 1


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_seats, "_STARVED_S", 0.02)
    monkeypatch.setattr(worker_seats, "_SILENT_S", 0.05)


async def held_by_one(workers: list[_Worker]) -> tuple[Seats, list[Any]]:
    """All places are held by jobs of one study that say nothing."""

    async def end(worker: Any) -> None:
        await worker.end()

    seats = Seats(len(workers), end)
    held = [await seats.take(1, again=False) for _ in workers]
    for seat, worker in zip(held, workers, strict=True):
        seat.worker = worker  # type: ignore[assignment]  # stands for one
    return seats, held


@pytest.mark.parametrize("waiting", [2, 5])
def test_who_wait_at_once_do_not_take_the_same_place(waiting: int) -> None:
    async def main() -> None:
        workers = [_Worker(), _Worker()]
        seats, (first, last) = await held_by_one(workers)
        takes = [asyncio.create_task(seats.take(owner, again=False)) for owner in range(2, 2 + waiting)]
        done, rest = await asyncio.wait(takes, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1 and last.taken and not first.taken
        assert [one.ended for one in workers] == [0, 1]
        # Each of the others has the place in its turn.
        seat = done.pop().result()
        for _ in range(waiting - 1):
            seats.give(seat, seat.worker)
            done, rest = await asyncio.wait(rest, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1
            seat = done.pop().result()
        seats.give(seat, seat.worker)
        seats.give(first, first.worker)
        assert seats.idle == 2

    asyncio.run(main())


def test_a_job_that_ends_while_its_place_is_being_chosen_gives_back_once() -> None:
    """Whoever sees ``taken`` leaves the giving to who took it."""

    async def main() -> None:
        workers = [_Worker(), _Worker()]
        seats, (first, last) = await held_by_one(workers)
        take = asyncio.create_task(seats.take(2, again=False))
        while not last.taken:  # noqa: ASYNC110  # there is nothing else to wait for
            await asyncio.sleep(0)
        assert workers[1].ended == 0, "it was seen before it was over"
        seat = await take
        seats.give(seat, seat.worker)
        seats.give(first, first.worker)
        assert seats.idle == 2

    asyncio.run(main())


def test_who_is_cancelled_while_it_takes_leaves_the_place_to_others() -> None:
    async def main() -> None:
        seats, (first, last) = await held_by_one([_Worker(), _Worker()])
        take = asyncio.create_task(seats.take(2, again=False))
        while not last.taken:  # noqa: ASYNC110  # there is nothing else to wait for
            await asyncio.sleep(0)
        take.cancel()
        with pytest.raises(asyncio.CancelledError):
            await take
        seat = await asyncio.wait_for(seats.take(3, again=False), 5)
        seats.give(seat, seat.worker)
        seats.give(first, first.worker)
        assert seats.idle == 2

    asyncio.run(main())


def test_where_there_is_one_place_another_is_lent_until_a_job_ends_that_need_not_wait() -> None:
    async def main() -> None:
        worker, other = _Worker(), _Worker()
        seats, (silent,) = await held_by_one([worker])
        lent = await seats.take(2, again=False)
        assert lent.worker is None and not silent.taken and not seats.is_surplus(lent)
        lent.worker = other  # type: ignore[assignment]  # stands for one
        seats.give(lent, lent.worker)
        lent = await seats.take(3, again=False)  # the same, at once
        assert lent.worker is other  # type: ignore[comparison-overlap]
        # Held as long itself, it is taken from its job; there is no third.
        last = await seats.take(4, again=False)
        assert lent.taken and (worker.ended, other.ended) == (0, 1)
        silent.answered(unread=False)
        assert seats.is_surplus(last)
        seats.give(last, None)
        assert seats.idle == 0
        seats.give(silent, silent.worker)
        assert seats.idle == 1

    asyncio.run(main())


def test_who_is_cancelled_with_a_lent_place_leaves_one_in_the_end() -> None:
    async def main() -> None:
        seats, (silent,) = await held_by_one([_Worker()])
        takes = [asyncio.create_task(seats.take(owner, again=False)) for owner in (2, 3)]
        await asyncio.wait(takes, return_when=asyncio.FIRST_COMPLETED)
        assert seats.idle == 0
        for take in takes:
            take.cancel()
        done = await asyncio.gather(*takes, return_exceptions=True)
        for seat in done:
            if not isinstance(seat, BaseException):
                seats.give(seat, None)
        assert seats.is_surplus(silent)
        seats.give(silent, None)
        assert seats.idle == 1

    asyncio.run(main())
