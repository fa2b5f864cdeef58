"""The markers of a JPEG stream (ISO/IEC 10918-1 annex B): whether it may stand in DICOM as it is, and as what."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""Behind entropy-coded bytes: neither a stuffed zero nor a restart (D0 to D7), nor fill bytes."""
_SOI, _EOI, _SOS, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE
_BASELINE = 0xC0
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})


@dataclass(frozen=True, slots=True)
class Stream:
    """What the markers of a file's first picture say."""

    end: int
    """Where it ends, behind EOI; some cameras append further pictures."""
    is_baseline: bool
    precision: int
    rows: int
    columns: int
    components: tuple[int, ...]
    """Their identifiers."""
    has_jfif: bool
    adobe_transform: int | None

    @property
    def photometric(self) -> str:
        """``MONOCHROME2``, ``YBR_FULL_422`` (whatever the subsampling: PS3.5 section 8.2.1), ``RGB``, or empty.

        As the usual decoders read colour streams that do not say what they are.
        """
        if len(self.components) == 1:
            return "MONOCHROME2"
        if len(self.components) != 3:
            return ""
        if not self.has_jfif and (self.adobe_transform == 0 or self.components == (0x52, 0x47, 0x42)):
            return "RGB"
        return "YBR_FULL_422"

    @property
    def may_stay(self) -> bool:
        """Whether it is what JPEG Baseline (Process 1) may hold."""
        return self.is_baseline and self.precision == 8 and bool(self.photometric)


def parse(data: bytes) -> Stream:
    """Read the markers from SOI to EOI. Raises ValueError where they do not follow each other as they should."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("no SOI")
    at, frame, sof = 2, b"", 0
    has_jfif, adobe = False, None
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if len(data) - at < 2 or data[at] != 0xFF:
            raise ValueError("no marker where one should stand")
        marker = data[at + 1]
        at += 2
        if marker == _EOI:
            break
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + length]
        if length < 2 or at + length > len(data):
            raise ValueError("a segment ends behind the file")
        if marker in _FRAMES:
            if frame:
                raise ValueError("several frames")
            frame, sof = body, marker
        elif marker == _APP0 and body.startswith(b"JFIF\0"):
            has_jfif = True
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        at += length
        if marker == _SOS:
            found = _MARKER.search(data, at)
            if found is None:
                raise ValueError("no EOI")
            at = found.start()
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5]:
        raise ValueError("no frame header")
    return Stream(
        end=at,
        is_baseline=sof == _BASELINE,
        precision=frame[0],
        rows=int.from_bytes(frame[1:3], "big"),
        columns=int.from_bytes(frame[3:5], "big"),
        components=tuple(frame[6 + 3 * number] for number in range(frame[5])),
        has_jfif=has_jfif,
        adobe_transform=adobe,
    )
