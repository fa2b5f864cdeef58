"""What every layer is made with: index, archive, store and workers; frames in order, refusals kept apart."""

import asyncio
import errno
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

from sqlalchemy.engine import Engine

from gateway.config import Rendering
from gateway.management.index import arrivals_read, deliveries
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.object_store import ObjectStore, Written
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.studio.batches import frame_count
from gateway.management.worker_protocol import FrameLayer
from gateway.management.workers import RenderedFrame, RenderJob, RenderPool
from wire import objects
from wire.messages import Layer

_log = logging.getLogger(__name__)

Frames = AsyncGenerator[RenderedFrame, None]
_AHEAD_BYTES = 32 << 20
"""Of files whose single frames are made before they are asked for: parts of the large ones are large, too."""


class Bench:
    """Shared by the makers of all layers; holds nothing of a study."""

    def __init__(
        self, engine: Engine, archive: Path, store: ObjectStore, pool: RenderPool, settings: Rendering
    ) -> None:
        """``archive`` is the root that instances' paths are relative to."""
        self.engine = engine
        self.store = store
        self.pool = pool
        self.settings = settings
        self._archive = archive

    def path(self, instance: InstanceRow) -> Path:
        """The instance's file."""
        return self._archive / instance.path

    def series(self, study_id: int) -> list[SeriesRow]:
        """Blocks on the index."""
        with self.engine.connect() as connection:
            return arrivals_read.series_of(connection, study_id)

    def check_room(self, size_bytes: int) -> None:
        """OSError unless so much more fits the disk: nothing is rendered only to be thrown away."""
        if not self.store.has_room(size_bytes):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def write(self, header: objects.Header, parts: Iterable[bytes]) -> Written:
        """Seal an object; OSError where that fails, and nothing is left behind then."""
        packed = objects.pack_header(header)
        return await asyncio.to_thread(self.store.write, header.layer, packed, parts)

    # ── what workers make ─────────────────────────────────────────────────────────────────────────────────────────

    async def gaps(self, instances: Sequence[InstanceRow], layer: Layer) -> dict[int, list[tuple[int, int]]]:
        """By instance: ``(first, count)`` of its frames that no object of ``layer`` holds yet."""

        def read() -> dict[int, list[tuple[int, int]]]:
            with self.engine.connect() as connection:
                return deliveries.gaps_of(connection, {row.id: frame_count(row) for row in instances}, layer)

        return await asyncio.to_thread(read)

    async def missing(
        self,
        instance: InstanceRow,
        layer: FrameLayer,
        gaps: Sequence[tuple[int, int]],
        refused: Callable[[InstanceRow, str], None],
    ) -> Frames:
        """What this layer has of the instance in its ``gaps``; ``refused`` is called (in a thread) with the reason
        where not all of it can be made, and that ends them. Only a closing pool raises RenderRefused.
        """
        frames = frame_count(instance)
        for first, count in gaps:
            try:
                # To the end of the file where the header promises nothing behind it.
                parts = self._range(instance, layer, first, first + count, first + count == frames)
                async with aclosing(parts):
                    async for part in parts:
                        yield part
            except RenderRefused as refusal:
                if refusal.reason == "closed":
                    raise
                _log.warning("no %s of instance %s: %s", layer, instance.digest[:12], refusal.reason)
                await asyncio.to_thread(refused, instance, refusal.reason)
                return

    async def _range(self, instance: InstanceRow, layer: FrameLayer, first: int, end: int, is_last: bool) -> Frames:
        """Frames from ``first`` up to ``end``; RenderRefused if not all of them come."""
        may_retry = True
        while first < end:
            job = RenderJob(
                self.path(instance),
                first_frame=first,
                frame_count=None if is_last else end - first,
                max_side=self.settings.max_side,
                quality=self.settings.quality,
                pet=self.settings.pet,
                layer=layer,
                owner=instance.study_id,
            )
            try:
                async with aclosing(self.pool.render(job)) as parts:
                    async for part in parts:
                        if part.band == 0:  # which comes last of a frame's bands
                            first = part.frame + 1
                        yield part
            except RenderRefused as refused:
                # A worker may fall to what has nothing to do with this file, such as the system's want of memory.
                if refused.reason != "crashed" or not may_retry:
                    raise
                may_retry = False
                continue
            if first < end:
                raise RenderRefused("no-frame", first)

    async def side_by_side(
        self, instances: Sequence[InstanceRow], frames: Callable[[InstanceRow], Frames]
    ) -> AsyncGenerator[tuple[InstanceRow, RenderedFrame | None], None]:
        """``frames`` of each instance, in order, and None for one that has none: what fails may have taken its time,
        and another study can have its turn then.

        Single frames are made at once by all workers, and a few of them are held; a multi-frame instance is streamed.
        """
        ahead: deque[tuple[InstanceRow, asyncio.Task[list[RenderedFrame | None]]]] = deque()
        try:
            for instance in instances:
                if instance.NumberOfFrames <= 1:
                    ahead.append((instance, asyncio.create_task(_all(frames(instance)))))
                while ahead and (instance.NumberOfFrames > 1 or self._is_far_ahead([row for row, _ in ahead])):
                    done, task = ahead.popleft()
                    for part in await task:
                        yield done, part
                if instance.NumberOfFrames > 1:
                    found = None
                    async with aclosing(frames(instance)) as stream:
                        async for found in stream:
                            yield instance, found
                    if found is None:
                        yield instance, None
            while ahead:
                done, task = ahead.popleft()
                for part in await task:
                    yield done, part
        finally:
            for _, task in ahead:
                task.cancel()

    def _is_far_ahead(self, ahead: Sequence[InstanceRow]) -> bool:
        many = len(ahead) > self.settings.workers + 1
        return many or (len(ahead) > 1 and sum(row.size_bytes for row in ahead) > _AHEAD_BYTES)


async def _all(frames: Frames) -> list[RenderedFrame | None]:
    found: list[RenderedFrame | None] = []
    async with aclosing(frames):
        found += [part async for part in frames]
    return found or [None]
