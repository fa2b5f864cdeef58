"""TIFF and BigTIFF, page by page, by tifffile. In the decoding process only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffFileError, TiffFrame, TiffPage

from gateway.middleware.importing.decode_photo import digits_of_date, word
from gateway.middleware.importing.pixels import (
    Array,
    Change,
    is_turned,
    little_endian,
    oriented,
    over_black_to_white,
    over_white,
    sides,
    top_bits,
)
from gateway.middleware.importing.protocol import (
    MAX_ICC_BYTES,
    MAX_INSTANCE_BYTES,
    DecodeError,
    DecodeLimits,
    Ended,
    Image,
)

_ORIENTATION = 274
_COEFFICIENTS, _REFERENCE = 529, 532
"""YCbCrCoefficients, ReferenceBlackWhite."""
_FULL_RANGE = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)
_LOSSY = frozenset({COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.JPEG_2000_LOSSY,
                    COMPRESSION.JPEGXR, COMPRESSION.JPEGXR_NDPI, COMPRESSION.WEBP})  # fmt: skip
_GREY = frozenset({PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE})
_ASSOCIATED, _UNASSOCIATED = 1, 2
_MOST_ASPECT = 65535


@dataclass(frozen=True, slots=True)
class _Form:
    """What the pages of one instance have in common."""

    rows: int
    columns: int
    samples: int
    bits_stored: int
    intercept: int
    lossy: bool
    changes: tuple[Change, ...]
    aspect: tuple[int, int] | None

    @property
    def bits_allocated(self) -> int:
        return 8 if self.bits_stored <= 8 else 16

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.samples * self.bits_allocated // 8


def tiff(path: Path, limits: DecodeLimits, allow_page: Callable[[], None]) -> Iterator[Image | bytes]:
    """The file's pages; those that are alike, one behind the other, make one instance. Raises DecodeError."""
    try:
        with TiffFile(path, _multifile=False) as file:
            for form, numbers in _runs(file, limits):
                yield from _instance(file, form, numbers, allow_page)
    except (TiffFileError, NotImplementedError) as error:
        is_new = isinstance(error, NotImplementedError)
        raise DecodeError(Ended.UNSUPPORTED if is_new else Ended.MALFORMED) from error


def _runs(file: TiffFile, limits: DecodeLimits) -> Iterator[tuple[_Form, list[int]]]:
    """Forms with the indexes of their pages; only directories are read for it."""
    last: _Form | None = None
    run: list[int] = []
    count = 0
    for number, page in enumerate(_pages(file)):
        count += 1
        if count > limits.max_pages:
            raise DecodeError(Ended.TOO_LARGE)
        if page.subfiletype & 0b101:  # a reduced version of another page, or a mask
            continue
        form = _form(page, limits)
        if last is not None and (form != last or (len(run) + 1) * form.frame_bytes > MAX_INSTANCE_BYTES):
            yield last, run
            run = []
        last = form
        run.append(number)
    if last is None:
        raise DecodeError(Ended.MALFORMED)
    yield last, run


def _pages(file: TiffFile) -> Iterator[TiffPage]:
    for page in file.pages:
        yield page.aspage() if isinstance(page, TiffFrame) else page


def _form(page: TiffPage, limits: DecodeLimits) -> _Form:
    rows, columns = page.imagelength, page.imagewidth
    if not (0 < rows <= 65535 and 0 < columns <= 65535) or rows * columns > limits.max_pixels:
        raise DecodeError(Ended.TOO_LARGE)
    if page.imagedepth != 1 or page.samplesperpixel > 6 or page.dtype is None:
        raise DecodeError(Ended.UNSUPPORTED)
    is_grey = page.photometric in _GREY
    changes: list[Change] = []
    bits, intercept = _depth(page, is_grey, changes)
    if is_turned(orientation := _orientation(page)):
        changes.append("orientation")
    if _alpha(page):
        changes.append("alpha")
    rows, columns = sides(rows, columns, orientation)
    aspect = _aspect(page)
    if aspect and sides(1, 2, orientation) == (2, 1):
        aspect = (aspect[1], aspect[0])
    lossy = page.compression in _LOSSY
    return _Form(rows, columns, 1 if is_grey else 3, bits, intercept, lossy, tuple(changes), aspect)


def _depth(page: TiffPage, is_grey: bool, changes: list[Change]) -> tuple[int, int]:
    """Bits stored of an instance's samples, and the intercept that leads back to the file's."""
    bits = page.bitspersample
    kind = page.dtype.kind if page.dtype is not None else ""
    if kind not in "bui" or not 1 <= bits <= 16:
        raise DecodeError(Ended.UNSUPPORTED)  # floating point, or more than pixel data of a secondary capture hold
    if page.photometric == PHOTOMETRIC.PALETTE:
        changes.append("palette")
        return 8, 0
    if not is_grey:
        if page.photometric not in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.SEPARATED) or kind != "u":
            raise DecodeError(Ended.UNSUPPORTED)
        if page.photometric == PHOTOMETRIC.SEPARATED:
            if bits != 8 or page.samplesperpixel != 4:
                raise DecodeError(Ended.UNSUPPORTED)
            changes.append("colour-space")
        if bits not in (8, 16) or (_is_plain_ycc(page) and (bits == 16 or not _is_full_range(page))):
            raise DecodeError(Ended.UNSUPPORTED)
        if _is_plain_ycc(page):
            changes.append("colour-space")
        if bits == 16:
            changes.append("depth")
        return 8, 0
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        changes.append("inverted")
    if bits < 8:
        changes.append("scaled")
        bits = 8
    return bits, -(1 << (bits - 1)) if kind == "i" else 0


def _is_plain_ycc(page: TiffPage) -> bool:
    """Whether its samples are YCbCr once decoded; those of JPEG come out as RGB."""
    return page.photometric == PHOTOMETRIC.YCBCR and page.compression not in _LOSSY


def _is_full_range(page: TiffPage) -> bool:
    """Whether YCbCr is that of JPEG: full range, BT.601's coefficients (TIFF 6.0 section 21)."""
    reference: Any = page.tags.valueof(_REFERENCE)
    return page.tags.valueof(_COEFFICIENTS) is None and reference in (None, _FULL_RANGE)


def _alpha(page: TiffPage) -> int:
    """Which kind of transparency the last sample is; 0 for none."""
    extras = [int(extra) for extra in page.extrasamples]
    return extras[0] if extras and extras[0] in (_ASSOCIATED, _UNASSOCIATED) else 0


def _orientation(page: TiffPage) -> int:
    value: Any = page.tags.valueof(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def _aspect(page: TiffPage) -> tuple[int, int] | None:
    """Vertical and horizontal size of a pixel, from resolutions that differ: faxes have flat pixels."""
    across, down = page.get_resolution()
    if not (0 < across < _MOST_ASPECT and 0 < down < _MOST_ASPECT) or abs(across / down - 1) < 0.01:
        return None
    scale = 1 if min(across, down) >= 10 else 100
    return round(across * scale) or 1, round(down * scale) or 1


def _instance(
    file: TiffFile, form: _Form, numbers: list[int], allow_page: Callable[[], None]
) -> Iterator[Image | bytes]:
    first = _page(file, numbers[0])
    icc = first.iccprofile if form.samples == 3 and "colour-space" not in form.changes else None
    coded = sum(sum(_page(file, number).databytecounts) for number in numbers)
    raw = form.frame_bytes * len(numbers)
    yield Image(
        rows=form.rows,
        columns=form.columns,
        samples=1 if form.samples == 1 else 3,
        bits_allocated=8 if form.bits_allocated == 8 else 16,
        bits_stored=form.bits_stored,
        photometric="MONOCHROME2" if form.samples == 1 else "RGB",
        frame_bytes=form.frame_bytes,
        pages=[number + 1 for number in numbers],
        intercept=form.intercept,
        ratio_x100=max(100, min(10_000_000, 100 * raw // max(1, coded))) if form.lossy else 0,
        changes=list(form.changes),
        icc_bytes=len(icc) if icc and len(icc) <= MAX_ICC_BYTES else 0,
        aspect=form.aspect,
        taken=digits_of_date(first.tags.valueof(306)),
        make=word(first.tags.valueof(271)),
        model=word(first.tags.valueof(272)),
    )
    if icc and len(icc) <= MAX_ICC_BYTES:
        yield bytes(icc)
    for number in numbers:
        allow_page()
        data = little_endian(_pixels(_page(file, number), form))
        if len(data) != form.frame_bytes:
            raise DecodeError(Ended.MALFORMED)
        yield data


def _page(file: TiffFile, number: int) -> TiffPage:
    page = file.pages[number]
    return page.aspage() if isinstance(page, TiffFrame) else page


def _pixels(page: TiffPage, form: _Form) -> Array:
    """One page as it is stored in the instance."""
    pixels: Array = page.asarray(maxworkers=1)
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == PHOTOMETRIC.PALETTE:
        pixels = _looked_up(page, pixels)
    elif form.samples == 1:
        pixels = _grey(page, pixels, form)
    else:
        pixels = _colour(page, pixels)
    return oriented(pixels, _orientation(page))


def _looked_up(page: TiffPage, pixels: Array) -> Array:
    table = page.colormap
    if table is None or pixels.ndim != 2:
        raise DecodeError(Ended.MALFORMED)
    colours = np.asarray(table).T
    # Some writers leave the lower byte zero, others repeat the upper one there (TIFF 6.0 section 5).
    eight = (colours >> 8).astype(np.uint8) if not (colours & 0xFF).any() else top_bits(colours)
    found: Array = eight[pixels]
    return found


def _grey(page: TiffPage, pixels: Array, form: _Form) -> Array:
    alpha = pixels[..., 1] if pixels.ndim == 3 and _alpha(page) else None
    if pixels.ndim == 3:
        pixels = pixels[..., 0]
    most = (1 << page.bitspersample) - 1
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8)
    if form.intercept:
        unsigned = np.uint8 if form.bits_allocated == 8 else np.uint16
        # Two's complement: adding half the range turns the sign's bit, and nothing else.
        pixels = np.bitwise_xor(pixels.astype(pixels.dtype.newbyteorder("=")).view(unsigned), unsigned(-form.intercept))
    if "inverted" in form.changes:
        pixels = most - pixels
    if "scaled" in form.changes:
        pixels = (pixels.astype(np.uint16) * 255 // most).astype(np.uint8)
    if alpha is not None and pixels.dtype == np.uint8 and alpha.dtype == np.uint8:
        pixels = over_white(pixels, alpha)
    return pixels.astype(np.uint8 if form.bits_allocated == 8 else np.uint16)


def _colour(page: TiffPage, pixels: Array) -> Array:
    if pixels.ndim != 3 or pixels.shape[-1] < 3:
        raise DecodeError(Ended.UNSUPPORTED)
    if pixels.dtype.itemsize == 2:
        pixels = top_bits(pixels)
    if page.photometric == PHOTOMETRIC.SEPARATED:
        return np.asarray(Pillow.fromarray(np.ascontiguousarray(pixels), "CMYK").convert("RGB"))
    if _is_plain_ycc(page):
        return np.asarray(Pillow.fromarray(np.ascontiguousarray(pixels[..., :3]), "YCbCr").convert("RGB"))
    colour = pixels[..., :3]
    kind = _alpha(page)
    if kind and pixels.shape[-1] > 3:
        alpha = pixels[..., 3]
        colour = over_white(colour, alpha) if kind == _UNASSOCIATED else over_black_to_white(colour, alpha)
    return colour
