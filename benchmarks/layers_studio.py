"""``python -m benchmarks.layers_studio STATE UID``: make all layers of a study that was taken in, as the core would.

All other studies are made before, so that the workers have what they need at hand, as in a gateway that runs.
Prints JSON: the fields of ``layers.Cost``.
"""

import asyncio
import contextlib
import json
import resource
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

from gateway import app, config
from gateway.management.index import arrivals_read
from gateway.management.object_store import ObjectStore
from gateway.management.studio.bench import Bench
from gateway.management.studio.studio import Studio, studios
from gateway.management.workers import RenderPool

_SAMPLE_S = 0.01


async def measure(state: Path, measured: str) -> dict[str, Any]:
    """One study, lane by lane."""
    settings = config.load(state)
    place = app.State(state)
    engine = app.open_index(place, settings)
    store = ObjectStore(state / "objects", settings.site)
    with engine.connect() as connection:
        studies = arrivals_read.studies(connection)
    study_id = next(study.id for study in studies if measured == study.StudyInstanceUID)
    workers: dict[str, float] = {}
    studio: dict[str, float] = {}
    async with RenderPool(settings.rendering.workers) as pool:
        peaks: dict[int, float] = {}
        lanes = studios(Bench(engine, place.archive, store, pool, settings.rendering))
        for study in studies:
            if study.id != study_id:
                for lane in lanes:
                    await _make(lane, study.id)
        watcher = asyncio.create_task(_watch(pool, peaks))
        started = time.monotonic()
        for lane in lanes:
            before = _workers_cpu_s(pool), time.process_time()
            await _make(lane, study_id)
            workers[lane.name] = _workers_cpu_s(pool) - before[0]
            studio[lane.name] = time.process_time() - before[1]
        seconds = time.monotonic() - started
        _note(pool, peaks)
        watcher.cancel()
    engine.dispose()
    return {
        "seconds": seconds,
        "workers_cpu_s": workers,
        "studio_cpu_s": studio,
        "worker_peak_mb": max(peaks.values()),
        "studio_peak_mb": _peak_mb("self"),
    }


async def _make(lane: Studio, study_id: int) -> None:
    async with aclosing(lane.work(study_id, True)) as made:
        async for _ in made:
            pass


async def _watch(pool: RenderPool, peaks: dict[int, float]) -> None:
    """A worker that is replaced was seen shortly before."""
    while True:
        _note(pool, peaks)
        await asyncio.sleep(_SAMPLE_S)


def _note(pool: RenderPool, peaks: dict[int, float]) -> None:
    for pid in pool.pids:
        with contextlib.suppress(OSError, ValueError):  # it has just ended
            peaks[pid] = _peak_mb(pid)


def _peak_mb(pid: int | str) -> float:
    """Largest resident memory so far; not ``ru_maxrss``, which begins with that of the process that forked this one."""
    words = Path(f"/proc/{pid}/status").read_text(encoding="ascii").split()
    return int(words[words.index("VmHWM:") + 1]) * 1024 / 1e6


def _workers_cpu_s(pool: RenderPool) -> float:
    """Of those that live, in nanoseconds, and of those that were replaced."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = 0
    for pid in pool.pids:
        with contextlib.suppress(OSError):
            living += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])
    return living / 1e9 + ended.ru_utime + ended.ru_stime


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1]), sys.argv[2]))))
