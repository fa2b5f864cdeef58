"""Arrays as they are stored: samples, depth, transparency, orientation. In the decoding process only."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Change = Literal["orientation", "alpha", "depth", "palette", "inverted", "scaled", "colour-space"]
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
    weight = alpha.astype(np.uint16)[..., np.newaxis] if colour.ndim == 3 else alpha.astype(np.uint16)
    mixed = colour.astype(np.uint16) * weight + 255 * (255 - weight)
    return ((mixed + 127) // 255).astype(np.uint8)


def top_bits(values: Array) -> Array:
    """Sixteen-bit samples as eight, rounded."""
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def little_endian(pixels: Array) -> bytes:
    """The bytes of pixel data in an explicit little endian transfer syntax."""
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
