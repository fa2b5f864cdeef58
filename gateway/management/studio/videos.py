"""The layer ``video``: an object for each stream, made as soon as its instance has come.

A worker says where in the file the stream's fragments lie, and what it is. They are copied from there through the
seal: memory holds a piece of one.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from gateway.management.index import arrivals_quarantine, deliveries, layers
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.index.deliveries import FrameSpan, SealedObject
from gateway.management.object_store import Written
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.studio.batches import BATCH_BYTES, frame_count
from gateway.management.studio.bench import Bench
from gateway.management.worker_protocol import SPAN
from gateway.management.workers import RenderedFrame, RenderJob
from wire import objects
from wire.limits import MAX_OBJECT_BYTES, MAX_OBJECT_HEADER_BYTES
from wire.messages import Layer
from wire.objects import Header, Instance, Part

_log = logging.getLogger(__name__)

_PIECE_BYTES: Final = 1024 * 1024
_MOST_BYTES: Final = MAX_OBJECT_BYTES - MAX_OBJECT_HEADER_BYTES - objects.LENGTH_BYTES
Spans = list[tuple[int, int]]


class Videos:
    """Makes the layer ``video``."""

    layer: Layer = "video"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what is lacking; yields after each object, and after each stream that cannot be passed on."""
        due = await asyncio.to_thread(self._due, study_id)
        by_id = {series.id: series for series in await asyncio.to_thread(self._bench.series, study_id)} if due else {}
        for instance in due:
            self._bench.check_room(instance.size_bytes + BATCH_BYTES)
            try:
                stream, spans = await self._told(instance)
                header = _header(by_id[instance.series_id], instance, stream, sum(length for _, length in spans))
                written = await self._bench.write(header, _pieces(self._bench.path(instance), spans))
            except RenderRefused as refusal:
                if refusal.reason == "closed":
                    raise
                _log.warning("no video of instance %s: %s", instance.digest[:12], refusal.reason)
                await asyncio.to_thread(self._fail, instance, refusal.reason)
            else:
                await asyncio.to_thread(self._enter, instance, written)
            yield

    async def _told(self, instance: InstanceRow) -> tuple[RenderedFrame, Spans]:
        """What a worker says of the stream. RenderRefused also where that cannot be."""
        job = RenderJob(self._bench.path(instance), layer="video", owner=instance.study_id)
        try:
            return _checked(await self._made(job))
        except RenderRefused as refused:
            # A worker may fall to what has nothing to do with this file, such as the system's want of memory.
            if refused.reason != "crashed":
                raise
            return _checked(await self._made(job))

    async def _made(self, job: RenderJob) -> list[RenderedFrame]:
        async with aclosing(self._bench.pool.render(job)) as parts:
            return [part async for part in parts]

    # ── the index ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _due(self, study_id: int) -> list[InstanceRow]:
        with self._bench.engine.begin() as connection:
            due = layers.due_of(connection, study_id, "video")
            begun = deliveries.begun(connection, study_id, "video") if due else set()
            # Their files were evicted and came again; the streams stand.
            whole = [row.id for row in due if row.id in begun]
            arrivals_quarantine.set_instance_state(connection, whole, "rendered", "")
        return [row for row in due if row.id not in begun]

    def _fail(self, instance: InstanceRow, reason: str) -> None:
        with self._bench.engine.begin() as connection:
            arrivals_quarantine.set_instance_state(connection, [instance.id], "failed", reason)
            deliveries.touch(connection, instance.study_id)

    def _enter(self, instance: InstanceRow, written: Written) -> None:
        frames = frame_count(instance)
        with self._bench.engine.begin() as connection:
            sealed = SealedObject(
                object=written.object,
                study_id=instance.study_id,
                layer="video",
                series_ids=(instance.series_id,),
                batch=deliveries.next_batch(connection, instance.study_id),
                frames=frames,
                key=written.key,
                size=written.size,
                manifest=written.manifest,
            )
            deliveries.add_object(connection, sealed, [FrameSpan(instance.id, 0, frames)])
            arrivals_quarantine.set_instance_state(connection, [instance.id], "rendered", "")
            deliveries.mark_thumbnails(connection, instance.study_id)
            deliveries.touch(connection, instance.study_id)


def _checked(parts: list[RenderedFrame]) -> tuple[RenderedFrame, Spans]:
    """The stream and where it lies, if a worker's word can be that: one part, fragments one behind the other."""
    if len(parts) != 1 or parts[0].kind != "video" or len(parts[0].data) % SPAN.size:
        raise RenderRefused("malformed")
    spans: Spans = [(int(offset), int(length)) for offset, length in SPAN.iter_unpack(parts[0].data)]
    at = 0
    for offset, length in spans:
        if offset < at:
            raise RenderRefused("malformed")
        at = offset + length
    if sum(length for _, length in spans) > _MOST_BYTES:
        raise RenderRefused("too-large")
    return parts[0], spans


def _pieces(path: Path, spans: Spans) -> Iterator[bytes]:
    """The fragments' bytes. RenderRefused where the file is not what it was a moment ago."""
    try:
        with path.open("rb") as file:
            for offset, length in spans:
                file.seek(offset)
                left = length
                while left:
                    piece = file.read(min(left, _PIECE_BYTES))
                    if not piece:
                        raise RenderRefused("unreadable")
                    left -= len(piece)
                    yield piece
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise RenderRefused("unreadable") from None
        raise


def _header(series: SeriesRow, instance: InstanceRow, stream: RenderedFrame, length: int) -> Header:
    part = Part(
        instance=0,
        frame=0,
        band=0,
        length=length,
        media=stream.media,
        lossy=stream.lossy,
        ratio_x100=stream.ratio_x100,
    )
    return Header(
        version=1,
        layer="video",
        series=[series.SeriesInstanceUID],
        instances=[Instance(instance.SOPInstanceUID, 0)],
        parts=[part],
        attributes=objects.deflate_json({"shared": stream.attributes, "parts": [{}]}),
    )
