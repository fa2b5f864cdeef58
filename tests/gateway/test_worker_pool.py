"""The pool against real worker processes: streaming, kills, limits, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import REASONS
from gateway.management.worker_process import WorkerLostError, WorkerProcess
from gateway.management.workers import RenderedFrame, RenderJob, RenderPool, RenderRefused
from tests.support.bombs import palette_that_never_ends
from tests.support.workers import render_workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DEADLINE_S = 30.0


def sample(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str), f"{name} is not installed"
    return Path(found)


def run(scenario: Callable[[RenderPool], Awaitable[None]], size: int = 1, **limits: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), RenderPool(size, RenderLimits(**limits)) as pool:
            await scenario(pool)

    asyncio.run(main())


async def collect(pool: RenderPool, job: RenderJob) -> list[RenderedFrame]:
    return [frame async for frame in pool.render(job)]


async def refusal(pool: RenderPool, job: RenderJob) -> RenderRefused:
    with pytest.raises(RenderRefused) as caught:
        await collect(pool, job)
    assert caught.value.reason in REASONS
    return caught.value


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_gone(pids: list[int]) -> None:
    end = time.monotonic() + DEADLINE_S
    while any(map(alive, pids)):
        assert time.monotonic() < end, "a worker was left behind"
        os.sched_yield()


@pytest.fixture
def long_cine(tmp_path: Path) -> Path:
    """400 frames of 256 x 256: more pictures than all buffers between worker and consumer hold."""
    header = dcmread(sample("CT_small.dcm"))
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 2000, (256, 256), dtype=np.uint16)
    header.PixelData = frame.tobytes() * 400
    header.Rows = header.Columns = 256
    header.NumberOfFrames = 400
    header.PixelRepresentation = 0
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "cine.dcm"
    header.save_as(path)
    return path


def test_frames_arrive_in_order_with_one_thumbnail() -> None:
    async def scenario(pool: RenderPool) -> None:
        job = RenderJob(sample("emri_small.dcm"), first_frame=2, frame_count=5, thumbnail_side=32)
        frames = await collect(pool, job)
        assert [(f.frame, f.kind) for f in frames if f.kind == "display"] == [(i, "display") for i in range(2, 7)]
        (thumbnail,) = (f for f in frames if f.kind == "thumbnail")
        assert (thumbnail.frame, thumbnail.rows, thumbnail.columns) == (4, 32, 32)
        assert all(f.data[:2] == b"\xff\xd8" for f in frames if f.media == "image/jpeg")

    run(scenario)


def test_this_side_imports_no_imaging_library() -> None:
    code = (
        "import sys, gateway.management.workers;"
        "print([m for m in ('numpy', 'pydicom', 'PIL', 'imagecodecs', 'pynetdicom') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_jobs_share_the_workers() -> None:
    async def scenario(pool: RenderPool) -> None:
        jobs = [RenderJob(sample(name)) for name in ("CT_small.dcm", "MR_small.dcm", "emri_small.dcm") * 3]
        results = await asyncio.gather(*(collect(pool, job) for job in jobs))
        assert [len(frames) for frames in results] == [1, 1, 10] * 3
        assert len(pool.pids) == 2

    run(scenario, size=2)


@pytest.mark.parametrize("first,count", [(10, None), (0, 11), (-1, 1), (0, 0)])
def test_frames_that_do_not_exist_are_refused(first: int, count: int | None) -> None:
    async def scenario(pool: RenderPool) -> None:
        job = RenderJob(sample("emri_small.dcm"), first_frame=first, frame_count=count)
        assert (await refusal(pool, job)).reason == "no-frame"

    run(scenario)


def test_a_worker_killed_in_mid_job_is_refused_and_replaced(long_cine: Path) -> None:
    async def scenario(pool: RenderPool) -> None:
        (victim,) = pool.pids
        seen = 0
        with pytest.raises(RenderRefused) as caught:
            async for _ in pool.render(RenderJob(long_cine)):
                seen += 1
                if seen == 1:
                    os.kill(victim, signal.SIGKILL)
        assert caught.value.reason == "crashed"
        assert 1 <= seen < 400
        assert len(await collect(pool, RenderJob(sample("CT_small.dcm")))) == 1
        assert victim not in pool.pids
        assert len(pool.pids) == 1

    run(scenario)


def test_a_worker_killed_while_idle_is_replaced() -> None:
    async def scenario(pool: RenderPool) -> None:
        (victim,) = pool.pids
        os.kill(victim, signal.SIGKILL)
        for _ in range(2):  # the first may meet the death itself
            try:
                assert len(await collect(pool, RenderJob(sample("CT_small.dcm")))) == 1
            except RenderRefused as refused:
                assert refused.reason == "crashed"
        assert len(await collect(pool, RenderJob(sample("CT_small.dcm")))) == 1

    run(scenario)


def test_a_worker_that_hangs_is_killed_by_the_wall_clock() -> None:
    async def scenario(pool: RenderPool) -> None:
        (victim,) = pool.pids
        os.kill(victim, signal.SIGSTOP)
        assert (await refusal(pool, RenderJob(sample("CT_small.dcm")))).reason == "timeout"
        wait_gone([victim])
        assert len(await collect(pool, RenderJob(sample("CT_small.dcm")))) == 1

    run(scenario, wall_s_per_frame=1.0)


def test_a_slow_consumer_slows_the_worker_and_is_no_timeout(long_cine: Path) -> None:
    async def scenario(pool: RenderPool) -> None:
        worker = psutil.Process(pool.pids[0])
        async with aclosing(pool.render(RenderJob(long_cine))) as frames:
            await anext(frames)
            end = time.monotonic() + DEADLINE_S
            while worker.status() == psutil.STATUS_RUNNING or worker.cpu_times() != await _later(worker):
                assert time.monotonic() < end
            # the worker waits for us, longer than its wall limit, with most of the job still undone
            assert len([frame async for frame in frames]) == 399

    run(scenario, wall_s_per_frame=0.5)


async def _later(worker: psutil.Process) -> Any:
    await asyncio.sleep(0.6)  # longer than the wall limit: two equal readings mean that it waits
    return worker.cpu_times()


def test_who_waits_takes_a_worker_from_a_job_that_nobody_reads_and_that_goes_on_later(long_cine: Path) -> None:
    async def scenario(pool: RenderPool) -> None:
        async with aclosing(pool.render(RenderJob(long_cine))) as frames:
            read = [await anext(frames)]
            assert len(await collect(pool, RenderJob(sample("CT_small.dcm")))) == 1
            read += [frame async for frame in frames]
        assert [frame.frame for frame in read] == list(range(400))
        assert len({frame.data for frame in read}) == 1
        assert len(pool.pids) == pool.idle == 1

    run(scenario)


def test_one_worker_that_a_bomb_holds_stops_nobody(tmp_path: Path) -> None:
    """Another one is lent meanwhile, and in the end there is one again."""
    bomb = tmp_path / "bomb.dcm"
    bomb.write_bytes(palette_that_never_ends())

    async def scenario(pool: RenderPool) -> None:
        held = asyncio.create_task(collect(pool, RenderJob(bomb, owner=1)))
        while pool.idle:  # noqa: ASYNC110  # the test has a deadline
            await asyncio.sleep(0)  # until it has the worker
        for _ in range(2):
            assert len(await collect(pool, RenderJob(sample("CT_small.dcm"), owner=2))) == 1
            assert not held.done()
        assert len(pool.pids) == 2
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        assert len(await collect(pool, RenderJob(sample("CT_small.dcm"), owner=2))) == 1
        assert len(pool.pids) == pool.idle == 1

    run(scenario, cpu_s_least=30)


def test_leaving_early_and_cancelling_leave_nothing_behind(long_cine: Path) -> None:
    async def scenario(pool: RenderPool) -> None:
        (first,) = pool.pids
        async with aclosing(pool.render(RenderJob(long_cine))) as frames:
            await anext(frames)
        assert first not in pool.pids
        task = asyncio.create_task(collect(pool, RenderJob(long_cine)))
        while not pool.pids:  # noqa: ASYNC110  # the pool has no event for it, and the test has a deadline
            await asyncio.sleep(0.01)
        (second,) = pool.pids
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        wait_gone([first, second])
        assert len(await collect(pool, RenderJob(sample("CT_small.dcm")))) == 1

    run(scenario)


def test_close_ends_running_and_waiting_jobs_and_every_process(long_cine: Path) -> None:
    async def scenario(pool: RenderPool) -> None:
        jobs = [asyncio.create_task(collect(pool, RenderJob(long_cine))) for _ in range(4)]
        while len(pool.pids) < 2:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)
        await pool.close()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert [getattr(outcome, "reason", None) for outcome in outcomes] == ["closed"] * 4
        assert not render_workers()
        assert (await refusal(pool, RenderJob(long_cine))).reason == "closed"

    run(scenario, size=2)


def test_a_pool_starts_again_after_its_end() -> None:
    async def main() -> None:
        pool = RenderPool(1)
        for _ in range(2):
            async with pool:
                await pool.start()  # idempotent
                assert len(await collect(pool, RenderJob(sample("CT_small.dcm")))) == 1
                assert len(pool.pids) == 1
            assert not render_workers()

    asyncio.run(main())


def test_workers_end_with_their_parent(long_cine: Path) -> None:
    code = f"""
import asyncio, pathlib
from gateway.management.workers import RenderJob, RenderPool
async def main():
    async with RenderPool(1) as pool:
        async for _ in pool.render(RenderJob(pathlib.Path({str(long_cine)!r}))):
            print(pool.pids[0], flush=True)
            await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert alive(worker)
        parent.kill()
        parent.wait()
    wait_gone([worker])


def test_a_swollen_worker_is_replaced() -> None:
    async def scenario(pool: RenderPool) -> None:
        before = pool.pids
        await collect(pool, RenderJob(sample("CT_small.dcm")))
        await collect(pool, RenderJob(sample("CT_small.dcm")))
        assert not set(before) & set(pool.pids)

    run(scenario, recycle_bytes=1)


def test_a_worker_has_its_limits_and_little_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPACS_SECRET", "not for strangers' pixels")

    async def scenario(pool: RenderPool) -> None:
        worker = psutil.Process(pool.pids[0])
        await collect(pool, RenderJob(sample("CT_small.dcm")))
        assert worker.rlimit(psutil.RLIMIT_AS)[0] == RenderLimits().memory_bytes < 600_000_000
        assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert worker.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert worker.rlimit(psutil.RLIMIT_CPU)[0] > 0
        assert worker.nice() > psutil.Process().nice() or worker.nice() == 19
        assert "MPACS_SECRET" not in worker.environ()
        # an idle worker after a slice: lean enough for several on a small machine
        assert worker.memory_full_info().pss < 90 << 20

    run(scenario)


HOSTILE_WORKER = """
import os, socket, struct, sys
connection = socket.socket(fileno=os.dup(0))
connection.sendall({answer})
connection.recv(1)
"""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("struct.pack('>II', 1 << 31, 0)", "too-large"),
        ("struct.pack('>II', 1, 1 << 31)", "too-large"),
        ("struct.pack('>II', 4, 0) + bytes(4)", "crashed"),
        ("struct.pack('>II', 200000, 0) + bytes([0x91]) * 200000", "crashed"),
        ("struct.pack('>II', 10, 0)", "timeout"),
        ("b''", "timeout"),
    ],
)
def test_what_a_fallen_worker_says_is_bounded_and_checked(
    answer: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fallen_worker.py").write_text(HOSTILE_WORKER.format(answer=answer), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def main() -> None:
        worker = await WorkerProcess.start(RenderLimits(start_s=2.0), module="fallen_worker")
        try:
            with pytest.raises(WorkerLostError) as caught:
                await worker.greet()
            assert caught.value.reason == reason
        finally:
            await worker.kill()
        assert not worker.running

    asyncio.run(main())


def test_an_installation_that_does_not_work_shows_at_start() -> None:
    async def main() -> None:
        pool = RenderPool(1, RenderLimits(start_s=0.001))
        with pytest.raises(RuntimeError, match="does not start"):
            await pool.start()
        assert not pool.pids
        assert not render_workers()

    asyncio.run(main())
