"""From instances to sealed objects: renders what a study still lacks, frame by frame, batch by batch.

A batch becomes one object; what is in it is noted with it in one transaction, so a restart goes on after the last
batch and makes nothing twice. Memory holds one batch and the few pictures that the workers are ahead.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from gateway.config import Rendering
from gateway.management.index import arrivals_quarantine, arrivals_read, deliveries
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.index.deliveries import FrameSpan, SealedObject
from gateway.management.object_store import ObjectStore, Written
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.workers import RenderedFrame, RenderJob, RenderPool
from wire import objects
from wire.limits import MAX_PARTS
from wire.messages import Layer
from wire.objects import Header, Instance, Part

_log = logging.getLogger(__name__)

GROWING_FRAMES = 32
"""While a study grows, a batch is made once this many frames wait; when it has settled, of all that is left."""
BATCH_FRAMES = 64
BATCH_BYTES = 6 * 1024 * 1024


@dataclass(slots=True)
class _Batch:
    """Pictures that become one object."""

    layer: Layer
    instances: list[InstanceRow] = field(default_factory=list)
    pictures: list[tuple[int, RenderedFrame]] = field(default_factory=list)
    size: int = 0

    def add(self, instance: InstanceRow, picture: RenderedFrame) -> None:
        if not self.instances or self.instances[-1].id != instance.id:
            self.instances.append(instance)
        self.pictures.append((len(self.instances) - 1, picture))
        self.size += len(picture.data)

    @property
    def full(self) -> bool:
        return self.size >= BATCH_BYTES or len(self.pictures) >= min(BATCH_FRAMES, MAX_PARTS)

    def spans(self) -> list[FrameSpan]:
        """The frames of each instance; they are consecutive, because they come in order."""
        spans = []
        for position, instance in enumerate(self.instances):
            frames = [picture.frame for at, picture in self.pictures if at == position]
            spans.append(FrameSpan(instance.id, frames[0], len(frames)))
        return spans


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
        """Make what is lacking; yields after each object, so that it can be announced."""
        made = False
        for series in await asyncio.to_thread(self._series, study_id):
            pending = await asyncio.to_thread(self._pending, study_id, series.id)
            if not settled and sum(max(i.NumberOfFrames, 1) for i in pending) < GROWING_FRAMES:
                continue
            async with aclosing(self._display(series, pending)) as batches:
                async for _ in batches:
                    made = True
                    yield
        if made and await self._thumbnails(study_id, only_first=not settled):
            yield

    def _series(self, study_id: int) -> list[SeriesRow]:
        with self._engine.connect() as connection:
            return arrivals_read.series_of(connection, study_id)

    def _pending(self, study_id: int, series_id: int) -> list[InstanceRow]:
        with self._engine.connect() as connection:
            rows = arrivals_read.instances_of(connection, study_id, "received")
        mine = [row for row in rows if row.series_id == series_id and row.has_pixels]
        return sorted(mine, key=lambda row: (row.InstanceNumber or 0, row.id))

    # ── display ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _display(self, series: SeriesRow, pending: Sequence[InstanceRow]) -> AsyncGenerator[None, None]:
        batch = _Batch("display")
        async with aclosing(self._pictures(pending)) as pictures:
            async for instance, picture in pictures:
                batch.add(instance, picture)
                if batch.full:
                    await self._keep(series, batch)
                    batch = _Batch("display")
                    yield
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
        first = await asyncio.to_thread(self._frames_done, instance.id)
        if first >= max(instance.NumberOfFrames, 1):
            return
        job = RenderJob(
            self._archive / instance.path,
            first_frame=first,
            max_side=self._settings.max_side,
            quality=self._settings.quality,
        )
        try:
            async with aclosing(self._pool.render(job)) as pictures:
                async for picture in pictures:
                    yield picture
        except RenderRefused as refused:
            if refused.reason == "closed":
                raise
            _log.warning("instance %s was not rendered: %s", instance.digest[:12], refused.reason)
            await asyncio.to_thread(self._fail, instance.id, refused.reason)

    def _frames_done(self, instance_id: int) -> int:
        with self._engine.connect() as connection:
            return deliveries.frames_done(connection, instance_id, "display")

    def _fail(self, instance_id: int, reason: str) -> None:
        with self._engine.begin() as connection:
            arrivals_quarantine.set_instance_state(connection, [instance_id], "failed", reason)

    async def _keep(self, series: SeriesRow, batch: _Batch) -> None:
        header = _header(batch, {series.id: series})
        written = await asyncio.to_thread(
            self._store.write, batch.layer, objects.pack_header(header), [p.data for _, p in batch.pictures]
        )
        await asyncio.to_thread(self._enter, series, batch, written)

    def _enter(self, series: SeriesRow, batch: _Batch, written: Written) -> None:
        spans = batch.spans()
        with self._engine.begin() as connection:
            known = deliveries.objects_of(connection, series.study_id)
            sealed = SealedObject(
                object=written.object,
                study_id=series.study_id,
                layer=batch.layer,
                series_ids=(series.id,),
                batch=1 + max((o.batch for o in known), default=0),
                frames=len(batch.pictures),
                key=written.key,
                size=written.size,
                manifest=written.manifest,
            )
            deliveries.add_object(connection, sealed, spans)
            ends = {span.instance_id: span.first_frame + span.frame_count for span in spans}
            done = [i.id for i in batch.instances if ends[i.id] >= max(i.NumberOfFrames, 1)]
            arrivals_quarantine.set_instance_state(connection, done, "rendered", "")

    # ── thumbnails ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _thumbnails(self, study_id: int, only_first: bool) -> bool:
        """One small picture a series, those of a study in one object; a new object takes the place of the old one."""
        known, rendered = await asyncio.to_thread(self._thumbnail_state, study_id)
        if only_first and known:
            return False
        batch = _Batch("thumbnail")
        by_id = {series.id: series for series in await asyncio.to_thread(self._series, study_id)}
        for series_id in by_id:
            members = [row for row in rendered if row.series_id == series_id]
            if not members:
                continue
            middle = members[len(members) // 2]
            job = RenderJob(
                self._archive / middle.path,
                first_frame=middle.NumberOfFrames // 2 if middle.NumberOfFrames > 1 else 0,
                frame_count=1,
                max_side=self._settings.thumbnail_side,
                thumbnail_side=self._settings.thumbnail_side,
            )
            try:
                async with aclosing(self._pool.render(job)) as pictures:
                    async for picture in pictures:
                        if picture.kind == "thumbnail":
                            batch.add(middle, picture)
            except RenderRefused as refused:
                _log.warning("no thumbnail of instance %s: %s", middle.digest[:12], refused.reason)
        if not batch.pictures:
            return False
        header = _header(batch, by_id)
        written = await asyncio.to_thread(
            self._store.write, batch.layer, objects.pack_header(header), [p.data for _, p in batch.pictures]
        )
        await asyncio.to_thread(self._replace_thumbnails, study_id, batch, written, known)
        return True

    def _thumbnail_state(self, study_id: int) -> tuple[list[SealedObject], list[InstanceRow]]:
        with self._engine.connect() as connection:
            known = [o for o in deliveries.objects_of(connection, study_id) if o.layer == "thumbnail"]
            rendered = arrivals_read.instances_of(connection, study_id, "rendered")
        return known, sorted(rendered, key=lambda row: (row.InstanceNumber or 0, row.id))

    def _replace_thumbnails(self, study_id: int, batch: _Batch, written: Written, known: list[SealedObject]) -> None:
        with self._engine.begin() as connection:
            deliveries.remove_objects(connection, [o.object for o in known])
            sealed = SealedObject(
                object=written.object,
                study_id=study_id,
                layer="thumbnail",
                series_ids=tuple(dict.fromkeys(row.series_id for row in batch.instances)),
                batch=0,
                frames=len(batch.pictures),
                key=written.key,
                size=written.size,
                manifest=written.manifest,
            )
            deliveries.add_object(connection, sealed, [])
        for old in known:
            self._store.remove(old.object)


def _header(batch: _Batch, series: dict[int, SeriesRow]) -> Header:
    order = list(dict.fromkeys(instance.series_id for instance in batch.instances))
    shared, each = _split([picture.attributes for _, picture in batch.pictures])
    return Header(
        version=1,
        layer=batch.layer,
        series=[series[series_id].SeriesInstanceUID for series_id in order],
        instances=[Instance(row.SOPInstanceUID, order.index(row.series_id)) for row in batch.instances],
        parts=[
            Part(
                instance=at,
                frame=picture.frame,
                band=0,
                length=len(picture.data),
                media=picture.media,  # type: ignore[arg-type]  # the worker's protocol has the same closed set
                lossy=picture.lossy,
                ratio_x100=picture.ratio_x100,
            )
            for at, picture in batch.pictures
        ],
        attributes=objects.deflate_json({"shared": shared, "parts": each}),
    )


def _split(all_attributes: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all pictures have in common, once; and what is each one's own."""
    first = all_attributes[0]
    shared = {tag: value for tag, value in first.items() if all(a.get(tag) == value for a in all_attributes[1:])}
    return shared, [{tag: value for tag, value in a.items() if tag not in shared} for a in all_attributes]
