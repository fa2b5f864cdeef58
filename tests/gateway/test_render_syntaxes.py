"""Every transfer syntax that is rendered, with each kind of sample that its codec knows."""

from __future__ import annotations

import io
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.filewriter import dcmwrite, write_file_meta_info
from pydicom.pixels.encoders import RLELosslessEncoder

from gateway.management.rendering import syntaxes as ts
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.render import render_frame
from gateway.management.rendering.source import FrameSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Samples = NDArray[Any]

ROWS, COLUMNS = 45, 37


def waves(kind: str, seed: int = 0) -> Samples:
    """A smooth picture over the whole range of its kind: u8, u10, u12, u16, i12, i16, rgb8, rgb16."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    unit = (np.sin((x + seed) / 7) + np.cos(y / 5) + 2) / 4
    bits = int(kind.lstrip("uirgb"))
    if kind.startswith("rgb"):
        unit = np.stack([unit, np.roll(unit, 9, 0), unit[::-1]], axis=-1)
    levels = np.rint(unit * ((1 << bits) - 1)).astype(np.int64)
    if kind.startswith("i"):
        return (levels - (1 << (bits - 1))).astype(np.int16)
    return levels.astype(np.uint8 if bits <= 8 else np.uint16)


def part10(
    kind: str, frames: list[bytes], transfer_syntax: str, path: Path, offsets: str = "basic", **more: Any
) -> Path:
    colour, bits = kind.startswith("rgb"), int(kind.lstrip("uirgb"))
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 3 if colour else 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
    dataset.PixelRepresentation = int(kind.startswith("i"))
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    dataset.NumberOfFrames = len(frames)
    if colour:
        dataset.PlanarConfiguration = 0
    if offsets == "extended":
        data, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    else:
        data = encapsulate(frames, has_bot=offsets == "basic")
    dataset.add_new("PixelData", "OB", data)
    dataset["PixelData"].is_undefined_length = True
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax
    with path.open("wb") as file:  # in two steps: pydicom does not know the newest transfer syntaxes
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta, enforce_standard=False)
        dcmwrite(file, dataset, implicit_vr=False, little_endian=True)
    return path


def decoded(path: Path) -> list[Samples]:
    with FrameSource(path, RenderLimits()) as source:
        return [samples.copy() for samples, _ in source.frames(0, source.number_of_frames)]


def jpeg(samples: Samples, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(samples).save(out, "JPEG", quality=97, subsampling=0, **options)
    return out.getvalue()


def twos_complement(samples: Samples) -> Samples:
    return samples.view(np.uint16) if samples.dtype.kind == "i" else samples


def lossless_jpeg(samples: Samples, predictor: int) -> bytes:
    plain = twos_complement(samples)
    bits = 8 if plain.dtype.itemsize == 1 else 16
    return bytes(imagecodecs.jpeg8_encode(plain, lossless=True, predictor=predictor, bitspersample=bits))


def rle(samples: Samples) -> bytes:
    stored, colour = samples.dtype.itemsize * 8, samples.ndim == 3
    return RLELosslessEncoder.encode(
        samples.tobytes(),
        encoding_plugin="pydicom",
        rows=ROWS,
        columns=COLUMNS,
        samples_per_pixel=3 if colour else 1,
        bits_allocated=stored,
        bits_stored=stored,
        pixel_representation=int(samples.dtype.kind == "i"),
        photometric_interpretation="RGB" if colour else "MONOCHROME2",
        number_of_frames=1,
        planar_configuration=0,
    )


def deflated(samples: Samples) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(samples.tobytes()) + packer.flush()


GREY = ["u8", "u10", "u12", "u16", "i12", "i16"]
LOSSLESS: dict[str, tuple[str, list[str], Callable[[Samples], bytes]]] = {
    "JPEG lossless": (ts.JPEG_LOSSLESS, [*GREY, "rgb8"], lambda a: lossless_jpeg(a, 4)),
    "JPEG lossless SV1": (ts.JPEG_LOSSLESS_SV1, [*GREY, "rgb8"], lambda a: lossless_jpeg(a, 1)),
    "JPEG-LS": (ts.JPEG_LS_LOSSLESS, [*GREY, "rgb8"], lambda a: imagecodecs.jpegls_encode(twos_complement(a))),
    "JPEG 2000": (
        ts.JPEG_2000_LOSSLESS,
        [*GREY, "rgb8", "rgb16"],
        lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True, level=0),
    ),
    "JPEG 2000, lossless under the other UID": (
        ts.JPEG_2000,
        [*GREY, "rgb8"],
        lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True, level=0),
    ),
    "HTJ2K lossless": (ts.HTJ2K_LOSSLESS, [*GREY, "rgb8"], imagecodecs.htj2k_encode),
    "HTJ2K RPCL": (ts.HTJ2K_LOSSLESS_RPCL, GREY, lambda a: imagecodecs.htj2k_encode(a, tlm=True, tilepart=1)),
    "HTJ2K, lossless under the other UID": (ts.HTJ2K, [*GREY, "rgb8"], imagecodecs.htj2k_encode),
    "JPEG XL lossless": (
        ts.JPEG_XL_LOSSLESS,
        [*GREY, "rgb8", "rgb16"],
        lambda a: imagecodecs.jpegxl_encode(twos_complement(a), lossless=True),
    ),
    "JPEG XL, lossless under the other UID": (
        ts.JPEG_XL,
        [*GREY, "rgb8"],
        lambda a: imagecodecs.jpegxl_encode(twos_complement(a), lossless=True),
    ),
    "RLE": (ts.RLE_LOSSLESS, [*GREY, "rgb8", "rgb16"], rle),
    "deflated frame": (ts.DEFLATED_IMAGE_FRAME, [*GREY, "rgb8", "rgb16"], deflated),
    "encapsulated uncompressed": (ts.ENCAPSULATED_UNCOMPRESSED, [*GREY, "rgb8", "rgb16"], lambda a: a.tobytes()),
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (_, kinds, _) in LOSSLESS.items() for kind in kinds])
def test_lossless(name: str, kind: str, tmp_path: Path) -> None:
    transfer_syntax, _, encode = LOSSLESS[name]
    pictures = [waves(kind), waves(kind, 3)]
    for offsets in ("basic", "none", "extended"):
        path = part10(kind, [bytes(encode(a)) for a in pictures], transfer_syntax, tmp_path / f"{offsets}.dcm", offsets)
        for samples, wanted in zip(decoded(path), pictures, strict=True):
            np.testing.assert_array_equal(samples, wanted)


def jpeg12(samples: Samples) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(samples, level=99, bitspersample=12))


LOSSY: dict[str, tuple[str, list[str], Callable[[Samples], bytes]]] = {
    "JPEG baseline": (ts.JPEG_BASELINE, ["u8", "rgb8"], jpeg),
    "progressive JPEG under the baseline UID": (ts.JPEG_BASELINE, ["u8", "rgb8"], lambda a: jpeg(a, progressive=True)),
    "JPEG extended of 8 bits": (ts.JPEG_EXTENDED, ["u8"], jpeg),
    "JPEG extended of 12 bits": (ts.JPEG_EXTENDED, ["u10", "u12"], jpeg12),
    "JPEG full progression": (ts.JPEG_FULL_PROGRESSION, ["u8"], lambda a: jpeg(a, progressive=True)),
    "JPEG-LS near lossless": (
        ts.JPEG_LS_NEAR_LOSSLESS, ["u8", "u10", "u12", "u16"], lambda a: imagecodecs.jpegls_encode(a, level=2)
    ),
    "JPEG 2000 lossy": (
        ts.JPEG_2000, ["u8", "u12", "u16", "i12", "i16", "rgb8"],
        lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=False, level=75),
    ),
    "HTJ2K lossy": (
        ts.HTJ2K, ["u8", "u12", "u16", "i12", "i16", "rgb8"],
        lambda a: imagecodecs.htj2k_encode(a, reversible=False, level=0.0001),
    ),
    "JPEG XL lossy": (ts.JPEG_XL, ["u8", "u16", "rgb8"], lambda a: imagecodecs.jpegxl_encode(a, distance=0.2)),
    "JPEG XL of a JPEG": (
        ts.JPEG_XL_JPEG_RECOMPRESSION, ["u8", "rgb8"], lambda a: imagecodecs.jpegxl_encode_jpeg(jpeg(a))
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (_, kinds, _) in LOSSY.items() for kind in kinds])
def test_lossy(name: str, kind: str, tmp_path: Path) -> None:
    transfer_syntax, _, encode = LOSSY[name]
    ybr = (
        {"PhotometricInterpretation": "YBR_FULL_422"} if kind == "rgb8" and "JPEG" in name and "XL" not in name else {}
    )
    path = part10(kind, [bytes(encode(waves(kind)))], transfer_syntax, tmp_path / "lossy.dcm", **ybr)
    (samples,) = decoded(path)
    wanted, span = waves(kind), (1 << int(kind.lstrip("uirgb"))) - 1
    error = np.abs(samples.astype(np.int64) - wanted)
    assert error.max() <= max(3, span // 15), "clipped, wrapped or of another colour"
    assert error.mean() <= max(1.0, span / 150)


def test_all_supported_syntaxes_stand_in_the_tables_above_or_are_native() -> None:
    encoded = {syntax for syntax, _, _ in [*LOSSLESS.values(), *LOSSY.values()]}
    lacking = set(ts.SUPPORTED_TRANSFER_SYNTAXES) - encoded - ts.NATIVE
    assert lacking == {ts.JPEG_SPECTRAL_SELECTION}  # no encoder makes it; the corpus has a file


@pytest.mark.parametrize("transfer_syntax", sorted(ts.VIDEO))
def test_video_is_no_frame(transfer_syntax: str, tmp_path: Path) -> None:
    path = part10("u8", [b"\0\0\0\x18ftypmp42" + bytes(64)], transfer_syntax, tmp_path / "video.dcm")
    with pytest.raises(Refusal) as caught:
        render_frame(path, 0)
    assert caught.value.reason == "video"


def test_big_endian_of_32_bits_in_either_word_order(tmp_path: Path) -> None:
    found = get_testdata_file("rtdose_1frame.dcm", download=False)
    assert isinstance(found, str)
    higher_first = get_testdata_file("rtdose_expb_1frame.dcm", download=False)
    assert isinstance(higher_first, str)
    np.testing.assert_array_equal(render_frame(Path(higher_first), 0), render_frame(Path(found), 0))
    dataset = dcmread(higher_first)
    words = np.frombuffer(dataset.PixelData, ">u2").reshape(-1, 2)[:, ::-1]
    dataset.PixelData = words.tobytes()
    dataset.save_as(tmp_path / "lower_first.dcm")
    np.testing.assert_array_equal(render_frame(tmp_path / "lower_first.dcm", 0), render_frame(Path(found), 0))


def test_ge_private_syntax_has_big_endian_pixels(tmp_path: Path) -> None:
    found = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(found, str)
    dataset = dcmread(found)
    plain = dataset.pixel_array
    dataset.PixelData = plain.byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = ts.GE_PRIVATE_IMPLICIT
    dataset.save_as(tmp_path / "ge.dcm", implicit_vr=True, little_endian=True)
    (samples,) = decoded(tmp_path / "ge.dcm")
    np.testing.assert_array_equal(samples, plain)


@pytest.mark.parametrize(("text", "frames"), [("1A", 1), ("", 1), (" 2 ", 2)])
def test_a_number_of_frames_that_is_none(text: str, frames: int, tmp_path: Path) -> None:
    path = part10("u8", [waves("u8").tobytes()] * 2, ts.ENCAPSULATED_UNCOMPRESSED, tmp_path / "file.dcm")
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x08\x00IS")
    padded = text.encode().ljust(2) if len(text) < 3 else text.encode().ljust(4)
    path.write_bytes(data[: at + 6] + len(padded).to_bytes(2, "little") + padded + data[at + 10 :])
    with FrameSource(path, RenderLimits()) as source:
        assert source.number_of_frames == frames


@pytest.mark.peer("dcmtk")
@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize(("photometric", "within"), [("CMYK", 0), ("ARGB", 0), ("HSV", 4)])
@pytest.mark.parametrize("planar", [0, 1])
def test_retired_colour_like_dcmtk(photometric: str, within: int, planar: int, tmp_path: Path) -> None:
    channels = 3 if photometric == "HSV" else 4
    samples = np.random.default_rng(1).integers(0, 120, (16, 8, channels), np.uint8)
    if photometric == "ARGB":
        samples[:, :, 0] %= 3
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 16, 8, channels, planar
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = photometric
    for factor, colour in enumerate(("Red", "Green", "Blue"), 1):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", bytes(i * factor % 256 for i in range(256)))
    dataset.add_new("PixelData", "OB", (np.moveaxis(samples, -1, 0) if planar else samples).tobytes())
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ts.EXPLICIT_VR_LITTLE_ENDIAN
    dataset.save_as(tmp_path / "file.dcm", enforce_file_format=True)
    command = ["dcmj2pnm", "+op", str(tmp_path / "file.dcm"), str(tmp_path / "peer.ppm")]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(tmp_path / "peer.ppm") as image:
        theirs = np.asarray(image).astype(int)
    assert np.abs(render_frame(tmp_path / "file.dcm", 0) - theirs).max() <= within
