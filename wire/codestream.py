"""HTJ2K codestreams of the layer ``diagnostic``: where each resolution ends, and the codestream of a lower one.

What is written here is only what this layer holds (one tile, resolution by resolution, a tile-part for each, their
lengths in the main header: ISO/IEC 15444-1 annex A, 15444-15); whatever else is refused. No pixel is decoded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wire.errors import Malformed, Missing

QUARTER = 2
"""How often band 0 halves the frame: its bytes end with the resolution of a quarter of rows and columns."""

_SOC, _SOT, _EOC = 0xFF4F, 0xFF90, 0xFFD9
_SIZ, _COD, _QCD, _TLM, _CAP, _COM, _NLT = 0xFF51, 0xFF52, 0xFF5C, 0xFF55, 0xFF50, 0xFF64, 0xFF76
_KNOWN = frozenset({_SIZ, _COD, _QCD, _TLM, _CAP, _COM, _NLT})
_SIZ_HEAD = struct.Struct(">HIIIIIIIIH")
_SIZ_FORM = struct.Struct(">BBB")
_SOT_SEGMENT = struct.Struct(">HHHIBB")
_RPCL = 2
_PRECINCTS = 0x01
_MAX_DECOMPOSITIONS = 32
_MAX_COMPONENTS = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment of the main header; ``body`` stands behind its length."""

    marker: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Codestream:
    """What the main header says.

    ``bits`` and ``signed`` are the coded samples', which may be wider than Bits Stored. ``ends[r]`` is how many bytes
    hold resolution ``r`` whole; 0 is the coarsest, and the last end is where the last tile-part ends (two bytes of
    EOC follow).
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool
    decompositions: int
    header_bytes: int
    ends: tuple[int, ...]
    segments: tuple[Segment, ...]

    def end(self, level: int) -> int:
        """How many bytes hold the frame halved ``level`` times; Malformed where there is no such resolution."""
        if not 0 <= level <= self.decompositions:
            raise Malformed("a resolution that the codestream does not have")
        return self.ends[self.decompositions - level]

    def size(self, level: int) -> tuple[int, int]:
        """Rows and columns after so many halvings."""
        return halved(self.rows, level), halved(self.columns, level)


def halved(side: int, level: int) -> int:
    """A side after so many halvings (15444-1 B-15 with the image at the origin)."""
    return -(-side >> level)


def parse(data: bytes) -> Codestream:
    """The main header; ``data`` may end anywhere behind it. Malformed for any codestream of another kind."""
    segments, header_bytes = _segments(data)
    found = {segment.marker: segment.body for segment in segments}
    if not {_SIZ, _COD, _QCD, _TLM} <= found.keys() or len(found) != len({s.marker for s in segments}):
        raise Malformed("a codestream without the header that this layer has")
    if any(sum(segment.marker == one for segment in segments) > 1 for one in (_SIZ, _COD, _QCD, _TLM)):
        raise Malformed("a codestream with a header twice")
    rows, columns, samples, bits, signed = _size(found[_SIZ])
    decompositions = _coding(found[_COD])
    lengths = _tile_parts(found[_TLM])
    if len(lengths) != decompositions + 1:
        raise Malformed("a codestream without a tile-part for each resolution")
    ends, at = [], header_bytes
    for length in lengths:
        at += length
        ends.append(at)
    return Codestream(rows, columns, samples, bits, signed, decompositions, header_bytes, tuple(ends), tuple(segments))


def _segments(data: bytes) -> tuple[list[Segment], int]:
    """Main header segments, and where the first tile-part begins."""
    if len(data) < 4 or int.from_bytes(data[:2], "big") != _SOC:
        raise Malformed("no codestream")
    segments: list[Segment] = []
    at = 2
    while True:
        if len(data) < at + 4:
            raise Malformed("cut short in the codestream's header")
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _SOT:
            return segments, at
        if marker not in _KNOWN or length < 2 or len(data) < at + 2 + length:
            raise Malformed("a codestream's header that this layer does not have")
        segments.append(Segment(marker, data[at + 4 : at + 2 + length]))
        at += 2 + length


def _size(body: bytes) -> tuple[int, int, int, int, bool]:
    if len(body) < _SIZ_HEAD.size:
        raise Malformed("cut short in the codestream's size")
    _, columns, rows, x0, y0, tile_columns, tile_rows, tx0, ty0, samples = _SIZ_HEAD.unpack_from(body)
    if len(body) != _SIZ_HEAD.size + samples * _SIZ_FORM.size or not 1 <= samples <= _MAX_COMPONENTS:
        raise Malformed("a codestream of another number of samples")
    forms = {body[at : at + _SIZ_FORM.size] for at in range(_SIZ_HEAD.size, len(body), _SIZ_FORM.size)}
    depth, dx, dy = _SIZ_FORM.unpack(min(forms))
    if len(forms) != 1 or (dx, dy) != (1, 1):
        raise Malformed("a codestream of unlike samples")
    if (x0, y0, tx0, ty0) != (0, 0, 0, 0) or tile_columns < columns or tile_rows < rows or not rows or not columns:
        raise Malformed("a codestream of several tiles")
    return rows, columns, samples, (depth & 0x7F) + 1, bool(depth & 0x80)


def _coding(body: bytes) -> int:
    if len(body) < 10 or body[1] != _RPCL or int.from_bytes(body[2:4], "big") != 1 or body[9] != 1:
        raise Malformed("a codestream that is not reversible, resolution by resolution, in one layer")
    if body[5] > _MAX_DECOMPOSITIONS:
        raise Malformed("more decompositions than there are")
    return body[5]


def _tile_parts(body: bytes) -> list[int]:
    if len(body) < 2 or body[0] != 0:
        raise Malformed("tile-part lengths in several segments")
    index_bytes, length_bytes = (body[1] >> 4) & 3, 4 if body[1] & 0x40 else 2
    step = index_bytes + length_bytes
    if index_bytes == 3 or (len(body) - 2) % step:
        raise Malformed("tile-part lengths that do not fill their segment")
    entries = [body[at : at + step] for at in range(2, len(body), step)]
    if any(any(entry[:index_bytes]) for entry in entries):
        raise Malformed("tile-parts of another tile")
    return [int.from_bytes(entry[index_bytes:], "big") for entry in entries]


def reduced(data: bytes, level: int) -> bytes:
    """The codestream of the frame halved ``level`` times, which any decoder decodes at its full resolution.

    ``data`` must hold that resolution whole (``Codestream.end``), more of it is left away. At level 0 nothing changes
    but that tile-part lengths are left away. Malformed as ``parse``; Missing where bytes are missing.
    """
    stream = parse(data)
    end = stream.end(level)
    if len(data) < end:
        raise Missing("a resolution that has not arrived whole")
    out = [_SOC.to_bytes(2, "big")]
    for segment in stream.segments:
        body = _reduced_segment(segment, stream, level)
        if body is not None:
            out.append(struct.pack(">HH", segment.marker, len(body) + 2) + body)
    count, at = stream.decompositions + 1 - level, stream.header_bytes
    for number, until in enumerate(stream.ends[:count]):
        sot, length, tile, size, part, _ = _SOT_SEGMENT.unpack_from(data, at)
        if (sot, length, tile, size, part) != (_SOT, 10, 0, until - at, number):
            raise Malformed("a tile-part that is not where the header says")
        out += [_SOT_SEGMENT.pack(sot, length, tile, size, part, count), data[at + _SOT_SEGMENT.size : until]]
        at = until
    return b"".join((*out, _EOC.to_bytes(2, "big")))


def _reduced_segment(segment: Segment, stream: Codestream, level: int) -> bytes | None:
    body = segment.body
    if segment.marker == _TLM:
        return None
    if segment.marker == _SIZ:
        rows, columns = stream.size(level)
        capabilities, *_, samples = _SIZ_HEAD.unpack_from(body)
        head = _SIZ_HEAD.pack(capabilities, columns, rows, 0, 0, columns, rows, 0, 0, samples)
        return head + body[_SIZ_HEAD.size :]
    if segment.marker == _COD:
        kept = body[: len(body) - level] if body[0] & _PRECINCTS else body
        return kept[:5] + bytes([stream.decompositions - level]) + kept[6:]
    if segment.marker == _QCD:
        if body[0] & 0x1F or len(body) != 2 + 3 * stream.decompositions:
            raise Malformed("a codestream that is quantised")
        return body[: len(body) - 3 * level]
    return body
