"""The layers ``display`` and ``thumbnail``: a job's pictures of eight bits, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.management import worker_protocol as protocol
from gateway.management.rendering import history, pet, presentation
from gateway.management.rendering.attributes import frame_attributes
from gateway.management.rendering.encode import Encoded, encode, pixel_aspect, scaled
from gateway.management.rendering.render import Renderer
from gateway.management.rendering.source import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.management.rendering.job import AllowFrame
    from gateway.management.rendering.limits import RenderLimits
    from gateway.management.rendering.render import Picture


def parts(job: protocol.Job, limits: RenderLimits, allow_frame: AllowFrame) -> Iterator[tuple[protocol.Frame, bytes]]:
    """Display pictures in the order of frames, and the thumbnail behind its frame.

    ``allow_frame`` is called before each frame is touched. Raises ``Refusal`` and whatever a damaged file provokes.
    """
    allow_frame(limits.cpu_s_to_open(size_of(Path(job.path))))
    state = presentation.read(Path(job.presentation_state)) if job.presentation_state else None
    with Renderer(Path(job.path), limits, presentation=state, hot_iron=job.pet == "hot-iron") as renderer:
        first = job.first_frame
        count = renderer.source.span(first, job.frame_count)
        middle = first + count // 2
        a_frame_s = limits.cpu_s_of(renderer.source.frame_bytes)
        allow_frame(a_frame_s)
        for frame, picture in enumerate(renderer.pictures(first, count), first):
            yield _picture(renderer, picture, frame, "display", job.max_side, job.quality)
            if job.thumbnail_side and frame == middle:
                yield _picture(renderer, picture, frame, "thumbnail", job.thumbnail_side, job.quality)
            allow_frame(a_frame_s)


def _picture(
    renderer: Renderer, picture: Picture, frame: int, kind: protocol.PartKind, max_side: int, quality: int
) -> tuple[protocol.Frame, bytes]:
    view = renderer.view(frame)
    state = renderer.presentation
    stated = state.aspect(renderer.header, frame) if state is not None else None
    aspect = pixel_aspect(view) if stated is None else stated
    aspect = 1 / aspect if state is not None and state.swaps_axes else aspect
    shown = scaled(picture, aspect, max_side)
    if state is not None:
        state.annotate(shown, renderer.header, frame)
    encoded = encode(shown, quality)
    attributes = frame_attributes(
        view, renderer.shown, suv_factor=pet.suv_factor(view), turned=state is not None and state.turns
    )
    lossy, ratio_x100 = _chain(renderer, encoded)
    head = protocol.Frame(
        frame=frame,
        kind=kind,
        media="image/png" if encoded.media == "image/png" else "image/jpeg",
        rows=encoded.rows,
        columns=encoded.columns,
        lossy=lossy,
        ratio_x100=ratio_x100,
        attributes=msgspec.convert(attributes, dict[str, protocol.Element]),
    )
    return head, encoded.data


def _chain(renderer: Renderer, encoded: Encoded) -> tuple[bool, int]:
    """Whether anything between modality and this picture was lossy, and the whole chain's ratio times 100.

    Of a JPEG made here: the frame's native bytes to this file's. Of a lossless picture: the source's own.
    """
    if encoded.lossy:
        return True, max(100, renderer.source.frame_bytes * 100 // max(1, len(encoded.data)))
    return history.of(renderer.source, renderer.view(0))
