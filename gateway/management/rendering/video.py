"""The layer ``video``: a stream of moving pictures as it lies in the file. Runs in the worker.

A job tells where the stream's fragments lie and what kind of stream it is, and the core copies them: nothing is
decoded anywhere. With ``thumbnail_side`` set it gives a neutral sign instead, drawn in the shape of the pictures.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec
from PIL import Image, ImageDraw
from pydicom import dcmread
from pydicom.encaps import parse_fragments

from gateway.management import worker_protocol as protocol
from gateway.management.rendering import syntaxes as ts
from gateway.management.rendering.attributes import frame_attributes
from gateway.management.rendering.encode import Encoded, encode, pixel_aspect, shown_size
from gateway.management.rendering.groups import FrameView
from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.management.rendering.limits import RenderLimits
    from wire.objects import Media

_DEFER_BYTES: Final = 1 << 16
_HEAD_BYTES: Final = 1024
_MOST_FRAGMENTS: Final = 1 << 20
_PIXEL_DATA: Final = b"\xe0\x7f\x10\x00"
_UNDEFINED: Final = b"\xff\xff\xff\xff"
_ITEM: Final = b"\xfe\xff\x00\xe0"
_BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"})
"""With which an MP4 file begins (ISO/IEC 14496-12)."""
_BOX_HEAD_BYTES: Final = 8
_MOST_BOXES: Final = 1 << 16
_PACKET_BYTES: Final = (188, 192, 204)
"""Of transport streams: plain, behind a time stamp of four bytes, before a check of sixteen (ISO/IEC 13818-1)."""
_START_CODE: Final = re.compile(rb"\x00{2,}\x01(.)", re.DOTALL)
_MPEG_HEADS: Final = frozenset({0xB3, 0xBA})
"""A sequence of MPEG-1 or MPEG-2 video, a pack of a program stream. Neither can begin a unit of AVC or HEVC."""
_BACKGROUND, _INK = 0x20, 0xC0


def parts(
    job: protocol.Job, limits: RenderLimits, allow_frame: Callable[[], None]
) -> Iterator[tuple[protocol.Frame, bytes]]:
    """One part: the fragments' offsets and lengths in place of the stream, or the sign. Raises ``Refusal``."""
    allow_frame()
    if job.first_frame != 0 or job.frame_count not in (None, 1):
        raise Refusal("no-frame")
    path = Path(job.path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise Refusal("unreadable") from error
    with file:
        size_bytes = path.stat().st_size
        header, syntax = _header(file, size_bytes, limits)
        view = FrameView(header, 0)
        rows, columns = (int(next(iter(view.numbers(keyword)), 0)) for keyword in ("Rows", "Columns"))
        if not 0 < rows <= 0xFFFF or not 0 < columns <= 0xFFFF:
            raise Refusal("malformed", "Rows or Columns")
        spans = _spans(file, size_bytes)
        media = media_of(_start(file, spans), ts.VIDEO[syntax])
        if media == "video/mp4":
            _check_boxes(file, spans)
    length = sum(span[1] for span in spans)
    if job.thumbnail_side:
        sign = _sign(*shown_size(rows, columns, pixel_aspect(view), job.thumbnail_side), job.quality)
        shown: Media = "image/png" if sign.media == "image/png" else "image/jpeg"
        yield _part("thumbnail", shown, sign.rows, sign.columns, view), sign.data
        return
    head = _part("video", media, rows, columns, view)
    head.ratio_x100 = _ratio_x100(view, rows * columns, length)
    yield head, b"".join(protocol.SPAN.pack(*span) for span in spans)


def media_of(start: bytes, usual: ts.VideoCoding) -> Media:
    """The stream's media type by how it begins; where that is an elementary stream of units, by its transfer syntax.

    Raises ``Refusal`` for a stream of none of the kinds that PS3.5 section 8.2 knows.
    """
    if start[4:8] in _BOXES:
        return "video/mp4"
    for size in _PACKET_BYTES:
        at = 4 if size == 192 else 0
        marks = start[at::size][:4]
        if len(marks) > 1 and marks.strip(b"\x47") == b"":
            return "video/mp2t"
    found = _START_CODE.match(start)
    if found is not None:
        code = found[1][0]
        if code in _MPEG_HEADS:
            return "video/mpeg"
        if usual != "mpeg" and code < 0x80:  # forbidden_zero_bit
            return "video/h264" if usual == "h264" else "video/h265"
    raise Refusal("unsupported", "a stream that is neither MP4 nor MPEG nor a sequence of units")


def _check_boxes(file: BinaryIO, spans: list[tuple[int, int]]) -> None:
    """``Refusal`` of an MP4 that was cut off: a box reaches behind the end, or none says how to play it."""
    end, at, found = sum(length for _, length in spans), 0, set[bytes]()
    for _ in range(_MOST_BOXES):
        if end - at < _BOX_HEAD_BYTES:  # padding to an even length
            break
        size, kind, large = struct.unpack(">L4sQ", _read(file, spans, at, 16).ljust(16, b"\0"))
        size = large if size == 1 else end - at if size == 0 else size
        if size < _BOX_HEAD_BYTES or at + size > end:
            raise Refusal("malformed", "a box longer than the stream")
        found.add(kind)
        at += size
    if b"moov" not in found:
        raise Refusal("malformed", "no moov box")


def _read(file: BinaryIO, spans: list[tuple[int, int]], at: int, count: int) -> bytes:
    """Bytes of the stream, which lies in several fragments."""
    data = b""
    for offset, length in spans:
        if at < length and len(data) < count:
            file.seek(offset + at)
            data += file.read(min(length - at, count - len(data)))
        at = max(at - length, 0)
    return data


def _header(file: BinaryIO, size_bytes: int, limits: RenderLimits) -> tuple[Any, str]:
    """The data set in front of the pixel data, where the file stands then, and its transfer syntax."""
    try:
        header = dcmread(file, defer_size=_DEFER_BYTES, stop_before_pixels=True, force=True)
        syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise Refusal("malformed", "header") from error
    if file.tell() > size_bytes:
        raise Refusal("malformed", "an element longer than the file")
    if file.tell() > limits.max_header_bytes:
        raise Refusal("too-large", "header")
    if syntax not in ts.VIDEO:
        raise Refusal("unsupported", "no moving pictures")
    return header, syntax


def _spans(file: BinaryIO, size_bytes: int) -> list[tuple[int, int]]:
    """``(offset, length)`` of each fragment (PS3.5 A.4); the offset table tells nothing of a stream."""
    if file.read(4) != _PIXEL_DATA:
        raise Refusal("no-pixels")
    file.seek(4, 1)  # VR and two bytes that are reserved: encapsulated data are always explicit
    if file.read(4) != _UNDEFINED or file.read(4) != _ITEM:
        raise Refusal("malformed", "pixel data that are not encapsulated")
    file.seek(int(struct.unpack("<L", file.read(4))[0]), 1)
    try:
        count, offsets = parse_fragments(file)
        if count > _MOST_FRAGMENTS:
            raise Refusal("too-large", "fragments")
        spans = []
        for offset in offsets:
            file.seek(offset + 4)
            spans.append((offset + 8, int(struct.unpack("<L", file.read(4))[0])))
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        raise Refusal("malformed", "fragments") from error
    spans = [span for span in spans if span[1]]
    if not spans or spans[-1][0] + spans[-1][1] > size_bytes:
        raise Refusal("decode", "a stream that is cut off, or empty")
    return spans


def _start(file: BinaryIO, spans: list[tuple[int, int]]) -> bytes:
    """How the stream begins; the first fragments may be short."""
    start = b""
    for offset, length in spans:
        file.seek(offset)
        start += file.read(min(length, _HEAD_BYTES - len(start)))
        if len(start) == _HEAD_BYTES:
            break
    return start


def _ratio_x100(view: FrameView, pixels: int, length: int) -> int:
    """As the header gives it, or as the size shows."""
    ratio = 1.0
    for stage in view.numbers("LossyImageCompressionRatio"):
        ratio *= max(1.0, stage)
    if ratio == 1.0:
        frames = max(1.0, next(iter(view.numbers("NumberOfFrames")), 1.0))
        ratio = pixels * 3 * frames / length
    return max(100, min(round(ratio * 100), 1 << 30))


def _part(kind: protocol.PartKind, media: Media, rows: int, columns: int, view: FrameView) -> protocol.Frame:
    return protocol.Frame(
        frame=0,
        kind=kind,
        media=media,
        rows=rows,
        columns=columns,
        lossy=True,
        ratio_x100=100,
        attributes=msgspec.convert(frame_attributes(view, None), dict[str, protocol.Element]),
    )


def _sign(rows: int, columns: int, quality: int) -> Encoded:
    """A triangle in a ring: moving pictures, of which none was decoded."""
    image = Image.new("L", (columns, rows), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    x, y, radius = columns / 2, rows / 2, min(rows, columns) / 4
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=_INK, width=max(1, round(radius / 10)))
    half = radius / 2
    draw.polygon(((x - half * 0.7, y - half), (x - half * 0.7, y + half), (x + half, y)), fill=_INK)
    return encode(image, quality)
