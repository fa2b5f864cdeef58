"""The layer ``report``: made as soon as a report has come, whether the study has settled or not.

What came together in a series becomes one object, so a report that comes a day after its images is announced alone.
One document is held at a time; they are small, or a scanned PDF that is not.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby

from gateway.management.index import arrivals_quarantine, deliveries, layers
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.object_store import Written
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.studio.batches import BATCH_BYTES, Batch, header_of, sealed_of
from gateway.management.studio.bench import Bench
from gateway.management.workers import RenderedFrame, RenderJob
from wire.messages import Layer

_log = logging.getLogger(__name__)

_ROOM_BYTES = BATCH_BYTES + RenderLimits().max_picture_bytes


class Reports:
    """Makes the layer ``report``."""

    layer: Layer = "report"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what is lacking; yields after each object, and after reports that cannot be made."""
        due = await asyncio.to_thread(self._due, study_id)
        by_id = {series.id: series for series in await asyncio.to_thread(self._bench.series, study_id)} if due else {}
        for series_id, instances in groupby(due, key=lambda row: row.series_id):
            async with aclosing(self._series(by_id[series_id], list(instances))) as objects:
                async for _ in objects:
                    yield

    def _due(self, study_id: int) -> list[InstanceRow]:
        with self._bench.engine.connect() as connection:
            return layers.due_of(connection, study_id, "report")

    async def _series(self, series: SeriesRow, due: list[InstanceRow]) -> AsyncGenerator[None, None]:
        batch, refused = Batch("report"), False
        self._bench.check_room(_ROOM_BYTES)
        for instance in due:
            try:
                parts = await self._document(instance)
            except RenderRefused as refusal:
                if refusal.reason == "closed":
                    raise
                _log.warning("no report of instance %s: %s", instance.digest[:12], refusal.reason)
                await asyncio.to_thread(self._refuse, instance, refusal.reason)
                refused = True
                continue
            for part in parts:
                batch.add(instance, part)
            if batch.full:
                await self._keep(series, batch)
                batch = Batch("report")
                yield
                self._bench.check_room(_ROOM_BYTES)
        if batch.pictures:
            await self._keep(series, batch)
        if batch.pictures or refused:
            yield

    # ── one report ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _document(self, instance: InstanceRow) -> list[RenderedFrame]:
        """The document's parts, and behind a PDF a picture of its first page if one can be had."""
        job = RenderJob(self._bench.path(instance), layer="report", owner=instance.study_id)
        try:
            parts = await self._made(job)
        except RenderRefused as refused:
            # A worker may fall to what has nothing to do with this file, such as the system's want of memory.
            if refused.reason != "crashed":
                raise
            parts = await self._made(job)
        if parts and parts[0].media == "application/pdf":
            try:
                parts += await self._made(replace(job, thumbnail_side=self._bench.settings.thumbnail_side))
            except RenderRefused as refused:
                if refused.reason == "closed":
                    raise
                _log.info("no picture of the report of instance %s: %s", instance.digest[:12], refused.reason)
        return parts

    async def _made(self, job: RenderJob) -> list[RenderedFrame]:
        async with aclosing(self._bench.pool.render(job)) as parts:
            return [part async for part in parts]

    # ── the index ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _refuse(self, instance: InstanceRow, reason: str) -> None:
        with self._bench.engine.begin() as connection:
            layers.close(connection, "report", [instance.id], reason)
            if not instance.has_pixels:  # no other layer has a say in what became of it
                arrivals_quarantine.set_instance_state(connection, [instance.id], "failed", reason)
            deliveries.touch(connection, instance.study_id)

    async def _keep(self, series: SeriesRow, batch: Batch) -> None:
        written = await self._bench.write(header_of(batch, {series.id: series}), batch.data)
        await asyncio.to_thread(self._enter, series, batch, written)

    def _enter(self, series: SeriesRow, batch: Batch, written: Written) -> None:
        with self._bench.engine.begin() as connection:
            number = deliveries.next_batch(connection, series.study_id)
            deliveries.add_object(connection, sealed_of(series.study_id, batch, written, number), batch.spans())
            layers.close(connection, "report", [instance.id for instance in batch.instances])
            deliveries.touch(connection, series.study_id)
