"""Frames of encapsulated pixel data to samples: which library decodes what, and the pydicom plugin for the rest.

pydicom tries plugins by the alphabet, so every call names its plugin. Codec libraries are imported when the first
frame that needs them arrives: most workers never see more than one or two of them.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder
from pydicom.uid import UID

from gateway.management.rendering import syntaxes as ts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PLUGIN: Final = "mpacs"
KEEP_COLOUR: Final = "mpacs_keep_colour"
"""An option of frames: three samples of a lossless JPEG come back in the colours in which they were compressed."""
_PYLIBJPEG: Final = frozenset({ts.JPEG_2000, ts.JPEG_2000_LOSSLESS, ts.HTJ2K, ts.RLE_LOSSLESS})
_HTJ2K_LOSSLESS: Final = frozenset({ts.HTJ2K_LOSSLESS, ts.HTJ2K_LOSSLESS_RPCL})
_JPEG: Final = ts.JPEG_DCT | {ts.JPEG_LOSSLESS, ts.JPEG_LOSSLESS_SV1}
_JPEG_LS: Final = frozenset({ts.JPEG_LS_LOSSLESS, ts.JPEG_LS_NEAR_LOSSLESS})
_JPEG_XL: Final = frozenset({ts.JPEG_XL_LOSSLESS, ts.JPEG_XL_JPEG_RECOMPRESSION, ts.JPEG_XL})

DECODER_DEPENDENCIES: Final = {UID(uid): ("imagecodecs",) for uid in _JPEG | _JPEG_LS | _HTJ2K_LOSSLESS}
"""Read by pydicom when a plugin is added."""

_ADOBE = b"\xff\xee\x00\x0eAdobe"


def is_available(_uid: str) -> bool:
    """Part of pydicom's plugin interface."""
    return True


def decode_frame(frame: bytes, transfer_syntax: str, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    """One encoded frame to samples, shaped (rows, columns) or (rows, columns, samples).

    ``options`` are pydicom's decoding options for one frame. Returns the samples as stored (sign and unused bits
    corrected) and the photometric interpretation that they now have.
    Raises whatever the codec raises: the caller turns it into a refusal.
    """
    if options["samples_per_pixel"] == 4:
        raise NotImplementedError
    if transfer_syntax in _JPEG_XL:
        return _decode_jpeg_xl(frame, options)
    if transfer_syntax == ts.DEFLATED_IMAGE_FRAME:
        return _inflate_frame(frame, options)
    if transfer_syntax == ts.RLE_LOSSLESS and options["bits_allocated"] == 1:
        return _unpack_rle_bits(frame, options)
    plugin = "pylibjpeg" if transfer_syntax in _PYLIBJPEG else PLUGIN
    samples, properties = _decoder(transfer_syntax).as_array(
        encapsulate([frame], has_bot=False),
        index=0,
        raw=True,  # pydicom's colour conversion takes five times the frame in floats; ours goes in bands
        decoding_plugin=plugin,
        **options,
    )
    return samples, str(properties["photometric_interpretation"])


_DECODERS: dict[str, Decoder] = {}


def _decoder(transfer_syntax: str) -> Decoder:
    """pydicom's decoder, with our plugin added, or a new one for the retired JPEG processes that it lacks."""
    decoder = _DECODERS.get(transfer_syntax)
    if decoder is None:
        retired = transfer_syntax in (ts.JPEG_SPECTRAL_SELECTION, ts.JPEG_FULL_PROGRESSION)
        decoder = Decoder(UID(transfer_syntax)) if retired else get_decoder(transfer_syntax)
        if transfer_syntax not in _PYLIBJPEG:
            decoder.add_plugin(PLUGIN, (__name__, "_decode_for_pydicom"))
        _DECODERS[transfer_syntax] = decoder
    return decoder


def _decode_for_pydicom(frame: bytes, runner: DecodeRunner) -> bytes:
    """pydicom's plugin interface: samples as bytes, and in ``runner`` what they are."""
    transfer_syntax = str(runner.transfer_syntax)
    decode: Callable[[bytes, DecodeRunner], NDArray[Any]]
    if transfer_syntax in _JPEG:
        decode = _decode_jpeg
    elif transfer_syntax in _JPEG_LS:
        decode = _decode_jpeg_ls
    else:
        decode = _decode_htj2k
    samples = decode(frame, runner)
    expected = (runner.rows, runner.columns) + ((runner.samples_per_pixel,) if runner.samples_per_pixel > 1 else ())
    if samples.shape != expected:
        msg = "the codestream's shape contradicts the header"
        raise ValueError(msg)
    runner.set_option("bits_allocated", samples.dtype.itemsize * 8)
    runner.set_option("planar_configuration", 0)
    return samples.tobytes()


def _decode_jpeg(frame: bytes, runner: DecodeRunner) -> NDArray[Any]:
    """Every JPEG process; three-sample frames come back as RGB, unless their own colours are to be kept."""
    lossy = str(runner.transfer_syntax) in ts.JPEG_DCT
    kept = not lossy and KEEP_COLOUR in runner.options and runner.samples_per_pixel == 3
    source = "RGB" if kept else _jpeg_colour(frame, runner)  # from RGB to RGB: nothing is converted
    size = (runner.columns, runner.rows)
    samples = _decode_jpeg_8bit(frame, source, size) if lossy and runner.bits_stored <= 8 else None
    if samples is None:
        samples = _decode_jpeg_any(frame, source)
    if source and not kept:
        runner.set_option("photometric_interpretation", "RGB")
    if lossy and runner.pixel_representation == 0:
        # quantisation overshoots BitsStored; the bits above it would be cut off and white would turn black
        samples = np.minimum(samples, (1 << runner.bits_stored) - 1)
    return samples


def _jpeg_colour(frame: bytes, runner: DecodeRunner) -> str:
    """``RGB`` or ``YCBCR`` for three samples, else empty.

    An Adobe segment is the most certain witness, then what pydicom made of component ids, JFIF and the header.
    """
    if runner.samples_per_pixel != 3:
        return ""
    at = frame.find(_ADOBE, 0, 4096)
    if at >= 0 and len(frame) > at + 15:
        return "YCBCR" if frame[at + 15] == 1 else "RGB"
    return "RGB" if runner.photometric_interpretation == "RGB" else "YCBCR"


def _decode_jpeg_8bit(frame: bytes, source: str, size: tuple[int, int]) -> NDArray[Any] | None:
    """Pillow notices a truncated stream. None: not a kind of JPEG that it reads."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(frame), formats=("JPEG",))
    except UnidentifiedImageError:
        return None
    if image.size != size:
        msg = "the codestream's shape contradicts the header"
        raise ValueError(msg)
    if source == "RGB" and image.mode == "RGB" and "adobe_transform" not in image.info:
        # libjpeg takes unmarked components for YCbCr; asking for YCbCr makes it leave them as they are
        image.draft("YCbCr", image.size)
    return np.asarray(image)


def _decode_jpeg_any(frame: bytes, source: str) -> NDArray[Any]:
    import imagecodecs

    if b"\xff\xd9" not in frame[-16:]:
        # this decoder fills what is missing with grey and says nothing
        msg = "no end of image: the stream is truncated"
        raise ValueError(msg)
    if source:
        return np.asarray(imagecodecs.jpeg8_decode(frame, colorspace=source, outcolorspace="RGB"))
    return np.asarray(imagecodecs.jpeg8_decode(frame))


def _decode_jpeg_ls(frame: bytes, runner: DecodeRunner) -> NDArray[Any]:
    import imagecodecs

    samples = np.asarray(imagecodecs.jpegls_decode(frame))
    if str(runner.transfer_syntax) == ts.JPEG_LS_NEAR_LOSSLESS and runner.pixel_representation == 0:
        samples = np.minimum(samples, (1 << runner.bits_stored) - 1)
    return samples


def _decode_htj2k(frame: bytes, runner: DecodeRunner) -> NDArray[Any]:
    import imagecodecs

    samples = np.asarray(imagecodecs.htj2k_decode(frame, planar=False))
    if runner.photometric_interpretation in ("YBR_RCT", "YBR_ICT"):
        # the codestream's own component transform has been undone
        runner.set_option("photometric_interpretation", "RGB")
    # The codestream's sign is settled here, so pydicom must not correct it again
    runner.set_option("apply_j2k_sign_correction", False)
    if (samples.dtype.kind == "i") == bool(runner.pixel_representation):
        return samples
    shift = 8 * samples.dtype.itemsize - int(runner.get_option("j2k_precision", runner.bits_stored))
    target = samples.astype(samples.dtype.str.replace("u", "i") if samples.dtype.kind == "u" else samples.dtype)
    if not runner.pixel_representation:
        target = samples.view(samples.dtype.str.replace("i", "u"))
    corrected: NDArray[Any] = np.right_shift(np.left_shift(target, shift), shift)
    return corrected


def _decode_jpeg_xl(frame: bytes, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    import imagecodecs

    samples = np.asarray(imagecodecs.jpegxl_decode(frame, numthreads=1))
    colour = options["samples_per_pixel"] == 3
    shape = (options["rows"], options["columns"]) + ((3,) if colour else ())
    if samples.shape != shape or samples.dtype.kind != "u":
        msg = "the codestream's shape contradicts the header"
        raise ValueError(msg)
    if options["pixel_representation"] == 1:
        samples = samples.view(samples.dtype.str.replace("u", "i"))
    return samples, "RGB" if colour else str(options["photometric_interpretation"])


def _inflate_frame(frame: bytes, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    """Deflated Image Frame Compression (PS3.5 A.4.13): a native frame, deflated by itself."""
    pixels = options["rows"] * options["columns"] * options["samples_per_pixel"]
    length = (pixels * options["bits_allocated"] + 7) // 8
    return native_frame(zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, length), options)


def _unpack_rle_bits(frame: bytes, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    """RLE of packed single bits, which neither pydicom nor pylibjpeg-rle decodes: one segment (PS3.5 annex G)."""
    import imagecodecs

    start = int.from_bytes(frame[4:8], "little")
    if frame[:4] != b"\x01\x00\x00\x00" or start < 64:
        msg = "bits are packed into one RLE segment"
        raise ValueError(msg)
    length = (options["rows"] * options["columns"] + 7) // 8
    return native_frame(bytes(imagecodecs.packbits_decode(frame[start:])[:length]), options)


def without_fourth_sample(
    options: dict[str, Any],
) -> tuple[dict[str, Any], Callable[[NDArray[Any]], NDArray[Any]] | None]:
    """pydicom reads one or three samples: four are told to it as a wider or a higher picture of one.

    Returns the options, and what gives such a picture its shape (rows, columns, 4) back; None for other pictures.
    """
    if options["samples_per_pixel"] != 4:
        return options, None
    rows, columns, planar = options["rows"], options["columns"], options.get("planar_configuration") == 1
    told = {**options, "samples_per_pixel": 1, "photometric_interpretation": "MONOCHROME2"}
    told["rows" if planar else "columns"] *= 4
    told.pop("planar_configuration", None)

    def shape(samples: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(samples.reshape(4, rows, columns), 0, -1) if planar else samples.reshape(rows, columns, 4)

    return told, shape


def native_frame(native: bytes, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    """One frame of native pixel data, in little endian."""
    uid = UID(ts.EXPLICIT_VR_LITTLE_ENDIAN)
    samples, properties = get_decoder(uid).as_array(
        native + bytes(len(native) % 2), index=0, raw=True, **{**options, "transfer_syntax_uid": uid}
    )
    return samples, str(properties["photometric_interpretation"])
