"""What is inside an object: ``header length (4, big-endian) | header | parts``, and DICOM JSON in its deflated form.

The header says which part is which frame; it holds no Patient module. Parts lie one behind the other, in the order of
the header, and fill the object.
"""

import json
import zlib
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from wire import messages
from wire.errors import Malformed, TooLarge
from wire.limits import MAX_ATTRIBUTES_BYTES, MAX_OBJECT_BYTES, MAX_OBJECT_HEADER_BYTES, MAX_PARTS, MAX_SERIES
from wire.messages import Layer, Uid

LENGTH_BYTES = 4

Media = Literal[
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/jphc",
    "image/jls",
    "image/jp2",
    "application/pdf",
    "text/plain",
    "text/html",
    "video/mp4",
    "video/mp2t",
    "video/mpeg",
    "video/h264",
    "video/h265",
    "application/dicom",
]
_INDEX = Annotated[int, Meta(ge=0, lt=2**31)]


class Part(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One picture, band, document or stream.

    ``instance`` is an index into the header's instances; ``frame`` counts from 0; ``band`` is 0 but for layers in
    bands; ``length`` in bytes; ``ratio_x100`` is the lossy compression ratio times 100, 100 for lossless.
    """

    instance: _INDEX
    frame: _INDEX
    band: _INDEX
    length: Annotated[int, Meta(ge=0, le=MAX_OBJECT_BYTES)]
    media: Media
    lossy: bool
    ratio_x100: Annotated[int, Meta(ge=0, lt=2**31)]


class Instance(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """The instance that parts come from: its SOPInstanceUID and its series, an index into the header's series."""

    SOPInstanceUID: Uid
    series: _INDEX


class Header(Struct, frozen=True, forbid_unknown_fields=True):
    """The table of contents. ``attributes`` is deflated ``{"shared": {…}, "parts": [{…}, …]}`` (DICOM JSON)."""

    version: Annotated[int, Meta(ge=1, le=1)]
    layer: Layer
    series: Annotated[list[Uid], Meta(min_length=1, max_length=MAX_SERIES)]
    instances: Annotated[list[Instance], Meta(max_length=MAX_PARTS)]
    parts: Annotated[list[Part], Meta(max_length=MAX_PARTS)]
    attributes: Annotated[bytes, Meta(max_length=MAX_OBJECT_HEADER_BYTES)]


def pack_header(header: Header) -> bytes:
    """Length and header: the first bytes of an object."""
    data = messages.encode(header)
    if len(data) > MAX_OBJECT_HEADER_BYTES:
        raise TooLarge("an object header larger than the contract allows")
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def header_end(start: bytes) -> int:
    """Where the header ends in the object, from its first 4 bytes; TooLarge before anything is allocated."""
    if len(start) < LENGTH_BYTES:
        raise Malformed("cut short in the header's length")
    size = int.from_bytes(start[:LENGTH_BYTES], "big")
    if size > MAX_OBJECT_HEADER_BYTES:
        raise TooLarge("an object header larger than the contract allows")
    return LENGTH_BYTES + size


def parse_header(data: bytes, layer: Layer, size_bytes: int) -> Header:
    """The header from an object's first bytes; it must be of ``layer`` and its parts must fill ``size_bytes``."""
    end = header_end(data)
    if len(data) < end:
        raise Malformed("cut short in the header")
    header = messages.decode(data[LENGTH_BYTES:end], Header, MAX_OBJECT_HEADER_BYTES)
    if header.layer != layer:
        raise Malformed("an object of another layer than announced")
    if end + sum(part.length for part in header.parts) != size_bytes:
        raise Malformed("parts that do not fill their object")
    if any(part.instance >= len(header.instances) for part in header.parts):
        raise Malformed("a part of no instance")
    if any(instance.series >= len(header.series) for instance in header.instances):
        raise Malformed("an instance of no series")
    return header


def part_spans(header: Header, header_bytes: int) -> list[tuple[int, int]]:
    """``(start, end)`` of each part in the object's plaintext; ``header_bytes`` is what ``header_end`` gave."""
    spans, start = [], header_bytes
    for part in header.parts:
        spans.append((start, start + part.length))
        start += part.length
    return spans


def deflate_json(value: Any) -> bytes:
    """``value`` as compact UTF-8 JSON, raw deflate (RFC 1951); Malformed for what has no JSON or UTF-8."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise Malformed("attributes that have no JSON") from None
    if len(text) > MAX_ATTRIBUTES_BYTES:
        raise TooLarge("attributes larger than the contract allows")
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(text) + compressor.flush()


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def inflate_json(data: bytes) -> Any:
    """The value of ``deflate_json``; bounded before it is believed. UTF-8 alone, and no NaN or Infinity."""
    inflater = zlib.decompressobj(-15)
    try:
        text = inflater.decompress(data, MAX_ATTRIBUTES_BYTES + 1)
        if len(text) > MAX_ATTRIBUTES_BYTES:
            raise TooLarge("attributes that inflate beyond the contract")
        if not inflater.eof:
            raise Malformed("attributes that were cut")
        if inflater.unused_data:
            raise Malformed("bytes after the attributes")
        value = json.loads(text.decode(), parse_constant=_not_json)
        if b"\\u" in text:
            # An escaped half of a surrogate pair is no character: it would fail wherever it is written out.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (zlib.error, ValueError, RecursionError):
        raise Malformed("attributes that are not deflated JSON") from None
