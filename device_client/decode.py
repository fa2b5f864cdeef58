"""HTJ2K codestreams to numbers and files: the only module here that knows numpy, Pillow and OpenJPEG.

They come with ``mpacs-edge[viewer]``; the plain device is light. Loaded when the first frame is decoded.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from openjpeg.utils import decode as decode_codestream
from PIL import Image

from wire import codestream
from wire.errors import Malformed

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PIXELS = 64_000_000
"""Of one frame: nothing larger is offered by a gateway, and a decoder is asked for no more memory than that."""


@dataclass(frozen=True)
class Decoded:
    """A file of stored values. ``offset`` was added to each of them; 0 where they stand as they are."""

    extension: str
    data: bytes
    rows: int
    columns: int
    offset: int


def decode(data: bytes, level: int, rows: int, columns: int, photometric: str) -> Decoded:
    """The frame in ``data``, halved ``level`` times; ``rows`` and ``columns`` are what the attributes say of it whole.

    Grey values and palette indices become a PNG of 16 bits, RGB of 8 bits a PNG of 8; what PNG has no form for, NPY.
    Malformed for a codestream of another size or kind, or one that does not decode; Missing where bytes are missing.
    """
    stream = codestream.parse(data)
    if (stream.rows, stream.columns) != (rows, columns) or rows * columns > MAX_PIXELS:
        raise Malformed("a frame of another size than its attributes say")
    try:
        # a codestream of its own is decoded at its full resolution: values are clamped, and exactly those of the level
        values = decode_codestream(codestream.reduced(data, level))
    except RuntimeError:
        raise Malformed("a frame that does not decode") from None
    return file_of(values, photometric)


def file_of(values: NDArray[Any], photometric: str) -> Decoded:
    """Values of a frame as a file, see ``decode``."""
    rows, columns = values.shape[:2]
    if values.ndim == 2 and values.dtype.itemsize <= 2:
        offset = -int(np.iinfo(values.dtype).min)
        words = (values.astype(np.int32) + offset).astype(np.uint16)
        return Decoded("png", _png(words), rows, columns, offset)
    if values.dtype == np.uint8 and photometric == "RGB":
        return Decoded("png", _png(values), rows, columns, 0)
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return Decoded("npy", out.getvalue(), rows, columns, 0)


def _png(values: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()
