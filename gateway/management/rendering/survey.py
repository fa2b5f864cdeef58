"""What a set of files comes to: renders through the same pool and limits as the gateway does, and says for each file
what was made of it, or why nothing was; against DCMTK, if asked, and with the peak memory of the worker.

For whoever brings a new modality, and for comparing two versions of this package.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
import tempfile
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.management.rendering.limits import RenderLimits
from gateway.management.workers import RenderJob, RenderPool, RenderRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

DIFFERS_FILE: Final = Path(__file__).with_name("dcmtk_differs.tsv")
"""Files whose pictures DCMTK makes otherwise, each with the clause of the standard that decides."""
WITHIN: Final = 1
"""Grey levels that two right pipelines may be apart: they round at different places."""
_SAMPLE_S: Final = 0.01
_COMPARE_S: Final = 600.0


@dataclass(slots=True)
class Outcome:
    """One file. ``result`` is ``rendered``, ``report``, or the reason of the refusal."""

    path: str
    result: str = "rendered"
    frames: int = 0
    picture_bytes: int = 0
    media: str = ""
    rows: int = 0
    columns: int = 0
    photometric: str = ""
    lossy: bool = False
    seconds: float = 0.0
    peak_mb: float = 0.0
    """Largest resident memory of the worker while it had this file, in 10^6 bytes."""
    against: dict[str, Any] | None = None
    """What the comparison came to, if one was asked for: ``frames``, ``worst``, ``frame``, ``options``, and
    ``clause`` where the difference is known; or ``failed``: whose picture is lacking."""

    @property
    def differs(self) -> bool:
        """Beyond ``WITHIN``, and no clause says why."""
        return bool(self.against and self.against.get("worst", 0) > WITHIN and "clause" not in self.against)


@dataclass(slots=True)
class Survey:
    """How to go about it. ``frames`` None: all of each file."""

    workers: int = 2
    frames: int | None = 1
    against: bool = False
    limits: RenderLimits = field(default_factory=RenderLimits)
    seen: set[int] = field(default_factory=set)
    """Process ids of the workers that there were."""

    @property
    def left_behind(self) -> int:
        """How many of the workers still run, which none should after ``run``."""
        return sum(map(_is_worker, self.seen))

    async def run(self, paths: Iterable[Path], told: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
        """Outcomes in the order of paths; ``told`` hears of each as it comes."""
        queue, outcomes = [path.absolute() for path in reversed(list(paths))], list[Outcome]()

        async def lane() -> None:
            async with contextlib.AsyncExitStack() as stack:
                # a pool for each lane: which worker has which file is known then
                pool = await stack.enter_async_context(RenderPool(1, self.limits))
                peer = await stack.enter_async_context(_Comparer(self.limits)) if self.against else None
                while queue:
                    path = queue.pop()
                    outcome = await _render(pool, path, self.frames, self.seen)
                    if peer is not None and outcome.result == "rendered":
                        outcome.against = await peer.compare(path)
                    outcomes.append(outcome)
                    told(outcome)

        await asyncio.gather(*(lane() for _ in range(min(self.workers, max(1, len(queue))))))
        return sorted(outcomes, key=lambda outcome: outcome.path)


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files among ``paths`` and in the folders among them, each once."""
    seen = set()
    for path in paths:
        found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        for each in found:
            if each not in seen:
                seen.add(each)
                yield each


def known_differences() -> Mapping[str, str]:
    """Clauses by the SHA-256 of the file."""
    lines = DIFFERS_FILE.read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return {row[0]: row[2] for row in rows}


async def _render(pool: RenderPool, path: Path, frames: int | None, seen: set[int]) -> Outcome:
    outcome = Outcome(str(path))
    started = time.perf_counter()
    sampler = asyncio.create_task(_watch_memory(pool, outcome, seen))
    try:
        async with aclosing(pool.render(RenderJob(path, frame_count=frames))) as pictures:
            async for picture in pictures:
                outcome.frames += 1
                outcome.picture_bytes += len(picture.data)
                outcome.media, outcome.rows, outcome.columns = picture.media, picture.rows, picture.columns
                outcome.lossy = picture.lossy
                outcome.photometric = str(picture.attributes.get("00280004", {"Value": [""]})["Value"][0])
                _note_peak(pool, outcome)
    except RenderRefused as refused:
        outcome.result = refused.reason
        if refused.reason == "no-pixels":
            await _report(pool, path, outcome)
    finally:
        sampler.cancel()
    _note_peak(pool, outcome)
    outcome.seconds = round(time.perf_counter() - started, 4)
    return outcome


async def _report(pool: RenderPool, path: Path, outcome: Outcome) -> None:
    """A file without a picture may be a report; one that is none stays ``no-pixels``."""
    try:
        async with aclosing(pool.render(RenderJob(path, layer="report"))) as parts:
            async for part in parts:
                outcome.result, outcome.media = "report", outcome.media or part.media
                outcome.picture_bytes += len(part.data)
    except RenderRefused as refused:
        if refused.reason != "unsupported":
            outcome.result = refused.reason


async def _watch_memory(pool: RenderPool, outcome: Outcome, seen: set[int]) -> None:
    """Often enough that a worker which is killed has been seen shortly before."""
    _reset_peak(pool)
    while True:
        seen.update(pool.pids)
        _note_peak(pool, outcome)
        await asyncio.sleep(_SAMPLE_S)


def _reset_peak(pool: RenderPool) -> None:
    for pid in pool.pids:
        with contextlib.suppress(OSError):  # gone, or a system that does not allow it: the peak is the worker's then
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _note_peak(pool: RenderPool, outcome: Outcome) -> None:
    for pid in pool.pids:
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
            peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
            outcome.peak_mb = max(outcome.peak_mb, round(peak_kib * 1024 / 1e6, 1))


def _is_worker(pid: int) -> bool:
    """Whether the process is there and is one of ours, not another that got its number."""
    with contextlib.suppress(OSError):
        return b"gateway.management.worker_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


class _Comparer:
    """The process that compares, started anew where it fell or hung."""

    def __init__(self, limits: RenderLimits) -> None:
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._known = known_differences()

    async def __aenter__(self) -> _Comparer:
        self._folder = tempfile.TemporaryDirectory(prefix="mpacs-survey-")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stop()
        self._folder.cleanup()

    async def compare(self, path: Path) -> dict[str, Any]:
        process = self._process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_COMPARE_S):
                process.stdin.write(f"{path}\n".encode())
                await process.stdin.drain()
                answer: dict[str, Any] = msgspec.json.decode(await process.stdout.readline())
        except (OSError, TimeoutError, msgspec.DecodeError):
            await self._stop()
            return {"failed": "ours"}
        if answer.get("worst", 0) > WITHIN:
            digest = hashlib.sha256(await asyncio.to_thread(path.read_bytes)).hexdigest()
            if clause := self._known.get(digest):
                answer["clause"] = clause
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "gateway.management.rendering.against_worker",
            msgspec.json.encode(self._limits).decode(), self._folder.name,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def _stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None
