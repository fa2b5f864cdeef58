"""Why a picture was not made: a closed set of codes, and the two errors that carry them."""

from __future__ import annotations

from typing import Final, Literal, get_args

Reason = Literal[
    "unreadable",
    "malformed",
    "no-pixels",
    "no-frame",
    "unsupported",
    "video",
    "too-large",
    "decode",
    "memory",
    "timeout",
    "crashed",
    "closed",
]

EXPLAINED: Final[dict[Reason, str]] = {
    "unreadable": "the file is not there or cannot be read",
    "malformed": "no DICOM, or a header that contradicts itself",
    "no-pixels": "a DICOM file with neither picture nor report (waveform, plan)",
    "no-frame": "the frame asked for does not exist",
    "unsupported": "a transfer syntax, photometric interpretation or depth that is not rendered here",
    "video": "a stream of moving pictures, which goes as the layer of that name",
    "too-large": "the header, or what it promises, is beyond RenderLimits",
    "decode": "the pixel data is damaged",
    "memory": "the worker reached its address space",
    "timeout": "the worker reached its CPU or wall time",
    "crashed": "the worker ended by itself or was killed",
    "closed": "the pool was closed",
}
"""What each reason says to whoever reads a table."""

REASONS: Final[frozenset[str]] = frozenset(get_args(Reason))


class Refusal(Exception):
    """Raised inside the worker; its text names attributes and limits, never values that identify anyone."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason: Reason = reason


class RenderRefused(Exception):
    """No (further) picture from this job.

    ``reason`` is one of ``REASONS``; ``frame`` is the 0-based frame at which it happened, if it is known. Pictures
    that were delivered before stay good.
    """

    def __init__(self, reason: Reason, frame: int | None = None) -> None:
        super().__init__(reason if frame is None else f"{reason} at frame {frame}")
        self.reason: Reason = reason
        self.frame = frame
