"""From instances to sealed objects: renders what a study still lacks, frame by frame, batch by batch.

A batch becomes one object; what is in it is noted with it in one transaction, so a restart goes on after the last
batch and makes nothing twice. Memory holds one batch and the few pictures that the workers are ahead.
"""

import asyncio
import errno
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from sqlalchemy.engine import Engine

from gateway.config import Rendering
from gateway.management.batches import BATCH_BYTES, Batch, frame_count, header_of, sealed_of
from gateway.management.index import arrivals_quarantine, arrivals_read, deliveries
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.index.deliveries import SealedObject
from gateway.management.object_store import ObjectStore, Written
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.workers import RenderedFrame, RenderJob, RenderPool
from wire import objects

_log = logging.getLogger(__name__)

GROWING_FRAMES = 32
"""While a study grows, a batch is made once this many frames wait; when it has settled, of all that is left."""
THUMBNAILS = 128
"""In one object; a study of more series has several."""


class Studio:
    """Makes the layers ``display`` and ``thumbnail``."""

    def __init__(
        self, engine: Engine, archive: Path, store: ObjectStore, pool: RenderPool, settings: Rendering
    ) -> None:
        """``archive`` is the root that instances' paths are relative to."""
        self._engine = engine
        self._archive = archive
        self._store = store
        self._pool = pool
        self._settings = settings

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what is lacking; yields after each object, so that it can be announced.

        OSError where the disk has no room: what was made stays, and the next work on the study goes on behind it.
        """
        pending = await asyncio.to_thread(self._pending, study_id)
        for series in await asyncio.to_thread(self._series, study_id):
            mine = [row for row in pending if row.series_id == series.id]
            if not mine or (not settled and sum(frame_count(i) for i in mine) < GROWING_FRAMES):
                continue
            async with aclosing(self._display(series, mine)) as batches:
                async for _ in batches:
                    yield
        if await asyncio.to_thread(self._wants_thumbnails, study_id, settled):
            await self._thumbnails(study_id, settled)
            yield

    def _series(self, study_id: int) -> list[SeriesRow]:
        with self._engine.connect() as connection:
            return arrivals_read.series_of(connection, study_id)

    def _pending(self, study_id: int) -> list[InstanceRow]:
        with self._engine.connect() as connection:
            rows = arrivals_read.instances_of(connection, study_id, "received")
        return sorted((row for row in rows if row.has_pixels), key=lambda row: (row.InstanceNumber or 0, row.id))

    def _wants_thumbnails(self, study_id: int, settled: bool) -> bool:
        with self._engine.connect() as connection:
            return deliveries.thumbnails_wanted(connection, study_id, settled)

    def _check_room(self) -> None:
        if not self._store.has_room(2 * BATCH_BYTES):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # ── display ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _display(self, series: SeriesRow, pending: Sequence[InstanceRow]) -> AsyncGenerator[None, None]:
        batch = Batch("display")
        self._check_room()
        async with aclosing(self._pictures(pending)) as pictures:
            async for instance, picture in pictures:
                batch.add(instance, picture)
                if batch.full:
                    await self._keep(series, batch)
                    batch = Batch("display")
                    yield
                    self._check_room()
        if batch.pictures:
            await self._keep(series, batch)
            yield

    async def _pictures(
        self, pending: Sequence[InstanceRow]
    ) -> AsyncGenerator[tuple[InstanceRow, RenderedFrame], None]:
        """All pictures, in order. Single frames are rendered side by side; a multi-frame instance is streamed."""
        ahead: deque[tuple[InstanceRow, asyncio.Task[list[RenderedFrame]]]] = deque()
        try:
            for instance in pending:
                if instance.NumberOfFrames <= 1:
                    ahead.append((instance, asyncio.create_task(self._single(instance))))
                while ahead and (instance.NumberOfFrames > 1 or len(ahead) > self._settings.workers + 1):
                    done, task = ahead.popleft()
                    for picture in await task:
                        yield done, picture
                if instance.NumberOfFrames > 1:
                    async for picture in self._frames(instance):
                        yield instance, picture
            while ahead:
                done, task = ahead.popleft()
                for picture in await task:
                    yield done, picture
        finally:
            for _, task in ahead:
                task.cancel()

    async def _single(self, instance: InstanceRow) -> list[RenderedFrame]:
        return [picture async for picture in self._frames(instance)]

    async def _frames(self, instance: InstanceRow) -> AsyncGenerator[RenderedFrame, None]:
        """The pictures of an instance that do not stand in an object yet; a refusal is noted and ends them."""
        frames = frame_count(instance)
        for first, count in await asyncio.to_thread(self._gaps, instance.id, frames):
            try:
                # To the end of the file where the header promises nothing behind it.
                async with aclosing(self._range(instance, first, first + count, first + count == frames)) as pictures:
                    async for picture in pictures:
                        yield picture
            except RenderRefused as refused:
                if refused.reason == "closed":
                    raise
                _log.warning("instance %s was not rendered: %s", instance.digest[:12], refused.reason)
                await asyncio.to_thread(self._fail, instance.id, refused.reason)
                return

    async def _range(
        self, instance: InstanceRow, first: int, end: int, is_last: bool
    ) -> AsyncGenerator[RenderedFrame, None]:
        """Frames from ``first`` up to ``end``; RenderRefused if not all of them come."""
        may_retry = True
        while first < end:
            job = RenderJob(
                self._archive / instance.path,
                first_frame=first,
                frame_count=None if is_last else end - first,
                max_side=self._settings.max_side,
                quality=self._settings.quality,
            )
            try:
                async with aclosing(self._pool.render(job)) as pictures:
                    async for picture in pictures:
                        first = picture.frame + 1
                        yield picture
            except RenderRefused as refused:
                # A worker may fall to what has nothing to do with this file, such as the system's want of memory.
                if refused.reason != "crashed" or not may_retry:
                    raise
                may_retry = False
                continue
            if first < end:
                raise RenderRefused("no-frame", first)

    def _gaps(self, instance_id: int, frames: int) -> list[tuple[int, int]]:
        with self._engine.connect() as connection:
            return deliveries.gaps(connection, instance_id, "display", frames)

    def _fail(self, instance_id: int, reason: str) -> None:
        with self._engine.begin() as connection:
            arrivals_quarantine.set_instance_state(connection, [instance_id], "failed", reason)

    async def _keep(self, series: SeriesRow, batch: Batch) -> None:
        written = await self._write(batch, {series.id: series})
        await asyncio.to_thread(self._enter, series, batch, written)

    async def _write(self, batch: Batch, series: dict[int, SeriesRow]) -> Written:
        header = objects.pack_header(header_of(batch, series))
        return await asyncio.to_thread(self._store.write, batch.layer, header, [p.data for _, p in batch.pictures])

    def _enter(self, series: SeriesRow, batch: Batch, written: Written) -> None:
        with self._engine.begin() as connection:
            number = deliveries.next_batch(connection, series.study_id)
            sealed = sealed_of(series.study_id, batch, written, number)
            deliveries.add_object(connection, sealed, batch.spans())
            whole = [
                instance.id
                for instance in batch.instances
                if not deliveries.gaps(connection, instance.id, "display", frame_count(instance))
            ]
            deliveries.mark_thumbnails(connection, series.study_id)
            arrivals_quarantine.set_instance_state(connection, whole, "rendered", "")
            deliveries.touch(connection, series.study_id)

    # ── thumbnails ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _thumbnails(self, study_id: int, settled: bool) -> None:
        """One small picture a series, those of a study together; new objects take the place of the old ones."""
        self._check_room()
        known, middles = await asyncio.to_thread(self._thumbnail_state, study_id)
        by_id = {series.id: series for series in await asyncio.to_thread(self._series, study_id)}
        made: list[tuple[Batch, Written]] = []
        batch = Batch("thumbnail")
        for middle in middles:
            if (picture := await self._thumbnail(middle)) is not None:
                batch.add(middle, picture)
            if batch.pictures and (len(batch.pictures) == THUMBNAILS or middle is middles[-1]):
                made.append((batch, await self._write(batch, by_id)))
                batch = Batch("thumbnail")
        await asyncio.to_thread(self._replace_thumbnails, study_id, made, known, settled)

    async def _thumbnail(self, middle: InstanceRow) -> RenderedFrame | None:
        job = RenderJob(
            self._archive / middle.path,
            first_frame=frame_count(middle) // 2 if middle.NumberOfFrames > 1 else 0,
            frame_count=1,
            max_side=self._settings.thumbnail_side,
            thumbnail_side=self._settings.thumbnail_side,
        )
        try:
            async with aclosing(self._pool.render(job)) as pictures:
                found = [picture async for picture in pictures if picture.kind == "thumbnail"]
        except RenderRefused as refused:
            if refused.reason == "closed":
                raise
            _log.warning("no thumbnail of instance %s: %s", middle.digest[:12], refused.reason)
            return None
        return found[0] if found else None

    def _thumbnail_state(self, study_id: int) -> tuple[list[SealedObject], list[InstanceRow]]:
        """The thumbnails that stand, and of each series that has pictures the instance in its middle."""
        with self._engine.connect() as connection:
            known = [o for o in deliveries.objects_of(connection, study_id) if o.layer == "thumbnail"]
            rendered = arrivals_read.instances_of(connection, study_id, "rendered")
        members: dict[int, list[InstanceRow]] = {}
        for row in sorted(rendered, key=lambda row: (row.InstanceNumber or 0, row.id)):
            members.setdefault(row.series_id, []).append(row)
        return known, [members[series_id][len(members[series_id]) // 2] for series_id in sorted(members)]

    def _replace_thumbnails(
        self, study_id: int, made: list[tuple[Batch, Written]], known: list[SealedObject], settled: bool
    ) -> None:
        with self._engine.begin() as connection:
            if made:
                deliveries.remove_objects(connection, [o.object for o in known])
            for batch, written in made:
                deliveries.add_object(connection, sealed_of(study_id, batch, written, 0), [])
            deliveries.clear_thumbnails(connection, study_id, settled)
            deliveries.touch(connection, study_id)
        for old in known if made else []:
            self._store.remove(old.object)
