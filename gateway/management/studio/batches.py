"""Pictures that become one object: gathered up to a bound, with the header that says which is which."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gateway.management.index.arrivals_rows import InstanceRow, SeriesRow
from gateway.management.index.deliveries import FrameSpan, SealedObject
from gateway.management.object_store import Written
from gateway.management.workers import RenderedFrame
from wire import objects
from wire.limits import MAX_PARTS
from wire.messages import Layer
from wire.objects import Header, Instance, Part

BATCH_FRAMES = 64
BATCH_BYTES = 6 * 1024 * 1024


@dataclass(slots=True)
class Batch:
    """Pictures that become one object."""

    layer: Layer
    instances: list[InstanceRow] = field(default_factory=list)
    pictures: list[tuple[int, RenderedFrame]] = field(default_factory=list)
    size: int = 0

    def add(self, instance: InstanceRow, picture: RenderedFrame) -> None:
        """One more picture; those of an instance come one behind the other."""
        if not self.instances or self.instances[-1].id != instance.id:
            self.instances.append(instance)
        self.pictures.append((len(self.instances) - 1, picture))
        self.size += len(picture.data)

    @property
    def data(self) -> list[bytes]:
        """The pictures' files, in order."""
        return [picture.data for _, picture in self.pictures]

    @property
    def full(self) -> bool:
        """Whether it is to be kept before more comes."""
        return self.size >= BATCH_BYTES or len(self.pictures) >= min(BATCH_FRAMES, MAX_PARTS)

    def spans(self) -> list[FrameSpan]:
        """The frames of each instance, in runs without a gap."""
        return spans((self.instances[at].id, picture.frame) for at, picture in self.pictures)


def spans(frames: Iterable[tuple[int, int]]) -> list[FrameSpan]:
    """Runs without a gap of ``(instance id, frame)``."""
    found: list[FrameSpan] = []
    for instance_id, frame in frames:
        last = found[-1] if found else None
        if last and last.instance_id == instance_id and frame == last.first_frame + last.frame_count - 1:
            continue  # another part of the same frame
        if last and last.instance_id == instance_id and last.first_frame + last.frame_count == frame:
            found[-1] = FrameSpan(instance_id, last.first_frame, last.frame_count + 1)
        else:
            found.append(FrameSpan(instance_id, frame, 1))
    return found


def frame_count(instance: InstanceRow) -> int:
    """How many frames its header promises; one where it says nothing."""
    return max(instance.NumberOfFrames, 1)


def sealed_of(study_id: int, batch: Batch, written: Written, number: int) -> SealedObject:
    """The index's row of a batch that was written; ``number`` orders a study's batches."""
    return SealedObject(
        object=written.object,
        study_id=study_id,
        layer=batch.layer,
        series_ids=tuple(dict.fromkeys(row.series_id for row in batch.instances)),
        batch=number,
        frames=sum(span.frame_count for span in batch.spans()),
        key=written.key,
        size=written.size,
        manifest=written.manifest,
    )


def header_of(batch: Batch, series: dict[int, SeriesRow]) -> Header:
    """The object's table of contents; ``series`` by index id."""
    order = list(dict.fromkeys(instance.series_id for instance in batch.instances))
    shared, each = shared_and_own([picture.attributes for _, picture in batch.pictures])
    return Header(
        version=1,
        layer=batch.layer,
        series=[series[series_id].SeriesInstanceUID for series_id in order],
        instances=[Instance(row.SOPInstanceUID, order.index(row.series_id)) for row in batch.instances],
        parts=[
            Part(
                instance=at,
                frame=picture.frame,
                band=picture.band,
                length=len(picture.data),
                media=picture.media,
                lossy=picture.lossy,
                ratio_x100=picture.ratio_x100,
            )
            for at, picture in batch.pictures
        ],
        attributes=objects.deflate_json({"shared": shared, "parts": each}),
    )


def shared_and_own(all_attributes: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all pictures have in common, once; and what is each one's own."""
    first = all_attributes[0]
    shared = {tag: value for tag, value in first.items() if all(a.get(tag) == value for a in all_attributes[1:])}
    return shared, [{tag: value for tag, value in a.items() if tag not in shared} for a in all_attributes]
