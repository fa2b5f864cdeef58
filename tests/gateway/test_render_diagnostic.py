"""The layer ``diagnostic`` out of real workers: every bit of every lossless file, lossy frames as they are."""

import asyncio
import csv
import io
import os
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openjpeg
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from gateway.management.rendering import syntaxes as ts
from gateway.management.rendering.diagnostic import levels
from gateway.management.workers import RenderedFrame, RenderJob, RenderPool, RenderRefused
from tests.support import wavelet
from wire import codestream

LOSSLESS = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_jp2klossless.dcm", "emri_small.dcm", "emri_small_big_endian.dcm", "MR2_UNCR.dcm", "RG1_UNCR.dcm",
    "mlut_18.dcm", "vlut_04.dcm", "JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "image_dfl.dcm",
    "liver_1frame.dcm", "OT-PAL-8-face.dcm", "examples_palette.dcm", "OBXXXX1A_rle.dcm", "SC_rgb.dcm",
    "SC_rgb_16bit.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm",
    "SC_ybr_full_uncompressed.dcm", "SC_ybr_full_422_uncompressed.dcm", "color-pl.dcm", "examples_rgb_color.dcm",
    "693_J2KR.dcm", "J2K_pixelrep_mismatch.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm",
]  # fmt: skip
DCMTK = {
    ts.JPEG_LOSSLESS: ["dcmdjpeg", "--conv-never"],
    ts.JPEG_LOSSLESS_SV1: ["dcmdjpeg", "--conv-never"],
    ts.JPEG_LS_LOSSLESS: ["dcmdjpls"],
}
LOSSY = {
    "JPGExtended.dcm": "image/jpeg",
    "JPEG-lossy.dcm": "image/jpeg",
    "color3d_jpeg_baseline.dcm": "image/jpeg",
    "SC_rgb_jpeg_dcmtk.dcm": "image/jpeg",
    "JPEGLSNearLossless_16.dcm": "image/jls",
    "JPEG2000.dcm": "image/jp2",
}


def sample(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str), f"{name} is not installed"
    return Path(found)


def made(paths: Iterable[Path], workers: int = 2) -> list[list[RenderedFrame] | str]:
    """What the layer has of each file, or the reason why it has nothing."""

    async def one(pool: RenderPool, path: Path) -> list[RenderedFrame] | str:
        try:
            async with aclosing(pool.render(RenderJob(path, layer="diagnostic"))) as parts:
                return [part async for part in parts]
        except RenderRefused as refused:
            return refused.reason

    async def every() -> list[list[RenderedFrame] | str]:
        async with RenderPool(workers) as pool:
            return await asyncio.gather(*(one(pool, path) for path in paths))

    return asyncio.run(every())


def joined(parts: list[RenderedFrame]) -> dict[int, bytes]:
    """Each frame's codestream; its second band was told first."""
    found: dict[int, bytes] = {}
    for rest, base in zip(parts[0::2], parts[1::2], strict=True):
        assert (rest.band, base.band) == (1, 0) and rest.frame == base.frame and rest.attributes == {}
        found[base.frame] = base.data + rest.data
    return found


def stored(path: Path, transfer_syntax: str = "") -> list[NDArray[Any]]:
    """Stored values of each frame, unconverted: by pydicom's own decoders, and DCMTK's where it has none."""
    program = DCMTK.get(transfer_syntax)
    if program is None:
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        count = int(dataset.get("NumberOfFrames") or 1)
        return [np.asarray(pixel_array(dataset, index=frame, raw=True)) for frame in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        native = Path(folder, "native.dcm")
        subprocess.run([*program, str(path), str(native)], check=True, capture_output=True)
        return stored(native)


def reference(path: Path) -> list[NDArray[Any]]:
    """Stored values of each frame; DCMTK writes anew where pydicom finds no end of a sequence."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except OSError:
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder, "written.dcm")
            subprocess.run(["dcmconv", "+te", str(path), str(written)], check=True, capture_output=True)
            return stored(written)
    return stored(path, str(header.file_meta.get("TransferSyntaxUID", "")))


def value(part: RenderedFrame, tag: str) -> Any:
    return part.attributes[tag]["Value"][0]


def assert_exact(path: Path, parts: list[RenderedFrame]) -> int:
    """Compares every frame; returns how many."""
    frames, originals = joined(parts), reference(path)
    assert sorted(frames) == list(range(len(originals)))
    for frame, coded in frames.items():
        expected = originals[frame]
        # two decoders that share no code
        for decoded in (imagecodecs.htj2k_decode(coded, planar=False), openjpeg.decode(coded)):
            assert decoded.shape == expected.shape
            np.testing.assert_array_equal(decoded, expected)
    return len(frames)


@pytest.mark.peer("dcmtk")
def test_lossless_files_come_back_bit_by_bit() -> None:
    paths = [sample(name) for name in LOSSLESS]
    for path, parts in zip(paths, made(paths), strict=True):
        assert isinstance(parts, list), f"{path.name}: {parts}"
        assert assert_exact(path, parts) > 0
        assert {part.media for part in parts} == {"image/jphc"}
        base = parts[1]
        bits = int(pydicom.dcmread(path, stop_before_pixels=True, force=True).BitsStored)
        assert value(base, "00280101") == bits and value(base, "00280102") == bits - 1


@pytest.mark.corpus
@pytest.mark.peer("dcmtk")
def test_every_lossless_file_of_the_corpus_comes_back_bit_by_bit() -> None:
    root = Path(os.environ["MPACS_CORPUS"])
    with (root / "INDEX.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    paths = [root / row["path"] for row in rows if row["transfer syntax"] not in ts.LOSSY | ts.MAYBE_LOSSY]
    compared, reasons, undecided = 0, dict[str, str](), list[str]()
    for path, parts in zip(paths, made(paths), strict=True):
        name = str(path.relative_to(root))
        if isinstance(parts, str):
            reasons[name] = parts
        elif parts[0].media == "image/jphc":
            try:
                compared += assert_exact(path, parts)
            except (RuntimeError, ValueError, AttributeError, subprocess.CalledProcessError):
                undecided += [name]  # neither oracle decodes it; what was encoded is compared in the worker, too
    bad = {name: why for name, why in reasons.items() if why not in ("no-pixels", "unsupported")}
    print(f"{compared} frames of {len(paths)} files compared, beyond both oracles: {undecided}, refused: {bad}")
    assert compared > 500
    assert len(undecided) <= 12
    assert all(name.startswith("malformed/") or "genFile" in name or "delimiter" in name for name in bad), bad


def test_a_lossy_source_keeps_its_own_frames() -> None:
    paths = [sample(name) for name in LOSSY]
    for path, parts in zip(paths, made(paths), strict=True):
        assert isinstance(parts, list), f"{path.name}: {parts}"
        dataset = pydicom.dcmread(path)
        count = int(dataset.get("NumberOfFrames", 1))
        assert [(part.frame, part.band) for part in parts] == [(frame, 0) for frame in range(count)]
        for part in parts:
            own = get_frame(dataset.PixelData, part.frame, number_of_frames=count)
            assert part.data == own
            assert part.media == LOSSY[path.name] and part.lossy and part.ratio_x100 > 100


def test_pixels_of_more_than_16_bits_are_not_made() -> None:
    names = ["rtdose.dcm", "SC_rgb_32bit.dcm", "reportsi.dcm"]
    assert made([sample(name) for name in names]) == ["unsupported", "unsupported", "no-pixels"]


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "examples_rgb_color.dcm", "examples_palette.dcm", "SC_rgb_small_odd.dcm", "RG1_UNCR.dcm"]
)
def test_the_first_band_alone_is_the_frame_at_a_quarter(name: str) -> None:
    path = sample(name)
    (parts,) = made([path])
    assert isinstance(parts, list)
    base, rgb = parts[1], value(parts[1], "00280004") == "RGB"
    original = stored(path)[0]
    for level in (2, 3, 4):
        decoded = openjpeg.decode(codestream.reduced(base.data, level))
        np.testing.assert_array_equal(decoded, wavelet.reduced(original, level, rgb=rgb))
    both = base.data + parts[0].data
    np.testing.assert_array_equal(openjpeg.decode(codestream.reduced(both, 1)), wavelet.reduced(original, 1, rgb=rgb))
    # bytes behind the cut change nothing: nobody need know where it was
    assert codestream.reduced(both, 2) == codestream.reduced(base.data, 2)


def test_the_coarsest_resolution_of_a_large_frame_is_small() -> None:
    for rows, columns in ((512, 512), (2048, 2500), (4664, 3064), (40, 6000), (1, 1)):
        assert max(codestream.halved(side, levels(rows, columns)) for side in (rows, columns)) <= 64


def test_attributes_say_what_a_viewer_measures_and_shows_with() -> None:
    ct, mr, vlut, mlut, us, palette, ybr = made(
        sample(name)
        for name in [
                "CT_small.dcm", "liver.dcm", "vlut_04.dcm", "mlut_18.dcm", "color3d_jpeg_baseline.dcm",
                "examples_palette.dcm", "SC_ybr_full_uncompressed.dcm",
        ]
    )  # fmt: skip
    assert all(isinstance(one, list) for one in (ct, mr, vlut, mlut, us, palette, ybr))
    first = {
        name: parts[1].attributes for name, parts in {"ct": ct, "vlut": vlut, "mlut": mlut, "pal": palette}.items()
    }
    header = pydicom.dcmread(sample("CT_small.dcm"))
    assert first["ct"]["00200032"]["Value"] == [float(each) for each in header.ImagePositionPatient]
    assert first["ct"]["00200052"]["Value"] == [header.FrameOfReferenceUID]
    assert first["ct"]["00281052"]["Value"] == [-1024.0] and first["ct"]["00280103"]["Value"] == [1]
    assert first["ct"]["00280120"]["Value"] == [header.PixelPaddingValue]
    positions = [part.attributes["00200032"]["Value"] for part in mr if part.band == 0]
    assert len({tuple(position) for position in positions}) == len(positions) == 3
    for name, sequence in (("vlut", "00283010"), ("mlut", "00283000")):
        (item, *_) = first[name][sequence]["Value"]
        entries, start, bits = item["00283002"]["Value"]
        assert entries and isinstance(start, int) and bits in range(8, 17)
        assert item["00283006"]["vr"] == "OW" and len(item["00283006"]["InlineBinary"]) >= entries * 2
    regions = us[0].attributes["00186011"]["Value"]
    assert regions and all("00186018" in region and "0018602C" in region for region in regions)
    assert {"00281101", "00281201", "00281202", "00281203"} <= first["pal"].keys()
    assert value(ybr[1], "00280004") == "YBR_FULL"
    patient = [tag for parts in (ct, mr, us) for part in parts for tag in part.attributes if tag.startswith("0010")]
    assert patient == []


def test_values_beside_embedded_overlays_and_high_bits_are_those_that_are_stored(tmp_path: Path) -> None:
    """Twelve bits in the upper part of their cells, an overlay in the lowest (PS3.5-2004 8.1.2)."""
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    values = (dataset.pixel_array & 0x7FF).astype(np.uint16)
    cells = (values << 4) | (values & 1)
    dataset.PixelData = cells.astype("<u2").tobytes()
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 15, 0
    del dataset.PixelPaddingValue
    path = tmp_path / "high.dcm"
    dataset.save_as(path)
    (parts,) = made([path])
    assert isinstance(parts, list)
    np.testing.assert_array_equal(openjpeg.decode(joined(parts)[0]), values)
    assert value(parts[1], "00280102") == 11


def test_a_lossless_jpeg_in_other_colours_keeps_them(tmp_path: Path) -> None:
    """Converted to RGB and back, values would not be the same."""
    pixels = pydicom.dcmread(sample("examples_rgb_color.dcm")).pixel_array
    dataset = pydicom.dcmread(sample("examples_rgb_color.dcm"))
    frame = bytearray(imagecodecs.jpeg8_encode(pixels, lossless=True, colorspace="RGB", outcolorspace="RGB"))
    # what says RGB in the stream is taken away: the Adobe segment, and the components' names
    start_of_frame, start_of_scan = frame.find(b"\xff\xc3"), frame.find(b"\xff\xda")
    for number in range(3):
        frame[start_of_frame + 10 + 3 * number] = frame[start_of_scan + 5 + 2 * number] = number + 1
    del frame[2:18]
    dataset.PhotometricInterpretation = "YBR_FULL"
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(frame)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = ts.JPEG_LOSSLESS_SV1
    path = tmp_path / "colours.dcm"
    dataset.save_as(path)
    (parts,) = made([path])
    assert isinstance(parts, list), parts
    np.testing.assert_array_equal(openjpeg.decode(joined(parts)[0]), pixels)
    assert value(parts[1], "00280004") == "YBR_FULL"


def test_a_damaged_lossy_frame_does_not_go_to_devices(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(sample("SC_rgb_jpeg_dcmtk.dcm"))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) // 2]])
    path = tmp_path / "cut.dcm"
    dataset.save_as(path)
    assert made([path]) == ["decode"]


def test_big_endian_words_are_the_same_values(tmp_path: Path) -> None:
    assert str(pydicom.dcmread(sample("MR_small_bigendian.dcm")).file_meta.TransferSyntaxUID) == ExplicitVRBigEndian
    little, big = made([sample("MR_small.dcm"), sample("MR_small_bigendian.dcm")])
    assert isinstance(little, list) and isinstance(big, list)
    assert joined(little) == joined(big)
    assert io.BytesIO(little[1].data).read(2) == b"\xff\x4f"
