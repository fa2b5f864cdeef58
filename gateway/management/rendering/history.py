"""Whether a file's pixels were compressed with loss before they came here, and how much (PS3.3 C.7.6.1.1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.management.rendering import syntaxes as ts

if TYPE_CHECKING:
    from gateway.management.rendering.groups import FrameView
    from gateway.management.rendering.source import FrameSource


def is_coded_lossy(source: FrameSource, view: FrameView) -> bool:
    """Whether the frames as they lie in the file are coded with loss; what can be either is, unless it says 00."""
    maybe = source.transfer_syntax in ts.MAYBE_LOSSY and view.text("LossyImageCompression") != "00"
    return source.transfer_syntax in ts.LOSSY or maybe


def of(source: FrameSource, view: FrameView) -> tuple[bool, int]:
    """Lossy or not, and the ratio times 100: as the header gives it (several stages multiply), or as the size shows.

    100 where nothing was lossy.
    """
    if view.text("LossyImageCompression") != "01" and not is_coded_lossy(source, view):
        return False, 100
    ratio = 1.0
    for stage in view.numbers("LossyImageCompressionRatio"):
        ratio *= max(1.0, stage)
    if ratio == 1.0:
        ratio = source.frame_bytes * source.number_of_frames / source.size_bytes
    return True, max(100, min(round(ratio * 100), 1 << 30))
