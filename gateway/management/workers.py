"""The pool of render workers: processes that decode strangers' pixels, are limited, killed and replaced.

This side imports neither numpy nor pydicom nor Pillow: the event loop's process stays lean, and out of reach of
what a file may do to a decoder.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import msgspec

from gateway.management import worker_protocol as protocol
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Reason, RenderRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

__all__ = ["RenderJob", "RenderLimits", "RenderPool", "RenderRefused", "RenderedFrame"]

_log = logging.getLogger(__name__)

_BUFFER_BYTES: Final = 1 << 18
"""What the loop reads ahead of the consumer, per worker; the pipe holds the rest, and then the worker waits."""
_KEPT_ENVIRONMENT: Final = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "TZ")
_LEAN_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True, slots=True)
class RenderJob:
    """Frames of one file. ``frame_count`` None: all from ``first_frame`` on. Sides in pixels, quality as in JPEG."""

    path: Path
    first_frame: int = 0
    frame_count: int | None = None
    max_side: int = 1600
    quality: int = 90
    thumbnail_side: int = 0
    """Longest side of one more small picture, of the job's middle frame; 0: none."""


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """One picture of one frame."""

    frame: int
    """From 0, in the instance."""
    kind: Literal["display", "thumbnail"]
    media: str
    data: bytes
    rows: int
    columns: int
    """Of the encoded picture."""
    lossy: bool
    """This picture's encoding or its source was lossy."""
    ratio_x100: int
    """Compression ratio of the whole chain times 100; 100 where nothing was lossy."""
    attributes: dict[str, Any]
    """Flat DICOM JSON (PS3.18 F.2) of what a viewer needs; no Patient module, no UID."""


class RenderPool:
    """Up to ``size`` workers, started as they are needed. Use as an asynchronous context manager."""

    def __init__(self, size: int, limits: RenderLimits | None = None) -> None:
        if size < 1:
            msg = "a pool needs at least one worker"
            raise ValueError(msg)
        self._size = size
        self._limits = limits or RenderLimits()
        self._idle: asyncio.LifoQueue[_Worker | None] = asyncio.LifoQueue()
        self._alive: set[_Worker] = set()
        self._closed = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start the first worker, so that a broken installation shows at once. Raises ``RuntimeError`` then."""
        self._closed = False
        first = await self._spawn()
        for _ in range(self._size - 1):
            self._idle.put_nowait(None)
        self._idle.put_nowait(first)

    async def close(self) -> None:
        """End all workers; jobs that still run are refused as ``closed``. Returns when the processes are gone."""
        self._closed = True
        await asyncio.gather(*(worker.kill() for worker in list(self._alive)))
        self._alive.clear()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, for supervision."""
        return [worker.pid for worker in self._alive]

    async def render(self, job: RenderJob) -> AsyncGenerator[RenderedFrame, None]:
        """The job's pictures, one by one, as they are read; who reads slowly slows the worker.

        Raises ``RenderRefused``. Leaving the loop early ends the worker (close the generator, for instance with
        ``contextlib.aclosing``); the next job gets a new one.
        """
        if self._closed:
            raise RenderRefused("closed")
        worker = await self._idle.get()
        reusable = False
        try:
            if worker is None or not worker.running:
                worker = await self._spawn()
            await worker.send(job)
            while True:
                answer, body = await worker.receive()
                if isinstance(answer, protocol.Frame):
                    yield _frame(answer, body)
                    continue
                reusable = answer.resident_bytes <= self._limits.recycle_bytes
                if isinstance(answer, protocol.Refused):
                    raise RenderRefused(answer.reason, answer.frame)
                return
        except _WorkerLostError as lost:
            raise RenderRefused("closed" if self._closed else lost.reason) from None
        finally:
            await self._give_back(worker, reusable=reusable)

    async def _give_back(self, worker: _Worker | None, *, reusable: bool) -> None:
        if worker is not None and not (reusable and worker.running and not self._closed):
            self._alive.discard(worker)
            # shielded: a cancelled job must not leave its worker behind
            await asyncio.shield(worker.kill())
            worker = None
        self._idle.put_nowait(worker)

    async def _spawn(self) -> _Worker:
        worker = await _Worker.start(self._limits)
        self._alive.add(worker)
        try:
            if self._closed:
                raise _WorkerLostError("closed")
            await worker.greet()
        except BaseException as error:
            self._alive.discard(worker)
            await asyncio.shield(worker.kill())
            if isinstance(error, _WorkerLostError) and not self._closed:
                msg = f"the render worker does not start ({error.reason})"
                raise RuntimeError(msg) from None
            raise
        return worker


def _frame(head: protocol.Frame, body: bytes) -> RenderedFrame:
    return RenderedFrame(
        frame=head.frame,
        kind=head.kind,
        media=head.media,
        data=body,
        rows=head.rows,
        columns=head.columns,
        lossy=head.lossy,
        ratio_x100=head.ratio_x100,
        attributes=msgspec.to_builtins(head.attributes),
    )


class _WorkerLostError(Exception):
    """The worker ended, hung or babbled; it is of no further use."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class _Worker:
    """One process and the two pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process, limits: RenderLimits) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._limits = limits

    @classmethod
    async def start(cls, limits: RenderLimits) -> Self:
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the current folder must not lend modules to it
            "-m",
            "gateway.management.worker_main",
            str(os.getpid()),
            msgspec.json.encode(limits).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment | _LEAN_ENVIRONMENT,
            limit=_BUFFER_BYTES,
        )
        return cls(process, limits)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def greet(self) -> None:
        answer, _ = await self._read(self._limits.start_s)
        if not isinstance(answer, protocol.Ready):
            raise _WorkerLostError("crashed")

    async def send(self, job: RenderJob) -> None:
        head = protocol.Job(
            os.fspath(job.path.absolute()), job.first_frame, job.frame_count, job.max_side, job.quality,
            job.thumbnail_side,
        )  # fmt: skip
        try:
            self._stdin.write(protocol.pack(head))
            await self._stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise _WorkerLostError(await self._cause()) from None

    async def receive(self) -> tuple[protocol.Frame | protocol.Done | protocol.Refused, bytes]:
        """The next answer to a job. The clock runs only here: a consumer's own time is not the worker's."""
        answer, body = await self._read(self._limits.wall_s_per_frame)
        if isinstance(answer, protocol.Ready):
            raise _WorkerLostError("crashed")
        return answer, body

    async def _read(self, timeout_s: float) -> tuple[protocol.FromWorker, bytes]:
        try:
            async with asyncio.timeout(timeout_s):
                head_bytes, body_bytes = protocol.LENGTHS.unpack(await self._stdout.readexactly(protocol.LENGTHS.size))
                if head_bytes > protocol.MAX_HEAD_BYTES or body_bytes > self._limits.max_picture_bytes:
                    raise _WorkerLostError("too-large")
                head = await self._stdout.readexactly(head_bytes)
                body = await self._stdout.readexactly(body_bytes)
        except TimeoutError:
            raise _WorkerLostError("timeout") from None
        except (asyncio.IncompleteReadError, ConnectionResetError):
            raise _WorkerLostError(await self._cause()) from None
        try:
            return protocol.unpack(head), body
        except (msgspec.DecodeError, RecursionError):
            raise _WorkerLostError("crashed") from None

    async def _cause(self) -> Reason:
        """Why the process ended: SIGXCPU is its CPU limit."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._process.wait()
        return "timeout" if self._process.returncode == -signal.SIGXCPU else "crashed"

    async def kill(self) -> None:
        """End the process and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._stdin.close()
        # what it still had to say is thrown away; a paused pipe would keep its transport open
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while await self._stdout.read(_BUFFER_BYTES):
                pass
        await self._process.wait()
        _log.debug("render worker %d ended", self._process.pid)
