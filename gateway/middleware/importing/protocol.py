"""What the decoding process is asked, and what it answers: heads in closed types, each followed by so many bytes.

The process handles strangers' bytes and may fall to them, so its heads are bounded and validated, and it is told
nothing of a patient. Why it ended early is its exit code.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

LENGTH: Final = struct.Struct(">I")
MAX_HEAD_BYTES: Final = 1 << 18
MAX_ICC_BYTES: Final = 4 << 20
MAX_INSTANCE_BYTES: Final = 2 << 30
"""Of one instance's pixel data: a value's length has 32 bits, and an instance is shown frame by frame in any case."""

DecodedKind = Literal["tiff", "jpeg", "png", "pdf"]
_Side = Annotated[int, Meta(ge=1, le=65535)]
_Word = Annotated[str, Meta(max_length=64)]


class DecodeLimits(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What one file may cost. Pages beyond what is rendered would be taken in vain, so the bound is the same."""

    max_pixels: int = 40_000_000
    max_pages: int = 10_000
    memory_bytes: int = 1 << 30
    """Address space of the process, libraries included."""
    cpu_s_per_page: int = 30
    wall_s: float = 90.0
    """Until the next bytes have to be there."""


class Job(msgspec.Struct, forbid_unknown_fields=True):
    """Decode this file."""

    path: str
    kind: DecodedKind


class Image(msgspec.Struct, tag="image", forbid_unknown_fields=True):
    """An instance begins: ``icc_bytes`` of an ICC profile follow, then ``frames`` times ``frame_bytes`` of pixels.

    Pixels are unsigned, row by row, samples interleaved, 16 bits little endian; of ``is_jpeg`` one JPEG stream.
    """

    rows: _Side
    columns: _Side
    samples: Literal[1, 3]
    bits_allocated: Literal[8, 16]
    bits_stored: Annotated[int, Meta(ge=1, le=16)]
    photometric: Literal["MONOCHROME2", "RGB", "YBR_FULL_422"]
    frame_bytes: Annotated[int, Meta(ge=1, le=MAX_INSTANCE_BYTES)]
    pages: list[Annotated[int, Meta(ge=1, le=1 << 31)]]
    """Of each frame, from 1 on, in the file."""
    is_jpeg: bool = False
    intercept: int = 0
    """To be added to a stored value for the file's own."""
    ratio_x100: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    """Of a lossy compression that the pixels have been through; 0: none."""
    changes: list[Literal["orientation", "alpha", "depth", "palette", "inverted", "scaled", "colour-space"]] = []
    icc_bytes: Annotated[int, Meta(ge=0, le=MAX_ICC_BYTES)] = 0
    aspect: tuple[_Side, _Side] | None = None
    """Vertical and horizontal size of a pixel, where they differ."""
    taken: Annotated[str, Meta(pattern=r"^([0-9]{14})?$")] = ""
    """When the camera or scanner says that it made the picture: YYYYMMDDHHMMSS."""
    make: _Word = ""
    model: _Word = ""


class Document(msgspec.Struct, tag="document", forbid_unknown_fields=True):
    """The file is a document that can be read; nothing follows."""

    pages: Annotated[int, Meta(ge=0, le=1 << 31)]


class Done(msgspec.Struct, tag="done", forbid_unknown_fields=True):
    """All was said."""


Answer = Image | Document | Done


class Ended(IntEnum):
    """Exit codes of a process that could not go on."""

    MALFORMED = 10
    UNSUPPORTED = 11
    TOO_LARGE = 12
    MEMORY = 13
    ENCRYPTED = 14


class DecodeError(Exception):
    """Nothing (more) comes of the file."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.name)
        self.ended = ended


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Answer)


def pack(answer: Answer) -> bytes:
    """One head."""
    encoded = _encoder.encode(answer)
    return LENGTH.pack(len(encoded)) + encoded


def unpack(head: bytes) -> Answer:
    """Raises ``msgspec.DecodeError`` or ``RecursionError``."""
    answer: Answer = _decoder.decode(head)
    return answer
