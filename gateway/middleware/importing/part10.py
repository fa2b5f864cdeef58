"""Writing a Part 10 file whose bulk value is streamed: no page is held longer than it takes to pass it on."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gateway.middleware.part10 import preamble_and_meta
from gateway.middleware.spool import Spool

PIXEL_DATA = 0x7FE00010
ENCAPSULATED_DOCUMENT = 0x00420011
_UNDEFINED = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_DELIMITATION = b"\xfe\xff\xdd\xe0\0\0\0\0"


def write(spool: Spool, data: Dataset, TransferSyntaxUID: str, bulk: Iterable[bytes]) -> None:
    """Preamble, file meta group and all of ``data``, between whose elements ``bulk`` (elements too) has its place.

    Written in Explicit VR Little Endian, which every syntax used here is. Errors of the disk stay in the spool.
    """
    meta = preamble_and_meta(str(data.SOPClassUID), str(data.SOPInstanceUID), TransferSyntaxUID, "", "")
    spool.write_meta(meta, TransferSyntaxUID)
    is_document = "MIMETypeOfEncapsulatedDocument" in data
    at = ENCAPSULATED_DOCUMENT if is_document else PIXEL_DATA
    spool.write(_encoded(data[:at]))
    for piece in bulk:
        spool.write(piece)
    spool.write(_encoded(data[at:]))


def _encoded(data: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    # What was sliced off has no character set of its own to say.
    write_dataset(buffer, data, parent_encoding="utf8")
    return buffer.getvalue()


def native(tag: int, vr: bytes, size: int, pieces: Iterable[bytes]) -> Iterable[bytes]:
    """An element of ``size`` bytes, padded to an even length (PS3.5 section 7.1.1)."""
    yield _head(tag, vr, size + size % 2)
    yield from pieces
    if size % 2:
        yield b"\0"


def encapsulated(size: int, pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Pixel data of one compressed frame in one fragment, with an empty offset table (PS3.5 section A.4)."""
    yield _head(PIXEL_DATA, b"OB", _UNDEFINED)
    yield _ITEM + struct.pack("<I", 0)
    yield _ITEM + struct.pack("<I", size + size % 2)
    yield from pieces
    if size % 2:
        yield b"\0"
    yield _SEQUENCE_DELIMITATION


def _head(tag: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length)
