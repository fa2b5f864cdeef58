"""Studies that take turns with real workers: none waits for another that is long, or hostile."""

import asyncio
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from gateway.management.workers import RenderLimits
from tests.support.bombs import palette_that_never_ends
from tests.support.workshop import Workshop, multi_frame, run, workshop


def test_more_long_cines_than_there_are_workers_and_turns_are_all_made(tmp_path: Path) -> None:
    """One that waits for its turn keeps its worker as long as no other study waits for that."""
    path = multi_frame(tmp_path, 70)

    async def scenario(shop: Workshop) -> None:
        studies = [shop.office.arrive(study=f"1.2.{n}", series=f"1.2.{n}.1", path=path, frames=70)[0] for n in range(6)]
        shop.settle()
        await shop.make()
        for study in studies:
            assert [frame for _, frame in shop.frames(study)] == list(range(70))
        assert not shop.health.troubles

    run(tmp_path, scenario)


@pytest.mark.timeout(120)
def test_a_study_is_made_while_another_holds_workers_for_half_a_minute_each(tmp_path: Path) -> None:
    """Three files may take thirty CPU seconds each, as one does that claims 40 million pixels."""
    bomb, honest = tmp_path / "bomb.dcm", get_testdata_file("CT_small.dcm", download=False)
    bomb.write_bytes(palette_that_never_ends())

    async def main() -> None:
        async with workshop(tmp_path, RenderLimits(cpu_s_least=30)) as shop:
            for _ in range(3):
                hostile, _ = shop.office.arrive(study="1.2.1", series="1.2.1.1", path=bomb)
            shop.settle()
            making = asyncio.create_task(shop.make())
            while shop.pool.idle or len(shop.pool.pids) < 2:  # noqa: ASYNC110  # the test has a deadline
                await asyncio.sleep(0.01)
            good, _ = shop.office.arrive(study="1.2.2", series="1.2.2.1", path=Path(str(honest)))
            shop.settle()
            shop.turns.wake()
            while good not in shop.announced:
                assert not making.done()
                await asyncio.sleep(0.01)
            assert shop.states(good) == {"rendered": 1}
            assert shop.states(hostile)["pending"] == 3, "it was waited for"
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making

    asyncio.run(main())
