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

LENGTHS: Final = struct.Struct(">II")
MAX_HEAD_BYTES: Final = 1 << 18

_Count = Annotated[int, Meta(ge=0, le=1 << 31)]


class Job(msgspec.Struct, tag="job", forbid_unknown_fields=True):
    """Pool to worker: render these frames."""

    path: str
    first_frame: int
    frame_count: int | None
    max_side: int
    quality: int
    thumbnail_side: int
    presentation_state: str | None = None
    pet: Literal["grey", "hot-iron"] = "grey"


class Element(msgspec.Struct, forbid_unknown_fields=True):
    """One attribute in the DICOM JSON model, without nesting."""

    vr: Annotated[str, Meta(min_length=2, max_length=2)]
    Value: list[int | float | Annotated[str, Meta(max_length=64)]]


class Ready(msgspec.Struct, tag="ready", forbid_unknown_fields=True):
    """Worker to pool, once: imported, limited, listening."""


class Frame(msgspec.Struct, tag="frame", forbid_unknown_fields=True):
    """Worker to pool: a picture, whose file is the body."""

    frame: _Count
    kind: Literal["display", "thumbnail"]
    media: Literal["image/jpeg", "image/png"]
    rows: _Count
    columns: _Count
    lossy: bool
    ratio_x100: _Count
    attributes: dict[Annotated[str, Meta(pattern="^[0-9A-F]{8}$")], Element]


class Done(msgspec.Struct, tag="done", forbid_unknown_fields=True):
    """Worker to pool: the job's last picture was sent. Resident memory, so that a swollen worker can be replaced."""

    resident_bytes: int


class Refused(msgspec.Struct, tag="refused", forbid_unknown_fields=True):
    """Worker to pool: no further picture from this job; the worker goes on."""

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
