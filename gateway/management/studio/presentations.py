"""Pictures of the layer ``display`` that presentation states ask for, once their study has settled.

The images stay as their files say. What a state makes of them stands beside them in the state's own series: instance
and series are those of the state, frames count its pictures, and each part's ReferencedImageSequence names its image.
A state that came before one of its images is made anew, whole, when that has come.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Final

from gateway.management.index import arrivals_quarantine, deliveries, layers
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.index.layers import Stage
from gateway.management.object_store import Written
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.studio import presented
from gateway.management.studio.batches import BATCH_BYTES, Batch, header_of, sealed_of
from gateway.management.studio.bench import Bench
from gateway.management.studio.presented import Presented

_log = logging.getLogger(__name__)

MAX_PICTURES: Final = 1024
"""Of one state; one that is about more is a window for a whole study, which every device can set by itself."""
_SPARED: Final = ("too-large", layers.INCOMPLETE)
"""Reasons for which nobody has to look at a state."""

_Made = list[tuple[Batch, Written]]


class Presentations:
    """Makes the pictures of presentation states."""

    layer: Stage = "presentation"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what is lacking of a settled study; yields after each state, which has its pictures then or has none."""
        due = await asyncio.to_thread(self._due, study_id) if settled else []
        by_id = {series.id: series for series in await asyncio.to_thread(self._bench.series, study_id)} if due else {}
        images = await asyncio.to_thread(presented.images_of, self._bench, study_id) if due else {}
        for state in due:
            made: _Made = []
            try:
                self._bench.check_room(2 * BATCH_BYTES)
                found = await presented.read(self._bench, state, images)
                reason = "" if found.is_complete else layers.INCOMPLETE
                await self._pictures(by_id[state.series_id], found, made)
            except RenderRefused as refusal:
                self._remove([written.object for _, written in made])
                if refusal.reason == "closed":
                    raise
                made, reason = [], refusal.reason
            except BaseException:
                self._remove([written.object for _, written in made])
                raise
            if reason:
                _log.warning("pictures of presentation state %s: %s", state.digest[:12], reason)
            await asyncio.to_thread(self._enter, state, made, reason)
            yield

    async def _pictures(self, series: SeriesRow, found: Presented, made: _Made) -> None:
        if len(found.wanted) > MAX_PICTURES:
            raise RenderRefused("too-large")
        batch = Batch("display")
        for at in range(len(found.wanted)):
            if (picture := await found.picture(self._bench, at)) is None:
                continue
            batch.add(found.state, picture)
            if batch.full:
                made.append((batch, await self._write(series, batch)))
                batch = Batch("display")
                self._bench.check_room(2 * BATCH_BYTES)
        if batch.pictures:
            made.append((batch, await self._write(series, batch)))
        if found.wanted and not made:
            raise RenderRefused("decode")

    async def _write(self, series: SeriesRow, batch: Batch) -> Written:
        return await self._bench.write(header_of(batch, {series.id: series}), batch.data)

    # ── the index ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _due(self, study_id: int) -> list[InstanceRow]:
        with self._bench.engine.connect() as connection:
            return layers.due_of(connection, study_id, "presentation")

    def _enter(self, state: InstanceRow, made: _Made, reason: str) -> None:
        """In place of what stood for the state before."""
        with self._bench.engine.begin() as connection:
            old = deliveries.holding(connection, state.id, "display")
            deliveries.remove_objects(connection, old)
            for batch, written in made:
                number = deliveries.next_batch(connection, state.study_id)
                deliveries.add_object(connection, sealed_of(state.study_id, batch, written, number), batch.spans())
            layers.close(connection, "presentation", [state.id], reason)
            if reason and reason not in _SPARED:
                arrivals_quarantine.set_instance_state(connection, [state.id], "failed", reason)
            if made or old:
                deliveries.mark_thumbnails(connection, state.study_id)
            deliveries.touch(connection, state.study_id)
        self._remove(old)

    def _remove(self, object_ids: list[str]) -> None:
        for object_id in object_ids:
            self._bench.store.remove(object_id)
