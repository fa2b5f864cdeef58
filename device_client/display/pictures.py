"""Encoded pictures as pixels that fit the screen, in bounded memory. The only module of the display that knows Pillow.

The bytes are the gateway's own (signed, verified), and still no header is believed: what is larger than any display
picture is not decoded.
"""

import io
from collections import OrderedDict
from typing import NamedTuple

from PIL import Image

MOST_PIXELS = 8192 * 8192 // 4
_FORMATS = ("JPEG", "PNG")
_CACHE_BYTES = 4 * 1024 * 1024


class Pixels(NamedTuple):
    """Row by row, without padding: one byte a pixel where ``grey``, else three of RGB."""

    width: int
    height: int
    data: bytes
    grey: bool


class Broken(Exception):
    """Not a picture that this display shows."""


def decode(data: bytes, width: int, height: int) -> Pixels:
    """``data`` as large as fits into ``width`` x ``height``, in proportion. Broken if it is no such picture."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Broken
            # Most pictures are grey, and stay so: on a screen of 4K that is 3 MB in place of 10.
            mode = "L" if image.mode == "L" else "RGB"
            # A JPEG's decoder halves at once: a 1,600 pixel picture on a small screen costs a quarter.
            image.draft(mode, (width, height))
            scale = min(width / image.width, height / image.height)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
            shown = small if small.mode == mode else small.convert(mode)
            return Pixels(shown.width, shown.height, shown.tobytes(), mode == "L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise Broken from None


class Cache:
    """The pictures used last, as they came: so many bytes that a short stack runs without reading again."""

    def __init__(self, most_bytes: int = _CACHE_BYTES) -> None:
        """Empty."""
        self._most = most_bytes
        self._held: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0

    def get(self, key: tuple[str, int]) -> bytes | None:
        """What is kept under ``key``."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: tuple[str, int], data: bytes) -> None:
        """Keep ``data``; the longest unused go."""
        self._size += len(data) - len(self._held.pop(key, b""))
        self._held[key] = data
        while self._size > self._most:
            self._size -= len(self._held.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget all: nothing of who left stays in memory for longer than it is shown."""
        self._held.clear()
        self._size = 0
