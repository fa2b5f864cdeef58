"""Native pixel data beyond what pydicom does: unused bits without a copy, and 32-bit words in either order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.management.rendering import syntaxes as ts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_PLAIN: Final = frozenset({ts.IMPLICIT_VR_LITTLE_ENDIAN, ts.EXPLICIT_VR_LITTLE_ENDIAN})


def without_unused_bits(samples: NDArray[Any], options: dict[str, Any]) -> NDArray[Any]:
    """What lies above BitsStored is cleared, or made to repeat the sign (PS3.5 8.1.1), as pydicom does.

    Here, because nearly all files have nothing there: a look is ten times faster than two shifts and a copy.
    """
    allocated, stored = options["bits_allocated"], options["bits_stored"]
    if options["pixel_keyword"] != "PixelData" or allocated <= stored:
        return samples
    half = 1 << (stored - 1)
    least, most = (-half, half - 1) if samples.dtype.kind == "i" else (0, 2 * half - 1)
    if least <= samples.min() and samples.max() <= most:
        return samples
    corrected: NDArray[Any] = np.right_shift(np.left_shift(samples, allocated - stored), allocated - stored)
    return corrected


def reader(options: dict[str, Any], *, little_endian: bool) -> Callable[[bytes, dict[str, Any]], NDArray[Any]] | None:
    """What makes samples of one frame's bytes without pydicom's general decoder, where something here does."""
    if not little_endian or options["samples_per_pixel"] != 1:
        return None
    if options["bits_allocated"] == 12 and options["rows"] * options["columns"] % 2 == 0:
        return unpacked_12
    return plain if options["transfer_syntax_uid"] in _PLAIN and _is_plain(options) else None


def _is_plain(options: dict[str, Any]) -> bool:
    return (
        options["pixel_keyword"] == "PixelData"
        and options["bits_stored"] <= options["bits_allocated"] in (8, 16)
        and options["pixel_representation"] in (0, 1)
        and options["photometric_interpretation"] in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    )


def plain(data: bytes, options: dict[str, Any]) -> NDArray[Any]:
    """Samples whose bytes are already what numpy takes, in little endian. ValueError where bytes are lacking."""
    dtype = np.dtype(f"<{'ui'[options['pixel_representation']]}{options['bits_allocated'] // 8}")
    samples = np.frombuffer(data, dtype).reshape(options["rows"], options["columns"])
    return without_unused_bits(samples, options) if options.get("correct_unused_bits", True) else samples


def unpacked_12(data: bytes, options: dict[str, Any]) -> NDArray[Any]:
    """Samples of 12 bits Allocated, two in three bytes, the first in the lower bits: ACR-NEMA and early DICOM had that.

    ``data`` is one frame, in little endian. ValueError where bytes are lacking.
    """
    pairs = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.uint16)
    samples = np.empty((len(pairs), 2), np.uint16)
    samples[:, 0] = pairs[:, 0] | (pairs[:, 1] & 0x0F) << 8
    samples[:, 1] = pairs[:, 1] >> 4 | pairs[:, 2] << 4
    shaped = samples.reshape(options["rows"], options["columns"])
    shaped = shaped.view(np.int16) if options["pixel_representation"] == 1 else shaped
    return without_unused_bits(shaped, {**options, "bits_allocated": 16})


def may_be_swapped(samples: NDArray[Any]) -> bool:
    """Integers of 32 bits in big endian: OW is words of 16 bits, the lower word first (PS3.5 8.1.1, A.3), and DCMTK
    writes that; pydicom and others write the higher first. The smoother picture tells them apart.
    """
    return samples.dtype.itemsize == 4 and samples.dtype.kind != "f"


def words_swapped(samples: NDArray[Any]) -> NDArray[Any]:
    """The samples, read with the lower word first."""
    swapped: NDArray[Any] = samples.byteswap().view(f"{samples.dtype.kind}2").byteswap().view(samples.dtype)
    return swapped


def is_low_word_first(samples: NDArray[Any]) -> bool:
    """Whether the picture is the smoother with its words swapped."""
    return _roughness(words_swapped(samples)) <= _roughness(samples)


def _roughness(samples: NDArray[Any]) -> float:
    """Mean step between neighbours."""
    return float(np.abs(np.diff(samples.astype(np.float64), axis=0)).mean()) if len(samples) > 1 else 0.0
