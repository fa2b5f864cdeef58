"""The pool of render workers: processes that decode strangers' pixels, are limited, killed and replaced.

This side imports neither numpy nor pydicom nor Pillow: the event loop's process stays lean, and out of reach of
what a file may do to a decoder.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from gateway.management import worker_protocol as protocol
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.worker_process import WorkerLostError, WorkerProcess
from gateway.management.worker_seats import Seat, Seats
from wire.objects import Media

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

__all__ = ["RenderJob", "RenderLimits", "RenderPool", "RenderRefused", "RenderedFrame"]


_log = logging.getLogger(__name__)


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
    presentation_state: Path | None = None
    """A grayscale softcopy presentation state; applied where it names this instance."""
    pet: Literal["grey", "hot-iron"] = "grey"
    """PET as the file says, or SUV 0 to 10 in hot iron; other modalities do not care."""
    layer: protocol.JobLayer = "display"
    owner: int = 0
    """Whose it is, such as the study's number: owners share the workers."""

    @property
    def resumable(self) -> bool:
        """Whether it can go on behind a frame that was delivered."""
        return self.layer in ("display", "diagnostic") and not self.thumbnail_side

    def after(self, part: RenderedFrame) -> RenderJob:
        """What is left of the job behind this part; of a frame in bands the first comes last."""
        if part.band or not self.resumable:
            return self
        passed = part.frame + 1 - self.first_frame
        count = None if self.frame_count is None else self.frame_count - passed
        return replace(self, first_frame=part.frame + 1, frame_count=count)


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """One picture of one frame, or another part: a band, a document, a stream."""

    frame: int
    """From 0, in the instance."""
    kind: protocol.PartKind
    media: Media
    data: bytes
    rows: int
    columns: int
    """Of the encoded picture; 0 for documents."""
    lossy: bool
    """This picture's encoding or its source was lossy."""
    ratio_x100: int
    """Compression ratio of the whole chain times 100; 100 where nothing was lossy."""
    attributes: dict[str, Any]
    """DICOM JSON (PS3.18 F.2) of what a viewer needs, nested one level at most; no Patient module."""
    band: int = 0


class _SeatTakenError(Exception):
    """The worker was given to another job."""


class RenderPool:
    """Up to ``size`` workers, started as they are needed. Use as an asynchronous context manager."""

    def __init__(self, size: int, limits: RenderLimits | None = None) -> None:
        if size < 1:
            msg = "a pool needs at least one worker"
            raise ValueError(msg)
        self._size = size
        self._limits = limits or RenderLimits()
        self._seats = Seats(size, self._end)
        self._alive: set[WorkerProcess] = set()
        self._starting = asyncio.Lock()
        self._closed = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start the first worker, so that a broken installation shows at once. Raises ``RuntimeError`` then."""
        if not self._closed:
            return
        self._closed = False
        self._seats = Seats(self._size, self._end)
        try:
            first = await self._spawn()
        except WorkerLostError as lost:
            self._closed = True
            msg = f"the render worker does not start ({lost.reason})"
            raise RuntimeError(msg) from None
        self._seats.add(first)

    async def close(self) -> None:
        """End all workers; jobs that still run are refused as ``closed``. Returns when the processes are gone."""
        self._closed = True
        async with self._starting:  # a start that is under way ends in a worker that is known here
            await asyncio.gather(*(worker.kill() for worker in list(self._alive)))
        self._alive.clear()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, for supervision."""
        return [worker.pid for worker in self._alive]

    @property
    def idle(self) -> int:
        """How many workers have nothing to do, those that are yet to be started among them."""
        return self._seats.idle

    async def render(self, job: RenderJob) -> AsyncGenerator[RenderedFrame, None]:
        """The job's pictures, one by one, as they are read; who reads slowly slows the worker.

        Raises ``RenderRefused``. Leaving the loop early ends the worker (close the generator, for instance with
        ``contextlib.aclosing``); the next job gets a new one.
        """
        left, again = job, False
        while left.frame_count != 0 or not again:
            try:
                async with aclosing(self._render(left, again=again)) as parts:
                    async for part in parts:
                        left = left.after(part)
                        yield part
            except _SeatTakenError:
                again = True
                continue
            except RenderRefused as refused:
                if again and refused.reason == "no-frame" and left.first_frame > job.first_frame:
                    return  # nothing was left of it when the worker was taken
                raise
            return

    async def _render(self, job: RenderJob, *, again: bool) -> AsyncGenerator[RenderedFrame, None]:
        if self._closed:
            raise RenderRefused("closed")
        seat = await self._seats.take(job.owner, again=again)
        worker, reusable = seat.worker, False
        try:
            if worker is None or not worker.running:
                seat.worker = None  # until it has started, there is nothing to take
                worker = await self._spawn() if worker is None else await self._replace(worker)
                seat.worker = worker
                seat.answered(unread=False)
            await worker.send(_head(job))
            while True:
                answer, body = await worker.receive()
                if isinstance(answer, protocol.Frame):
                    seat.resumable = job.resumable
                    seat.answered(unread=True)
                    yield _frame(answer, body)
                    seat.answered(unread=False)
                    continue
                reusable = answer.resident_bytes <= self._limits.recycle_bytes
                if isinstance(answer, protocol.Refused):
                    raise RenderRefused(answer.reason, answer.frame)
                return
        except WorkerLostError as lost:
            if seat.taken and not self._closed:
                raise _SeatTakenError from None
            if not self._closed:
                _log.warning("a render worker was lost (%s) and is replaced", lost.reason)
            raise RenderRefused("closed" if self._closed else lost.reason) from None
        finally:
            if not seat.taken:
                await self._give_back(seat, worker, reusable=reusable)

    async def _give_back(self, seat: Seat, worker: WorkerProcess | None, *, reusable: bool) -> None:
        seat.resumable = False  # nobody takes it any more
        keep = worker is not None and reusable and worker.running and not self._closed
        keep = keep and not self._seats.is_surplus(seat)
        try:
            if worker is not None and not keep:
                # shielded: a cancelled job must not leave its worker behind
                await asyncio.shield(self._end(worker))
        finally:
            self._seats.give(seat, worker if keep else None)

    async def _end(self, worker: WorkerProcess) -> None:
        self._alive.discard(worker)
        await worker.kill()

    async def _replace(self, worker: WorkerProcess) -> WorkerProcess:
        """It ended while nobody looked."""
        self._alive.discard(worker)
        await worker.kill()
        return await self._spawn()

    async def _spawn(self) -> WorkerProcess:
        async with self._starting:
            if self._closed:
                raise WorkerLostError("closed")
            worker = await WorkerProcess.start(self._limits)
            self._alive.add(worker)
        try:
            await worker.greet()
        except BaseException:
            self._alive.discard(worker)
            await asyncio.shield(worker.kill())
            raise
        return worker


def _head(job: RenderJob) -> protocol.Job:
    return protocol.Job(
        path=str(job.path.absolute()),
        first_frame=job.first_frame,
        frame_count=job.frame_count,
        max_side=job.max_side,
        quality=job.quality,
        thumbnail_side=job.thumbnail_side,
        presentation_state=str(job.presentation_state.absolute()) if job.presentation_state else None,
        pet=job.pet,
        layer=job.layer,
    )


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
        band=head.band,
    )
