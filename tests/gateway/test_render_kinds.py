"""What single kinds of images need: colour profiles, overlays of several frames, cine, nuclear medicine, ultrasound."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageCms
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.management.rendering.against import compare
from gateway.management.rendering.attributes import frame_attributes
from gateway.management.rendering.dicom_json import tag_of
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.measuring import measuring_attributes
from gateway.management.rendering.render import Renderer, render_frame

needs_dcmtk = pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmj2pnm is not installed")


def made(path: Path, samples: NDArray[Any], **attributes: Any) -> Path:
    """Frames, rows, columns; and samples where there is colour."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = samples.shape[:3]
    bits = samples.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(samples.dtype.kind == "i")
    dataset.SamplesPerPixel = 3 if samples.ndim == 4 else 1
    dataset.PhotometricInterpretation = "RGB" if samples.ndim == 4 else "MONOCHROME2"
    if samples.ndim == 4:
        dataset.PlanarConfiguration = 0
    data = samples.tobytes()
    dataset.add_new("PixelData", "OW" if bits > 8 else "OB", data + bytes(len(data) % 2))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def told(path: Path, keyword: str) -> list[Any]:
    """What each frame is told of an attribute: its only value, or None."""
    with Renderer(path, RenderLimits()) as renderer:
        frames = [frame_attributes(renderer.view(n), None) for n in range(renderer.source.number_of_frames)]
    found = [frame.get(tag_of(keyword), {"Value": [None]})["Value"] for frame in frames]
    assert all(len(values) == 1 for values in found)
    return [values[0] for values in found]


# ── colour ────────────────────────────────────────────────────────────────────────────────────────────────────────

COLOURS = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [40, 40, 40]]]], np.uint8)


def test_a_colour_profile_is_applied(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A space whose red is sRGB's blue: the names of the two primaries change places.
    swapped = _swapped(srgb)
    plain = render_frame(made(tmp_path / "a.dcm", COLOURS), 0)
    same = render_frame(made(tmp_path / "b.dcm", COLOURS, ICCProfile=srgb), 0)
    other = render_frame(made(tmp_path / "c.dcm", COLOURS, ICCProfile=swapped), 0)
    none = render_frame(made(tmp_path / "d.dcm", COLOURS, ICCProfile=b"not a profile."), 0)
    assert plain.tolist() == none.tolist() == COLOURS[0].tolist()
    assert np.abs(same.astype(int) - COLOURS[0]).max() <= 1
    assert np.abs(other.astype(int) - COLOURS[0][:, :, ::-1]).max() <= 2


def _swapped(profile: bytes) -> bytes:
    """Red and blue primaries exchanged, in the table of tags alone (ICC.1 section 7.3)."""
    count = int.from_bytes(profile[128:132], "big")
    end = 132 + 12 * count
    table = [profile[at : at + 12] for at in range(132, end, 12)]
    names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    renamed = b"".join(names.get(entry[:4], entry[:4]) + entry[4:] for entry in table)
    return profile[:132] + renamed + profile[end:]


# ── overlays ──────────────────────────────────────────────────────────────────────────────────────────────────────


def with_overlay(path: Path, planes: NDArray[np.uint8], origin: int | None) -> Path:
    """Overlay planes over some of the frames, from frame ``origin`` on."""
    dataset = dcmread(path)
    for element, vr, value in (
        (0x10, "US", planes.shape[1]), (0x11, "US", planes.shape[2]), (0x15, "IS", len(planes)), (0x40, "CS", "G"),
        (0x50, "SS", [1, 1]), (0x51, "US", origin), (0x100, "US", 1), (0x102, "US", 0),
        (0x3000, "OW", np.packbits(planes, bitorder="little").tobytes()),
    ):  # fmt: skip
        if value is not None:
            dataset.add_new((0x6000, element), vr, value)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(("origin", "over"), [(None, [0, 1]), (1, [0, 1]), (2, [1, 2]), (4, [3])])
def test_an_overlay_of_several_frames_lies_over_those_it_is_for(
    tmp_path: Path, origin: int | None, over: list[int]
) -> None:
    planes = np.zeros((2, 5, 5), np.uint8)  # 25 bits a plane: the second one begins inside a byte
    planes[0, 1, 2] = planes[1, 4, 0] = 1
    path = with_overlay(made(tmp_path / "a.dcm", np.full((4, 5, 5), 9, np.uint8)), planes, origin)
    marks = [np.argwhere(render_frame(path, frame) == 255).tolist() for frame in range(4)]
    wanted: list[Any] = [[], [], [], []]
    for frame, mark in zip(over, ([1, 2], [4, 0]), strict=False):
        wanted[frame] = [mark]
    assert marks == wanted


@pytest.mark.peer("dcmtk")
@needs_dcmtk
@pytest.mark.parametrize("origin", [1, 2])
def test_overlays_of_several_frames_like_dcmtk(tmp_path: Path, origin: int) -> None:
    rng = np.random.default_rng(1)
    planes = rng.integers(0, 2, (3, 16, 16), np.uint8)
    frames = np.arange(4 * 256, dtype=np.uint16).reshape(4, 16, 16)
    path = with_overlay(made(tmp_path / "a.dcm", frames, WindowCenter=512, WindowWidth=1024), planes, origin)
    (tmp_path / "work").mkdir()
    found = compare(path, RenderLimits(), tmp_path / "work", lambda: None)
    assert found.frames == 4 and 0 <= found.worst <= 1, found


# ── grey ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.peer("dcmtk")
@needs_dcmtk
@pytest.mark.parametrize(("stored", "signed"), [(12, True), (10, False), (13, True), (16, True), (9, True)])
@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
def test_odd_depths_through_windows_like_dcmtk(tmp_path: Path, stored: int, signed: bool, function: str) -> None:
    """LINEAR_EXACT is left to formulas: DCMTK does not know it."""
    half = 1 << (stored - 1)
    low = -half if signed else 0
    ramp = np.linspace(low, low + 2 * half - 1, 1024).round()
    samples = ramp.astype(np.int16 if signed else np.uint16).reshape(1, 32, 32)
    path = made(
        tmp_path / "a.dcm", samples, BitsStored=stored, HighBit=stored - 1, RescaleSlope=2, RescaleIntercept=-100,
        WindowCenter=2 * (low + half) - 100, WindowWidth=half, VOILUTFunction=function,
    )  # fmt: skip
    (tmp_path / "work").mkdir()
    found = compare(path, RenderLimits(), tmp_path / "work", lambda: None)
    assert 0 <= found.worst <= 1, found


def test_a_range_of_padding_is_left_out_of_the_percentiles(tmp_path: Path) -> None:
    values = np.full((1, 20, 20), -2000, np.int16)
    values[0, :10] = np.linspace(0, 1000, 200).reshape(10, 20)
    values[0, 10:12] = -1500
    path = made(tmp_path / "a.dcm", values, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1200)
    picture = render_frame(path, 0)
    assert 110 <= np.median(picture[:10]) <= 145 and picture[10:].max() == 0


# ── time, nuclear medicine, ultrasound ────────────────────────────────────────────────────────────────────────────


def test_how_fast_a_cine_runs_is_told(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a.dcm", np.zeros((2, 2, 2), np.uint8), FrameTime="33.33", CineRate=30,
        RecommendedDisplayFrameRate=15, StartTrim=1, StopTrim=2, PreferredPlaybackSequencing=1,
    )  # fmt: skip
    for keyword, value in (
        ("FrameTime", 33.33), ("CineRate", 30), ("RecommendedDisplayFrameRate", 15), ("StartTrim", 1), ("StopTrim", 2),
        ("PreferredPlaybackSequencing", 1),
    ):  # fmt: skip
        assert told(path, keyword) == [value, value], keyword


def test_each_frame_of_nuclear_medicine_is_told_which_it_is(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a.dcm", np.zeros((4, 2, 2), np.uint16), Modality="NM", EnergyWindowVector=[1, 1, 2, 2],
        DetectorVector=[1, 2, 1, 2], SliceVector=[4, 3, 2],
    )  # fmt: skip
    assert told(path, "EnergyWindowVector") == [1, 1, 2, 2]
    assert told(path, "DetectorVector") == [1, 2, 1, 2]
    assert told(path, "SliceVector") == [4, 3, 2, None]  # a vector that is too short says nothing of the rest


def test_the_regions_of_an_ultrasound_are_told_with_their_scales() -> None:
    found = get_testdata_file("examples_ybr_color.dcm", download=False)
    assert isinstance(found, str)
    with Renderer(Path(found), RenderLimits()) as renderer:
        (stored,) = renderer.header.SequenceOfUltrasoundRegions
        measured = measuring_attributes(renderer.view(3), little_endian=True)
    (region,) = measured[tag_of("SequenceOfUltrasoundRegions")]["Value"]
    for keyword in ("RegionLocationMinX0", "RegionLocationMaxY1", "PhysicalUnitsXDirection", "PhysicalDeltaX"):
        assert region[tag_of(keyword)]["Value"] == [stored[keyword].value], keyword
