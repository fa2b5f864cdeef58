"""One presentation state: which pictures it asks for, and each of them as a worker makes it."""

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from gateway.management.index import arrivals_read
from gateway.management.index.arrivals_rows import InstanceRow
from gateway.management.rendering.refusal import RenderRefused
from gateway.management.rendering.syntaxes import VIDEO
from gateway.management.studio.batches import frame_count
from gateway.management.studio.bench import Bench
from gateway.management.workers import RenderedFrame, RenderJob

_IMAGES, _IMAGE, _FRAMES = "00081140", "00081155", "00081160"
_LABEL, _NUMBER, _MODALITY = "00700080", "00200013", "00080060"


@dataclass(frozen=True, slots=True)
class Presented:
    """A state and what it is about: images and their frames, from 0, in the order in which the state names them."""

    state: InstanceRow
    wanted: list[tuple[InstanceRow, int]]
    is_complete: bool
    """Whether every image that it names is here."""
    own: dict[str, Any]
    """What its pictures say of the state rather than of the image."""

    async def picture(self, bench: Bench, at: int, thumbnail: bool = False) -> RenderedFrame | None:
        """The picture ``at`` (in ``wanted``) as the state presents it, or a small one; None where that cannot be made.

        RenderRefused from a closing pool alone.
        """
        image, frame = self.wanted[at]
        job = RenderJob(
            bench.path(image),
            first_frame=frame,
            frame_count=1,
            max_side=bench.settings.thumbnail_side if thumbnail else bench.settings.max_side,
            quality=bench.settings.quality,
            thumbnail_side=bench.settings.thumbnail_side if thumbnail else 0,
            presentation_state=bench.path(self.state),
            pet=bench.settings.pet,
            owner=self.state.study_id,
        )
        kind = "thumbnail" if thumbnail else "display"
        try:
            found = [part for part in await _made(bench, job) if part.kind == kind]
        except RenderRefused as refusal:
            if refusal.reason == "closed":
                raise
            return None
        if not found:
            return None
        return replace(found[0], frame=at, attributes=found[0].attributes | _about(image, frame) | self.own)


async def read(bench: Bench, state: InstanceRow, images: Mapping[str, InstanceRow]) -> Presented:
    """What a worker finds in the state; ``images`` of its study by SOPInstanceUID. RenderRefused where it is none."""
    parts = await _made(bench, RenderJob(bench.path(state), layer="references", owner=state.study_id))
    if len(parts) != 1 or parts[0].kind != "references":
        raise RenderRefused("malformed")
    told = parts[0].attributes
    items = told.get(_IMAGES, {}).get("Value", [])
    number = {} if state.InstanceNumber is None else {_NUMBER: {"vr": "IS", "Value": [state.InstanceNumber]}}
    label = {_LABEL: told[_LABEL]} if _LABEL in told else {}
    named = {uid for item in items for uid in item.get(_IMAGE, {}).get("Value", [])}
    return Presented(
        state=state,
        wanted=list(_wanted(items, images)),
        is_complete=named <= images.keys(),
        own=number | label | {_MODALITY: {"vr": "CS", "Value": ["PR"]}},
    )


def images_of(bench: Bench, study_id: int) -> dict[str, InstanceRow]:
    """A study's images of which there are pictures, and so files. Blocks on the index."""
    with bench.engine.connect() as connection:
        rows = arrivals_read.instances_of(connection, study_id, "rendered")
    return {row.SOPInstanceUID: row for row in rows if row.TransferSyntaxUID not in VIDEO}


async def _made(bench: Bench, job: RenderJob) -> list[RenderedFrame]:
    async with aclosing(bench.pool.render(job)) as parts:
        return [part async for part in parts]


def _wanted(items: list[dict[str, Any]], images: Mapping[str, InstanceRow]) -> Iterator[tuple[InstanceRow, int]]:
    for item in items:
        for uid in item.get(_IMAGE, {}).get("Value", []):
            if (image := images.get(uid)) is not None:
                count = frame_count(image)
                listed = item.get(_FRAMES, {}).get("Value") or range(1, count + 1)
                yield from ((image, number - 1) for number in listed if 1 <= number <= count)


def _about(image: InstanceRow, frame: int) -> dict[str, Any]:
    item: dict[str, Any] = {_IMAGE: {"vr": "UI", "Value": [image.SOPInstanceUID]}}
    if image.NumberOfFrames > 1:
        item[_FRAMES] = {"vr": "IS", "Value": [frame + 1]}
    return {_IMAGES: {"vr": "SQ", "Value": [item]}}
