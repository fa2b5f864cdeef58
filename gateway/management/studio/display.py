"""The layer ``display``: pictures of eight bits, batch by batch while the study grows.

A batch becomes one object; what is in it is noted with it in one transaction, so a restart goes on after the last
batch and makes nothing twice. Memory holds one batch and the few pictures that the workers are ahead.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from gateway.management.index import arrivals_quarantine, arrivals_read, deliveries, layers
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.object_store import Written
from gateway.management.rendering.syntaxes import VIDEO
from gateway.management.studio.batches import BATCH_BYTES, Batch, frame_count, header_of, sealed_of
from gateway.management.studio.bench import Bench, Frames
from wire.messages import Layer

GROWING_FRAMES = 32
"""While a study grows, a batch is made once this many frames wait; when it has settled, of all that is left."""


class Display:
    """Makes the layer ``display``."""

    layer: Layer = "display"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what is lacking; yields after each object, and after an instance of which nothing could be made."""
        pending = await asyncio.to_thread(self._pending, study_id)
        for series in await asyncio.to_thread(self._bench.series, study_id) if pending else []:
            mine = [row for row in pending if row.series_id == series.id]
            if not mine or (not settled and sum(frame_count(i) for i in mine) < GROWING_FRAMES):
                continue
            async with aclosing(self._series(series, mine)) as batches:
                async for _ in batches:
                    yield

    def _pending(self, study_id: int) -> list[InstanceRow]:
        with self._bench.engine.connect() as connection:
            received = arrivals_read.instances_of(connection, study_id, "received")
            rows = [row for row in received if row.has_pixels and row.TransferSyntaxUID not in VIDEO]
            begun = deliveries.begun(connection, study_id, "display") if rows else set()
            stood = {row.id: frame_count(row) for row in rows if row.id in begun}
            gaps = deliveries.gaps_of(connection, stood, "display")
            whole = {instance_id for instance_id in stood if not gaps[instance_id]}
        if whole:
            # Their files were evicted and came again; the pictures stand.
            with self._bench.engine.begin() as connection:
                arrivals_quarantine.set_instance_state(connection, whole, "rendered", "")
                layers.reopen_incomplete(connection, study_id, "presentation")
        lacking = [row for row in rows if row.id not in whole]
        return sorted(lacking, key=lambda row: (row.InstanceNumber or 0, row.id))

    async def _series(self, series: SeriesRow, pending: Sequence[InstanceRow]) -> AsyncGenerator[None, None]:
        batch = Batch("display")
        self._bench.check_room(2 * BATCH_BYTES)
        gaps = await self._bench.gaps(pending, "display")

        def frames(instance: InstanceRow) -> Frames:
            return self._bench.missing(instance, "display", gaps[instance.id], self._fail)

        async with aclosing(self._bench.side_by_side(pending, frames)) as pictures:
            async for instance, picture in pictures:
                if picture is None:
                    yield
                    continue
                batch.add(instance, picture)
                if batch.full:
                    await self._keep(series, batch)
                    batch = Batch("display")
                    yield
                    self._bench.check_room(2 * BATCH_BYTES)
        if batch.pictures:
            await self._keep(series, batch)
            yield

    def _fail(self, instance: InstanceRow, reason: str) -> None:
        with self._bench.engine.begin() as connection:
            arrivals_quarantine.set_instance_state(connection, [instance.id], "failed", reason)

    async def _keep(self, series: SeriesRow, batch: Batch) -> None:
        written = await self._bench.write(header_of(batch, {series.id: series}), batch.data)
        await asyncio.to_thread(self._enter, series, batch, written)

    def _enter(self, series: SeriesRow, batch: Batch, written: Written) -> None:
        with self._bench.engine.begin() as connection:
            number = deliveries.next_batch(connection, series.study_id)
            sealed = sealed_of(series.study_id, batch, written, number)
            deliveries.add_object(connection, sealed, batch.spans())
            frames = {instance.id: frame_count(instance) for instance in batch.instances}
            lacking = deliveries.gaps_of(connection, frames, "display")
            whole = [instance_id for instance_id, gaps in lacking.items() if not gaps]
            deliveries.mark_thumbnails(connection, series.study_id)
            arrivals_quarantine.set_instance_state(connection, whole, "rendered", "")
            layers.reopen_incomplete(connection, series.study_id, "presentation")
            deliveries.touch(connection, series.study_id)
