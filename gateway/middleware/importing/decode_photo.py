"""JPEG and PNG, by Pillow. In the decoding process only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from gateway.middleware.importing import jpeg
from gateway.middleware.importing.pixels import (
    Array,
    Change,
    is_turned,
    little_endian,
    oriented,
    over_white,
)
from gateway.middleware.importing.protocol import MAX_ICC_BYTES, DecodeError, DecodeLimits, Ended, Image

_ORIENTATION, _DATE, _MAKE, _MODEL = 0x0112, 0x0132, 0x010F, 0x0110
_EXIF, _DATE_ORIGINAL = 0x8769, 0x9003
_MOST_JPEG_BYTES = 256 << 20
_IHDR_DEPTH = 24


def photo(path: Path, limits: DecodeLimits, _: Callable[[], None]) -> Iterator[Image | bytes]:
    """The file's picture: a baseline JPEG that stands upright as it is, anything else decoded.

    Raises DecodeError.
    """
    Pillow.MAX_IMAGE_PIXELS = limits.max_pixels
    try:
        with Pillow.open(path, formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > limits.max_pixels or max(picture.size) > 65535:
                raise DecodeError(Ended.TOO_LARGE)
            picture.load()
            yield from _jpeg(path, picture) if picture.format in ("JPEG", "MPO") else _png(path, picture)
    except Pillow.DecompressionBombError as error:
        raise DecodeError(Ended.TOO_LARGE) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise DecodeError(Ended.MALFORMED) from error


def _jpeg(path: Path, picture: Pillow.Image) -> Iterator[Image | bytes]:
    if path.stat().st_size > _MOST_JPEG_BYTES:
        raise DecodeError(Ended.TOO_LARGE)
    data = path.read_bytes()
    stream = jpeg.parse(data)
    orientation = _orientation(picture)
    if stream.may_stay and not is_turned(orientation):
        data = data[: stream.end]
        size = stream.rows * stream.columns * len(stream.components)
        head = Image(
            rows=stream.rows,
            columns=stream.columns,
            samples=1 if len(stream.components) == 1 else 3,
            bits_allocated=8,
            bits_stored=8,
            photometric=stream.photometric,  # type: ignore[arg-type]  # may_stay: it is one of the three
            frame_bytes=len(data),
            pages=[1],
            is_jpeg=True,
            ratio_x100=_ratio(size, len(data)),
        )
        yield from _with_facts(head, picture, [data])
        return
    changes: list[Change] = []
    if picture.mode not in ("L", "RGB"):
        changes.append("colour-space")
        picture = picture.convert("RGB")
    pixels = np.asarray(picture)
    yield from _decoded(picture, pixels, orientation, changes, _ratio(pixels.nbytes, stream.end))


def _png(path: Path, picture: Pillow.Image) -> Iterator[Image | bytes]:
    with path.open("rb") as file:
        depth = file.read(_IHDR_DEPTH + 1)[_IHDR_DEPTH]
    changes: list[Change] = []
    orientation = _orientation(picture)
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode in ("P", "PA"):
        changes.append("palette")
        picture = picture.convert("RGB" if picture.mode == "P" else "RGBA")
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode.startswith("I"):
        pixels: Array = np.asarray(picture).astype(np.uint16)
    else:
        if depth == 16:
            changes.append("depth")  # Pillow reads sixteen-bit colour as eight
        pixels = np.asarray(picture)
    if picture.mode in ("LA", "RGBA"):
        colour, alpha = pixels[..., :-1], pixels[..., -1]
        colour = colour[..., 0] if picture.mode == "LA" else colour
        if (alpha != 255).any():
            changes.append("alpha")
            pixels = over_white(colour, alpha)
        else:
            pixels = colour
    elif picture.mode not in ("L", "RGB") and not picture.mode.startswith("I"):
        raise DecodeError(Ended.UNSUPPORTED)
    yield from _decoded(picture, pixels, orientation, changes, 0)


def _decoded(
    picture: Pillow.Image, pixels: Array, orientation: int, changes: list[Change], ratio_x100: int
) -> Iterator[Image | bytes]:
    if is_turned(orientation):
        pixels = oriented(pixels, orientation)
        changes.append("orientation")
    bits = 16 if pixels.dtype.itemsize == 2 else 8
    data = little_endian(pixels)
    is_grey = pixels.ndim == 2
    head = Image(
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples=1 if is_grey else 3,
        bits_allocated=16 if bits == 16 else 8,
        bits_stored=bits,
        photometric="MONOCHROME2" if is_grey else "RGB",
        frame_bytes=len(data),
        pages=[1],
        ratio_x100=ratio_x100,
        changes=changes,
    )
    yield from _with_facts(head, picture, [data])


def _with_facts(head: Image, picture: Pillow.Image, bodies: list[bytes]) -> Iterator[Image | bytes]:
    exif = picture.getexif()
    taken = exif.get_ifd(_EXIF).get(_DATE_ORIGINAL) or exif.get(_DATE)
    head.taken = digits_of_date(taken)
    head.make, head.model = word(exif.get(_MAKE)), word(exif.get(_MODEL))
    icc: Any = picture.info.get("icc_profile")
    # A profile is about the samples as they were: of grey ones, or ones that were converted, none is kept.
    if isinstance(icc, bytes) and head.samples == 3 and "colour-space" not in head.changes:
        head.icc_bytes = len(icc) if len(icc) <= MAX_ICC_BYTES else 0
    yield head
    if head.icc_bytes:
        yield bytes(icc)
    yield from bodies


def _orientation(picture: Pillow.Image) -> int:
    value: Any = picture.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def _ratio(raw_bytes: int, coded_bytes: int) -> int:
    return max(100, min(10_000_000, 100 * raw_bytes // max(1, coded_bytes)))


def digits_of_date(value: object) -> str:
    """``2024:05:31 12:00:00`` (EXIF 2.3 section 4.6.4) as 14 digits; empty where it is none."""
    found = "".join(c for c in str(value or "")[:19] if c in "0123456789")
    try:
        return found if time.strptime(found, "%Y%m%d%H%M%S").tm_year >= 1900 else ""
    except ValueError:
        return ""


def word(value: object) -> str:
    """A maker's name or model, in printable characters."""
    text = value if isinstance(value, str) else ""
    return "".join(c for c in text if c.isprintable() and c != "\\").strip()[:64]
