"""Transfer syntaxes that can be decoded here (PS3.5 section 10 and annex A). Importable without numpy or pydicom."""

from __future__ import annotations

from typing import Final, Literal

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
GE_PRIVATE_IMPLICIT: Final = "1.2.840.113619.5.2"
"""Implicit VR little endian but for the pixel data, which are big endian; in old archives, and read by DCMTK."""

JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_SPECTRAL_SELECTION: Final = "1.2.840.10008.1.2.4.53"
JPEG_FULL_PROGRESSION: Final = "1.2.840.10008.1.2.4.55"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
JPEG_XL_LOSSLESS: Final = "1.2.840.10008.1.2.4.110"
JPEG_XL_JPEG_RECOMPRESSION: Final = "1.2.840.10008.1.2.4.111"
JPEG_XL: Final = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
DEFLATED_IMAGE_FRAME: Final = "1.2.840.10008.1.2.8.1"

NATIVE: Final[frozenset[str]] = frozenset(
    {
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
        GE_PRIVATE_IMPLICIT,
    }
)

JPEG_DCT: Final[frozenset[str]] = frozenset(
    {JPEG_BASELINE, JPEG_EXTENDED, JPEG_SPECTRAL_SELECTION, JPEG_FULL_PROGRESSION}
)

LOSSY: Final[frozenset[str]] = JPEG_DCT | {JPEG_LS_NEAR_LOSSLESS, JPEG_XL_JPEG_RECOMPRESSION}
"""Always lossy."""

MAYBE_LOSSY: Final[frozenset[str]] = frozenset({JPEG_2000, JPEG_XL, HTJ2K})
"""Either; lossy unless the header denies it."""

VideoCoding = Literal["mpeg", "h264", "h265"]

VIDEO: Final[dict[str, VideoCoding]] = {
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}{dot}" for n in (100, 101) for dot in ("", ".1")), "mpeg"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}{dot}" for n in range(102, 107) for dot in ("", ".1")), "h264"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (107, 108)), "h265"),
}
"""One stream for all frames: MPEG-2, MPEG-4 AVC/H.264, HEVC/H.265 (PS3.5 8.2.5 to 8.2.8), with how it is coded.
Frames are not made of them; the stream is passed on as it is."""

SUPPORTED_TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    ENCAPSULATED_UNCOMPRESSED,
    GE_PRIVATE_IMPLICIT,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_SPECTRAL_SELECTION,
    JPEG_FULL_PROGRESSION,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_2000,
    JPEG_XL_LOSSLESS,
    JPEG_XL_JPEG_RECOMPRESSION,
    JPEG_XL,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    HTJ2K,
    RLE_LOSSLESS,
    DEFLATED_IMAGE_FRAME,
)
