"""Arrays as they are stored: samples, depth, transparency, orientation. In the decoding process only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Change = Literal["orientation", "alpha", "depth", "palette", "inverted", "scaled", "colour-space"]
_STRIP_VALUES = 1 << 20
_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange rows and columns."""


def oriented(pixels: Array, orientation: int) -> Array:
    """Upright, by EXIF's or TIFF's tag 274; what is no orientation changes nothing."""
    flip_rows, flip_columns = np.s_[::-1, :], np.s_[:, ::-1]
    match orientation:
        case 2:
            return pixels[flip_columns]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[flip_rows]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return pixels.swapaxes(0, 1)[flip_columns]
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return pixels.swapaxes(0, 1)[flip_rows]
    return pixels


def sides(rows: int, columns: int, orientation: int) -> tuple[int, int]:
    """Rows and columns once upright."""
    return (columns, rows) if orientation in _TURNED else (rows, columns)


def is_turned(orientation: int) -> bool:
    """Whether the tag asks for anything."""
    return 2 <= orientation <= 8


def over_white(colour: Array, alpha: Array) -> Array:
    """Eight-bit samples as they look on white paper, by straight alpha of eight bits."""
    out = np.empty(colour.shape, np.uint8)
    for rows in _strips(out):
        weight = alpha[rows].astype(np.uint16)
        weight = weight[..., np.newaxis] if colour.ndim == 3 else weight
        out[rows] = (colour[rows] * weight + 255 * (255 - weight) + 127) // 255
    return out


def over_black_to_white(colour: Array, alpha: Array) -> Array:
    """The same of samples that are weighed by their alpha already: only the white behind them is lacking."""
    out = np.empty(colour.shape, np.uint8)
    for rows in _strips(out):
        out[rows] = np.minimum(colour[rows].astype(np.uint16) + (255 - alpha[rows])[..., np.newaxis], 255)
    return out


def top_bits(values: Array) -> Array:
    """Sixteen-bit samples as eight, rounded."""
    out = np.empty(values.shape, np.uint8)
    for rows in _strips(out):
        out[rows] = (values[rows].astype(np.uint32) * 255 + 32767) // 65535
    return out


def _strips(pixels: Array) -> Iterator[slice]:
    """Few rows at a time: what is wider than a sample on the way must not be as large as the page."""
    step = max(1, _STRIP_VALUES // max(1, pixels[:1].size))
    return (slice(start, start + step) for start in range(0, len(pixels), step))


def little_endian(pixels: Array) -> bytes:
    """The bytes of pixel data in an explicit little endian transfer syntax."""
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
