"""Colour samples to RGB of eight bits (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.management.rendering.grey import bands
from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

RGB_ALREADY: Final = frozenset({"RGB", "YBR_RCT", "YBR_ICT"})
"""The component transforms of JPEG 2000 are undone by its decoders."""
PARTIAL: Final = frozenset({"YBR_PARTIAL_422", "YBR_PARTIAL_420"})
"""Retired: luminance from 16 to 235, chrominance from 16 to 240."""

_FULL_TO_RGB = np.array([[1.0, 1.0, 1.0], [0.0, -0.344136, 1.772], [1.402, -0.714136, 0.0]])
_PARTIAL_TO_RGB = np.array([[1.1644, 1.1644, 1.1644], [0.0, -0.3917, 2.0173], [1.5960, -0.8129, 0.0]])


def to_rgb8(samples: NDArray[Any], photometric: str, bits_stored: int) -> NDArray[np.uint8]:
    """(rows, columns, 3) samples of ``bits_stored`` bits to RGB."""
    eight = to_8bit(samples, bits_stored)
    if photometric in RGB_ALREADY:
        return eight
    if photometric in PARTIAL:
        return _convert(eight, _PARTIAL_TO_RGB, (16.0, 128.0, 128.0))
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        return _convert(eight, _FULL_TO_RGB, (0.0, 128.0, 128.0))
    raise Refusal("unsupported", "PhotometricInterpretation")


def to_8bit(samples: NDArray[Any], bits_stored: int) -> NDArray[np.uint8]:
    """The eight highest of ``bits_stored`` bits; fewer are spread over the range."""
    if samples.dtype.kind != "u":
        raise Refusal("unsupported", "signed or float colour samples")
    if bits_stored > 8:
        return (samples >> (bits_stored - 8)).astype(np.uint8)
    if bits_stored < 8:
        return (samples.astype(np.uint16) * 255 // ((1 << bits_stored) - 1)).clip(0, 255).astype(np.uint8)
    return samples.astype(np.uint8, copy=False)


def _convert(
    samples: NDArray[np.uint8], matrix: NDArray[np.float64], offset: tuple[float, float, float]
) -> NDArray[np.uint8]:
    out = np.empty(samples.shape, dtype=np.uint8)
    shift, factors = np.array(offset, dtype=np.float32), matrix.astype(np.float32)
    for band in bands(samples.shape):
        out[band] = np.clip((samples[band].astype(np.float32) - shift) @ factors + 0.5, 0, 255)
    return out
