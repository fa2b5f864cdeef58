"""Pictures of eight bits to JPEG or PNG files, scaled to what a display shows."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from gateway.management.rendering.groups import FrameView
    from gateway.management.rendering.render import Picture

_FLAT_SHARE: Final = 0.6
"""Share of equal neighbours from which PNG may be smaller than JPEG: below it, the attempt only costs time."""
_STRIP_ROWS: Final = 32
_STRIP_MARGIN: Final = 1.3
"""The strip lies in the middle, where most is to be seen; the whole picture favours PNG more than it does."""
_ASPECT_BOUNDS: Final = (1 / 16, 16.0)
_ASPECTS: Final = ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One picture file; ``lossy`` speaks of this encoding alone."""

    media: str
    data: bytes
    rows: int
    columns: int
    lossy: bool


def pixel_aspect(view: FrameView, keywords: tuple[str, ...] = _ASPECTS) -> float:
    """Height of a pixel divided by its width (PS3.3 C.7.6.3.1.7, 10.7.1.3); 1.0 when square or not credible."""
    ratio: list[float] = []
    for keyword in keywords:
        ratio = ratio if len(ratio) == 2 else view.numbers(keyword)
    if len(ratio) != 2 or min(ratio) <= 0:
        return 1.0
    aspect = ratio[0] / ratio[1]
    square = abs(aspect - 1) < 0.01 or not _ASPECT_BOUNDS[0] <= aspect <= _ASPECT_BOUNDS[1]
    return 1.0 if square else aspect


def shown_size(rows: int, columns: int, aspect: float, max_side: int) -> tuple[int, int]:
    """Rows and columns with square pixels, the longest side at most ``max_side``; never enlarged beyond squaring."""
    height, width = (rows * aspect, float(columns)) if aspect > 1 else (float(rows), columns / aspect)
    scale = min(1.0, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def scaled(picture: Picture, aspect: float, max_side: int) -> Image.Image:
    """The picture at the size in which it is shown."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    rows, columns = shown_size(image.height, image.width, aspect, max_side)
    if (columns, rows) == image.size:
        return image
    return image.resize((columns, rows), Image.Resampling.LANCZOS, reducing_gap=3.0)


def encode(image: Image.Image, quality: int) -> Encoded:
    """JPEG, 4:4:4 for colour; PNG where that is smaller."""
    out = io.BytesIO()
    # no optimised tables: 0.6 % of a slice's bytes for 2.6 times the time, and Pillow fails on noise
    image.save(out, "JPEG", quality=quality, subsampling=0)
    if _png_may_win(image, quality):
        png = io.BytesIO()
        image.save(png, "PNG", compress_level=6)
        if png.tell() < out.tell():
            return Encoded("image/png", png.getvalue(), image.height, image.width, lossy=False)
    return Encoded("image/jpeg", out.getvalue(), image.height, image.width, lossy=True)


def _png_may_win(image: Image.Image, quality: int) -> bool:
    """Look at every eighth row, then at a strip: PNG of a whole picture takes ten times as long as JPEG."""
    pixels = np.asarray(image)[::8]
    if pixels.shape[1] > 1 and np.count_nonzero(pixels[:, 1:] == pixels[:, :-1]) < _FLAT_SHARE * pixels.size:
        return False
    if image.height < 8 * _STRIP_ROWS:
        return True
    top = (image.height - _STRIP_ROWS) // 2
    strip = image.crop((0, top, image.width, top + _STRIP_ROWS))
    return _size(strip, "PNG") < _STRIP_MARGIN * _size(strip, "JPEG", quality=quality, subsampling=0)


def _size(image: Image.Image, kind: str, **options: int) -> int:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.tell()
