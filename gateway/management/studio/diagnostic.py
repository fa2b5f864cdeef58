"""The layer ``diagnostic``: the frames of a series that has settled, all first bands first, an object for each series.

Late instances make a further object. What cannot be made of an instance is noted for this layer alone.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from gateway.management.index import deliveries, layers
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.object_store import Written
from gateway.management.studio.banded import Banded
from gateway.management.studio.batches import frame_count
from gateway.management.studio.bench import Bench, Frames
from wire.messages import Layer

_ROOM_BYTES = 32 << 20
"""What must be free beside what is spooled and its sealed copy."""


class Diagnostic:
    """Makes the layer ``diagnostic``."""

    layer: Layer = "diagnostic"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what is lacking; yields after each object, and after what could not be made."""
        due = await asyncio.to_thread(self._due, study_id) if settled else []
        for series in await asyncio.to_thread(self._bench.series, study_id) if due else []:
            mine = [row for row in due if row.series_id == series.id]
            if mine:
                async with aclosing(self._series(series, mine)) as objects:
                    async for _ in objects:
                        yield

    def _due(self, study_id: int) -> list[InstanceRow]:
        with self._bench.engine.connect() as connection:
            return layers.due_of(connection, study_id, "diagnostic")

    async def _series(self, series: SeriesRow, due: Sequence[InstanceRow]) -> AsyncGenerator[None, None]:
        self._bench.check_room(_ROOM_BYTES)
        refused: dict[int, str] = {}
        gaps = await self._bench.gaps(due, "diagnostic")

        def frames(instance: InstanceRow) -> Frames:
            return self._bench.missing(
                instance, "diagnostic", gaps[instance.id], lambda row, reason: refused.update({row.id: reason})
            )

        batch = Banded.begin("diagnostic", self._bench.store.root)
        try:
            async with aclosing(self._bench.side_by_side(due, frames)) as bands:
                async for instance, band in bands:
                    if band is None:
                        yield
                        continue
                    await asyncio.to_thread(batch.add, instance, band)
                    if band.band == 0 and batch.full:
                        await self._keep(series, batch, batch.instances, refused)
                        batch.spool.close()
                        batch = Banded.begin("diagnostic", self._bench.store.root)
                        yield
                    self._bench.check_room(batch.spool.size_bytes + _ROOM_BYTES)
            await self._keep(series, batch, due, refused)
            yield
        finally:
            batch.spool.close()

    async def _keep(
        self, series: SeriesRow, batch: Banded, over: Sequence[InstanceRow], refused: Mapping[int, str]
    ) -> None:
        """Seal what there is, and note which of ``over`` are whole now and which were refused."""
        written = None
        if batch.frames:
            written = await self._bench.write(batch.header(series), batch.parts())
        await asyncio.to_thread(self._enter, series, batch, written, over, refused)

    def _enter(
        self,
        series: SeriesRow,
        batch: Banded,
        written: Written | None,
        over: Sequence[InstanceRow],
        refused: Mapping[int, str],
    ) -> None:
        with self._bench.engine.begin() as connection:
            if written is not None:
                number = deliveries.next_batch(connection, series.study_id)
                deliveries.add_object(connection, batch.sealed(series, written, number), batch.spans())
            made = {instance.id: frame_count(instance) for instance in over if instance.id not in refused}
            lacking = deliveries.gaps_of(connection, made, "diagnostic")
            whole = [instance_id for instance_id, gaps in lacking.items() if not gaps]
            layers.close(connection, "diagnostic", whole)
            # together with the frames that stood in front of the refusal, or a kill would lose those
            for reason in set(refused.values()):
                ids = [instance_id for instance_id, why in refused.items() if why == reason]
                layers.close(connection, "diagnostic", ids, reason)
            deliveries.touch(connection, series.study_id)
