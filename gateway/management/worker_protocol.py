"""What pool and worker say to each other over the socket pair between them.

A message is two lengths (big-endian, four bytes each), a MessagePack head and a body. The worker handles strangers'
bytes and may fall to them, so the pool decodes heads into closed types and bounds both parts before it reads them;
nothing is ever unpickled.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gateway.management.rendering.refusal import Reason
from wire.objects import Media

LENGTHS: Final = struct.Struct(">II")
SPAN: Final = struct.Struct(">QL")
"""Where a fragment of a stream lies in the job's file: offset and length. The body of a part ``video`` is a row of
these, for a stream may be longer than what a worker may send or hold."""
MAX_HEAD_BYTES: Final = 1 << 20
MAX_ITEMS: Final = 1 << 12
"""Values of one element."""

_Count = Annotated[int, Meta(ge=0, lt=1 << 31)]
_Tag = Annotated[str, Meta(pattern="^[0-9A-F]{8}$")]
_Vr = Annotated[str, Meta(min_length=2, max_length=2)]
_Text = Annotated[str, Meta(max_length=256)]
_Base64 = Annotated[str, Meta(max_length=1 << 19)]

FrameLayer = Literal["display", "diagnostic", "report", "video"]
JobLayer = FrameLayer | Literal["references"]
"""Layers that workers make; a ``thumbnail`` comes with its frame's ``display``, an ``original`` is no work.
``references`` asks a presentation state which images it is about: one part without bytes, told in its attributes."""
PartKind = Literal["display", "thumbnail", "diagnostic", "report", "video", "references"]


class Job(msgspec.Struct, tag="job", forbid_unknown_fields=True):
    """Pool to worker: make what this layer has of these frames."""

    path: str
    first_frame: int
    frame_count: int | None
    max_side: int
    quality: int
    thumbnail_side: int
    presentation_state: str | None = None
    pet: Literal["grey", "hot-iron"] = "grey"
    layer: JobLayer = "display"


class Leaf(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One attribute in the DICOM JSON model (PS3.18 F.2) inside a sequence's item: values or bytes, no items."""

    vr: _Vr
    Value: Annotated[list[int | float | _Text], Meta(max_length=MAX_ITEMS)] | msgspec.UnsetType = msgspec.UNSET
    InlineBinary: _Base64 | msgspec.UnsetType = msgspec.UNSET


class Element(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One attribute of a part. The values of a sequence are its items, which hold no further sequence."""

    vr: _Vr
    Value: Annotated[list[int | float | _Text | dict[_Tag, Leaf]], Meta(max_length=MAX_ITEMS)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    InlineBinary: _Base64 | msgspec.UnsetType = msgspec.UNSET


class Ready(msgspec.Struct, tag="ready", forbid_unknown_fields=True):
    """Worker to pool, once: imported, limited, listening."""


class Frame(msgspec.Struct, tag="frame", forbid_unknown_fields=True):
    """Worker to pool: a part of a frame, whose bytes are the body. ``rows`` and ``columns`` are 0 for documents."""

    frame: _Count
    kind: PartKind
    media: Media
    rows: _Count
    columns: _Count
    lossy: bool
    ratio_x100: _Count
    attributes: dict[_Tag, Element]
    band: _Count = 0


class Done(msgspec.Struct, tag="done", forbid_unknown_fields=True):
    """Worker to pool: the job's last part was sent. Resident memory, so that a swollen worker can be replaced."""

    resident_bytes: int


class Refused(msgspec.Struct, tag="refused", forbid_unknown_fields=True):
    """Worker to pool: no further part from this job; the worker goes on."""

    reason: Reason
    frame: _Count | None
    resident_bytes: int


FromWorker = Ready | Frame | Done | Refused

_encoder = msgspec.msgpack.Encoder()
_job_decoder = msgspec.msgpack.Decoder(Job)
_decoder = msgspec.msgpack.Decoder(FromWorker)


def pack(head: Job | FromWorker, body: bytes = b"") -> bytes:
    """One message."""
    encoded = _encoder.encode(head)
    return b"".join((LENGTHS.pack(len(encoded), len(body)), encoded, body))


def unpack_job(head: bytes) -> Job:
    """The pool's word, in the worker."""
    return _job_decoder.decode(head)


def unpack(head: bytes) -> FromWorker:
    """The worker's word, in the pool. Raises ``msgspec.DecodeError`` or ``RecursionError``."""
    answer: FromWorker = _decoder.decode(head)
    return answer
