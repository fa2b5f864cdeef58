"""Frames in bands that become one object: their parts in a spool, first all first bands, then the rests."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.index.deliveries import FrameSpan, SealedObject
from gateway.management.object_store import Written
from gateway.management.studio.batches import shared_and_own, spans
from gateway.management.studio.spool import Spool
from gateway.management.workers import RenderedFrame
from wire import objects
from wire.messages import Layer
from wire.objects import Header, Instance, Media, Part

OBJECT_FRAMES: Final = 1024
OBJECT_BYTES: Final = 128 << 20
_ATTRIBUTES_BYTES: Final = 1 << 20
"""Of attributes that differ from frame to frame, as JSON: with the shared ones they stay below the header's bounds."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A frame whose bands are in the spool. ``rest`` None: its first band is all of it."""

    instance: int
    frame: int
    media: Media
    lossy: bool
    ratio_x100: int
    attributes: dict[str, Any]
    base: int
    rest: int | None


@dataclass(slots=True)
class Banded:
    """Frames of one series that become one object. Memory holds their attributes, the spool their bytes."""

    layer: Layer
    spool: Spool
    instances: list[InstanceRow] = field(default_factory=list)
    frames: list[_Kept] = field(default_factory=list)
    _rest: int | None = None
    _attributes_bytes: int = 0

    @classmethod
    def begin(cls, layer: Layer, folder: Path) -> "Banded":
        """An empty one with a spool in ``folder``."""
        return cls(layer, Spool(folder))

    def add(self, instance: InstanceRow, part: RenderedFrame) -> None:
        """One more band; a frame's first band comes behind its second and completes it."""
        number = self.spool.put(part.data)
        if part.band:
            self._rest = number
            return
        if not self.instances or self.instances[-1].id != instance.id:
            self.instances.append(instance)
        self.frames.append(
            _Kept(
                len(self.instances) - 1,
                part.frame,
                part.media,
                part.lossy,
                part.ratio_x100,
                self._interned(part.attributes),
                number,
                self._rest,
            )
        )
        self._rest = None

    def _interned(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The frame before lends what is the same in both, so that a table of a thousand frames is held once."""
        before = self.frames[-1].attributes if self.frames else {}
        same = {tag: before[tag] for tag, value in attributes.items() if tag in before and before[tag] == value}
        own = {tag: value for tag, value in attributes.items() if tag not in same}
        self._attributes_bytes += len(msgspec.json.encode(own))
        return same | own

    @property
    def full(self) -> bool:
        """Whether it is to be sealed before another frame comes."""
        return (
            len(self.frames) >= OBJECT_FRAMES
            or self.spool.size_bytes >= OBJECT_BYTES
            or self._attributes_bytes >= _ATTRIBUTES_BYTES
        )

    def _order(self) -> Iterator[tuple[_Kept, int, int]]:
        """Frame, band and the number of each part in the spool, as they lie in the object."""
        for frame in self.frames:
            yield frame, 0, frame.base
        for frame in self.frames:
            if frame.rest is not None:
                yield frame, 1, frame.rest

    def parts(self) -> Iterator[bytes]:
        """Read one by one while they are sealed."""
        return (self.spool.take(number) for _, _, number in self._order())

    def header(self, series: SeriesRow) -> Header:
        """The table of contents. A frame's attributes stand with its first band."""
        shared, own = shared_and_own([frame.attributes for frame in self.frames])
        parts = [
            Part(
                frame.instance, frame.frame, band, self.spool.length(number), frame.media, frame.lossy, frame.ratio_x100
            )
            for frame, band, number in self._order()
        ]
        own += [{} for _ in range(len(parts) - len(own))]
        return Header(
            version=1,
            layer=self.layer,
            series=[series.SeriesInstanceUID],
            instances=[Instance(row.SOPInstanceUID, 0) for row in self.instances],
            parts=parts,
            attributes=objects.deflate_json({"shared": shared, "parts": own}),
        )

    def spans(self) -> list[FrameSpan]:
        """The frames of each instance, in runs without a gap."""
        return spans((self.instances[frame.instance].id, frame.frame) for frame in self.frames)

    def sealed(self, series: SeriesRow, written: Written, number: int) -> SealedObject:
        """The index's row."""
        return SealedObject(
            object=written.object,
            study_id=series.study_id,
            layer=self.layer,
            series_ids=(series.id,),
            batch=number,
            frames=len(self.frames),
            key=written.key,
            size=written.size,
            manifest=written.manifest,
        )
