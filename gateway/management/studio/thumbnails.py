"""The layer ``thumbnail``: one small picture a series, those of a study together."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.management.index import arrivals_read, deliveries
from gateway.management.index.arrivals_rows import InstanceRow
from gateway.management.index.deliveries import SealedObject
from gateway.management.object_store import Written
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.rendering.syntaxes import VIDEO
from gateway.management.studio.batches import BATCH_BYTES, Batch, frame_count, header_of, sealed_of
from gateway.management.studio.bench import Bench
from gateway.management.workers import RenderedFrame, RenderJob
from wire.messages import Layer

_log = logging.getLogger(__name__)

THUMBNAILS = 128
"""In one object; a study of more series has several."""


class Thumbnails:
    """Makes the layer ``thumbnail``, of the series that have pictures of the layer ``display``, or a stream."""

    layer: Layer = "thumbnail"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make them if they are due; yields once then. New objects take the place of the old ones."""
        if not await asyncio.to_thread(self._wanted, study_id, settled):
            return
        self._bench.check_room(2 * BATCH_BYTES)
        known, middles = await asyncio.to_thread(self._state, study_id)
        by_id = {series.id: series for series in await asyncio.to_thread(self._bench.series, study_id)}
        made: list[tuple[Batch, Written]] = []
        batch = Batch("thumbnail")
        for middle in middles:
            if (picture := await self._picture(middle)) is not None:
                batch.add(middle, picture)
            if batch.pictures and (len(batch.pictures) == THUMBNAILS or middle is middles[-1]):
                made.append((batch, await self._bench.write(header_of(batch, by_id), batch.data)))
                batch = Batch("thumbnail")
        await asyncio.to_thread(self._replace, study_id, made, known, settled)
        yield

    def _wanted(self, study_id: int, settled: bool) -> bool:
        with self._bench.engine.connect() as connection:
            return deliveries.thumbnails_wanted(connection, study_id, settled)

    def _state(self, study_id: int) -> tuple[list[SealedObject], list[InstanceRow]]:
        """The thumbnails that stand, and of each series that has pictures the instance in its middle."""
        with self._bench.engine.connect() as connection:
            known = [o for o in deliveries.objects_of(connection, study_id) if o.layer == "thumbnail"]
            rendered = arrivals_read.instances_of(connection, study_id, "rendered")
        members: dict[int, list[InstanceRow]] = {}
        for row in sorted(rendered, key=lambda row: (row.InstanceNumber or 0, row.id)):
            members.setdefault(row.series_id, []).append(row)
        return known, [members[series_id][len(members[series_id]) // 2] for series_id in sorted(members)]

    async def _picture(self, middle: InstanceRow) -> RenderedFrame | None:
        is_video = middle.TransferSyntaxUID in VIDEO  # which is not decoded: a sign stands for it
        job = RenderJob(
            self._bench.path(middle),
            first_frame=0 if is_video else frame_count(middle) // 2,
            frame_count=1,
            max_side=self._bench.settings.thumbnail_side,
            thumbnail_side=self._bench.settings.thumbnail_side,
            pet=self._bench.settings.pet,
            layer="video" if is_video else "display",
        )
        try:
            async with aclosing(self._bench.pool.render(job)) as pictures:
                found = [picture async for picture in pictures if picture.kind == "thumbnail"]
        except RenderRefused as refused:
            if refused.reason == "closed":
                raise
            _log.warning("no thumbnail of instance %s: %s", middle.digest[:12], refused.reason)
            return None
        return found[0] if found else None

    def _replace(
        self, study_id: int, made: list[tuple[Batch, Written]], known: list[SealedObject], settled: bool
    ) -> None:
        with self._bench.engine.begin() as connection:
            if made:
                deliveries.remove_objects(connection, [o.object for o in known])
            for batch, written in made:
                deliveries.add_object(connection, sealed_of(study_id, batch, written, 0), [])
            deliveries.clear_thumbnails(connection, study_id, settled)
            deliveries.touch(connection, study_id)
        for old in known if made else []:
            self._bench.store.remove(old.object)
