"""A job's parts, one by one: the worker's side of the pool's contract, and which module makes which layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.management import worker_protocol as protocol
    from gateway.management.rendering.limits import RenderLimits


class AllowFrame(Protocol):
    """Allows so many more CPU seconds, by default as many as any frame may take."""

    def __call__(self, seconds: int | None = None, /) -> None: ...


def parts(job: protocol.Job, limits: RenderLimits, allow_frame: AllowFrame) -> Iterator[tuple[protocol.Frame, bytes]]:
    """What the job's layer has of these frames, in their order. Modules are imported when a job first needs them.

    ``allow_frame`` is called before each frame is touched. Raises ``Refusal`` and whatever a damaged file provokes.
    """
    if job.layer == "display":
        from gateway.management.rendering import display

        return display.parts(job, limits, allow_frame)
    if job.layer == "report":
        from gateway.management.rendering import report

        return report.parts(job, limits, allow_frame)
    if job.layer == "diagnostic":
        from gateway.management.rendering import diagnostic

        return diagnostic.parts(job, limits, allow_frame)
    if job.layer == "video":
        from gateway.management.rendering import video

        return video.parts(job, limits, allow_frame)
    if job.layer == "references":
        from gateway.management.rendering import presentation_job

        return presentation_job.parts(job, allow_frame)
    raise Refusal("unsupported", "layer")
