"""The layer ``thumbnail``: one small picture a series, those of a study together."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.management.index import arrivals_read, deliveries
from gateway.management.index.arrivals_rows import InstanceRow
from gateway.management.index.deliveries import SealedObject
from gateway.management.index.layers import PRESENTATION_STATES
from gateway.management.index.named_pixels import series_with_names
from gateway.management.object_store import Written
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.rendering.syntaxes import VIDEO
from gateway.management.studio import presented
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
        known, groups = await asyncio.to_thread(self._state, study_id)
        by_id = {series.id: series for series in await asyncio.to_thread(self._bench.series, study_id)}
        images = await asyncio.to_thread(presented.images_of, self._bench, study_id)
        made: list[tuple[Batch, Written]] = []
        for group in groups:
            batch = Batch("thumbnail")
            for middle in group:
                is_state = middle.SOPClassUID in PRESENTATION_STATES
                picture = await (self._presented(middle, images) if is_state else self._picture(middle))
                if picture is not None:
                    batch.add(middle, picture)
            if batch.pictures:
                made.append((batch, await self._bench.write(header_of(batch, by_id), batch.data)))
        await asyncio.to_thread(self._replace, study_id, made, known, settled)
        yield

    def _wanted(self, study_id: int, settled: bool) -> bool:
        with self._bench.engine.connect() as connection:
            return deliveries.thumbnails_wanted(connection, study_id, settled)

    def _state(self, study_id: int) -> tuple[list[SealedObject], list[list[InstanceRow]]]:
        """The thumbnails that stand; and of each series that has pictures the instance in its middle, by object.

        Series that wards may not see have objects of their own, so that wards get the others.
        """
        with self._bench.engine.connect() as connection:
            known = [o for o in deliveries.objects_of(connection, study_id) if o.layer == "thumbnail"]
            rows = arrivals_read.instances_of(connection, study_id)
            begun = deliveries.begun(connection, study_id, "display")
            named = series_with_names(connection, study_id)
        members: dict[int, list[InstanceRow]] = {}
        for row in sorted(rows, key=lambda row: (row.InstanceNumber or 0, row.id)):
            is_state = row.SOPClassUID in PRESENTATION_STATES and row.id in begun and row.state != "evicted"
            if row.state == "rendered" or is_state:
                members.setdefault(row.series_id, []).append(row)
        groups: list[list[InstanceRow]] = []
        for is_named in (False, True):
            ids = [series_id for series_id in sorted(members) if (series_id in named) == is_named]
            middles = [members[series_id][len(members[series_id]) // 2] for series_id in ids]
            groups += [middles[at : at + THUMBNAILS] for at in range(0, len(middles), THUMBNAILS)]
        return known, groups

    async def _presented(self, state: InstanceRow, images: dict[str, InstanceRow]) -> RenderedFrame | None:
        """The first of its pictures that can be made."""
        try:
            found = await presented.read(self._bench, state, images)
            for at in range(len(found.wanted)):
                if (picture := await found.picture(self._bench, at, thumbnail=True)) is not None:
                    return picture
        except RenderRefused as refused:
            if refused.reason == "closed":
                raise
        return None

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
            owner=middle.study_id,
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
