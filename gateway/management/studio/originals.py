"""The layer ``original``: DICOM Part 10 files, byte for byte as received; of what was ordered, once it has settled.

No worker has a part in it, for nothing is decoded. Files stream through the seal: memory holds a piece of one.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass

from gateway.management.index import deliveries, layers, ordered
from gateway.management.index.arrivals_quarantine import set_instance_state
from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.index.deliveries import FrameSpan, SealedObject
from gateway.management.object_store import Written
from gateway.management.studio.batches import frame_count
from gateway.management.studio.bench import Bench
from wire import objects
from wire.limits import MAX_OBJECT_BYTES, MAX_OBJECT_HEADER_BYTES
from wire.messages import Layer
from wire.objects import Header, Instance, Part

_log = logging.getLogger(__name__)

OBJECT_BYTES = 256 * 1024 * 1024
"""A series is one object up to here, and several beyond; a larger file is an object by itself."""
OBJECT_FILES = 1024
_PIECE_BYTES = 1024 * 1024


class _UnfitError(Exception):
    """A file is not what the index says of it."""

    def __init__(self, instance: InstanceRow, reason: str) -> None:
        super().__init__(reason)
        self.instance = instance
        self.reason = reason


class Originals:
    """Makes the layer ``original``."""

    layer: Layer = "original"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what was ordered; yields after each object. It is offered as a whole: a device then knows it has all."""
        due = await asyncio.to_thread(self._due, study_id)
        series = {row.id: row for row in await asyncio.to_thread(self._bench.series, study_id)} if due else {}
        made: list[_Made] = []
        try:
            for group in _groups(due):
                self._bench.check_room(sum(instance.size_bytes for instance in group))
                if (one := await self._make(series[group[0].series_id], group)) is not None:
                    made.append(one)
                yield
        except BaseException:
            for one in made:
                self._bench.store.remove(one.written.object)
            raise
        await asyncio.to_thread(self._enter, study_id, made)
        yield

    def _due(self, study_id: int) -> list[InstanceRow]:
        with self._bench.engine.connect() as connection:
            return layers.due_of(connection, study_id, "original")

    async def _make(self, series: SeriesRow, group: Sequence[InstanceRow]) -> "_Made | None":
        """One object of these files, less those that are not what they were; None if none is left."""
        files = list(group)
        while files:
            try:
                return _Made(series, files, await self._bench.write(_header(series, files), self._pieces(files)))
            except _UnfitError as error:
                _log.warning("no original of instance %s: %s", error.instance.digest[:12], error.reason)
                await asyncio.to_thread(self._refuse, error)
                files.remove(error.instance)
        return None

    def _pieces(self, files: Sequence[InstanceRow]) -> Iterator[bytes]:
        for instance in files:
            if instance.size_bytes > MAX_OBJECT_BYTES - MAX_OBJECT_HEADER_BYTES - objects.LENGTH_BYTES:
                raise _UnfitError(instance, "too-large")
            digest = hashlib.sha256()
            try:
                with self._bench.path(instance).open("rb") as file:
                    while piece := file.read(_PIECE_BYTES):
                        digest.update(piece)
                        yield piece
            except FileNotFoundError:
                raise _UnfitError(instance, layers.MISSING) from None
            if digest.hexdigest() != instance.digest:
                raise _UnfitError(instance, "changed")

    def _refuse(self, error: _UnfitError) -> None:
        with self._bench.engine.begin() as connection:
            layers.close(connection, "original", [error.instance.id], error.reason)
            if error.reason == layers.MISSING:
                set_instance_state(connection, [error.instance.id], "evicted", "the file is not there")

    def _enter(self, study_id: int, made: "Sequence[_Made]") -> None:
        with self._bench.engine.begin() as connection:
            for one in made:
                sealed = _sealed(one, deliveries.next_batch(connection, study_id))
                deliveries.add_object(connection, sealed, [FrameSpan(f.id, 0, frame_count(f)) for f in one.files])
                layers.close(connection, "original", [file.id for file in one.files])
            if not layers.due_of(connection, study_id, "original"):
                ordered.close(connection, study_id, "original")
            if made:
                deliveries.touch(connection, study_id)


@dataclass(frozen=True, slots=True)
class _Made:
    """An object that is written and not entered yet."""

    series: SeriesRow
    files: Sequence[InstanceRow]
    written: Written


def _sealed(made: _Made, number: int) -> SealedObject:
    return SealedObject(
        object=made.written.object,
        study_id=made.series.study_id,
        layer="original",
        series_ids=(made.series.id,),
        batch=number,
        frames=len(made.files),
        key=made.written.key,
        size=made.written.size,
        manifest=made.written.manifest,
    )


def _groups(due: Sequence[InstanceRow]) -> Iterator[list[InstanceRow]]:
    """Runs of one series, bounded in files and bytes; ``due`` is ordered by series."""
    group: list[InstanceRow] = []
    size = 0
    for instance in due:
        is_full = len(group) == OBJECT_FILES or size + instance.size_bytes > OBJECT_BYTES
        if group and (is_full or group[0].series_id != instance.series_id):
            yield group
            group, size = [], 0
        group.append(instance)
        size += instance.size_bytes
    if group:
        yield group


def _header(series: SeriesRow, files: Sequence[InstanceRow]) -> Header:
    """A part for each file. Nothing is lost by this layer; whether a file's pixels are lossy, the file says."""
    return Header(
        version=1,
        layer="original",
        series=[series.SeriesInstanceUID],
        instances=[Instance(one.SOPInstanceUID, 0) for one in files],
        parts=[
            Part(
                instance=at,
                frame=0,
                band=0,
                length=one.size_bytes,
                media="application/dicom",
                lossy=False,
                ratio_x100=100,
            )
            for at, one in enumerate(files)
        ],
        attributes=objects.deflate_json({"shared": {}, "parts": [{}] * len(files)}),
    )
