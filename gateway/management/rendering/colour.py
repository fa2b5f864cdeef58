"""Colour samples to RGB of eight bits (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

import io
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
_ROUND: Final = np.array([0.7, 0.47, 0.91], dtype=np.float32)
"""Neutral colours stay as they are. Others are rounded so that they lie within one level of the formula and of DCMTK,
which takes 127.5 for the middle of chrominance where the standard says 128."""
_MAX_PROFILE_BYTES: Final = 4 << 20
_PARTIAL_TO_RGB = np.array([[1.1644, 1.1644, 1.1644], [0.0, -0.3917, 2.0173], [1.5960, -0.8129, 0.0]])


def to_rgb8(samples: NDArray[Any], photometric: str, bits_stored: int) -> NDArray[np.uint8]:
    """(rows, columns, 3) samples of ``bits_stored`` bits to RGB."""
    eight = to_8bit(samples, bits_stored)
    if photometric == "CMYK":
        return _cmyk(eight)
    if photometric == "HSV":
        return _hsv(eight)
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
        out[band] = np.clip((samples[band].astype(np.float32) - shift) @ factors + _ROUND, 0, 255)
    return out


def _cmyk(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Retired in 2001: ink that is not there is light; (rows, columns, 4) to RGB."""
    out = np.empty((*samples.shape[:2], 3), dtype=np.uint8)
    for band in bands(samples.shape):
        ink = samples[band, :, :3].astype(np.int16) + samples[band, :, 3:]
        out[band] = np.clip(255 - ink, 0, 255)
    return out


def _hsv(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Retired in 2001: hue over the whole circle, saturation and value over their range."""
    out = np.empty(samples.shape, dtype=np.uint8)
    for band in bands(samples.shape):
        hue, saturation, value = (samples[band, :, channel].astype(np.float32) for channel in range(3))
        for channel, shift in enumerate((5.0, 3.0, 1.0)):
            k = (hue * np.float32(6 / 255) + np.float32(shift)) % 6
            out[band, :, channel] = value - value * saturation / 255 * np.clip(np.minimum(k, 4 - k), 0, 1) + 0.5
    return out


class ToSrgb:
    """A picture's ICC profile (C.11.15), applied. Untrusted: built and used in a worker alone."""

    def __init__(self, profile: bytes) -> None:
        """Raises ``ValueError`` where it is no RGB profile, or too large a one."""
        from PIL import ImageCms

        if len(profile) > _MAX_PROFILE_BYTES:
            msg = "an ICC profile beyond the limit"
            raise ValueError(msg)
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            self._transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        except (OSError, ImageCms.PyCMSError) as error:
            msg = "no ICC profile of an RGB space"
            raise ValueError(msg) from error

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        from PIL import Image

        out = np.empty(picture.shape, dtype=np.uint8)
        for band in bands(picture.shape):
            image = Image.fromarray(np.ascontiguousarray(picture[band]))
            out[band] = np.asarray(self._transform.apply(image))
        return out
