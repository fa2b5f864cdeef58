"""The rendering functions one by one, on made files whose right answer the standard gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from gateway.management.rendering import syntaxes
from gateway.management.rendering.attributes import frame_attributes
from gateway.management.rendering.encode import encode, pixel_aspect, scaled, shown_size
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.render import Renderer, render_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write samples as a file: (rows, columns), (frames, rows, columns) or, with colour, one more axis."""

    def build(samples: NDArray[Any], *, colour: bool = False, **attributes: Any) -> Path:
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
        dataset.PatientName, dataset.PatientID = "Hong^Gildong", "SECRET-1"
        shape = samples.shape[:-1] if colour else samples.shape
        dataset.Rows, dataset.Columns = shape[-2:]
        if len(shape) == 3:
            dataset.NumberOfFrames = shape[0]
        bits = samples.dtype.itemsize * 8
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit = bits - 1
        dataset.PixelRepresentation = int(samples.dtype.kind == "i")
        dataset.SamplesPerPixel = 3 if colour else 1
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            dataset.PlanarConfiguration = 0
        data = samples.tobytes()
        dataset.add_new("PixelData", "OW" if bits > 8 else "OB", data + bytes(len(data) % 2))
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return build


def lut(first: int, bits: int, entries: list[int]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


ROW = np.array([[0, 1, 1000, 2000, 3000, 4094, 4095]], dtype=np.uint16)


def expected(value: float) -> int:
    return int(np.floor(min(255.0, max(0.0, value)) + 0.5))


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        # PS3.3 C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1, with an output range of 0 to 255
        ("LINEAR", lambda x, c, w: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255),
        ("LINEAR_EXACT", lambda x, c, w: ((x - c) / w + 0.5) * 255),
        ("SIGMOID", lambda x, c, w: 255 / (1 + np.exp(-4 * (x - c) / w))),
    ],
)
def test_window_functions(make: Make, function: str, formula: Callable[[float, float, float], float]) -> None:
    path = make(
        ROW, WindowCenter=1024, WindowWidth=2500, VOILUTFunction=function, RescaleSlope=2, RescaleIntercept=-1024
    )
    wanted = [expected(formula(2.0 * float(x) - 1024, 1024, 2500)) for x in ROW[0]]
    assert render_frame(path, 0).tolist() == [wanted]


def test_the_first_of_several_windows_is_rendered_and_all_are_offered(make: Make) -> None:
    path = make(ROW, WindowCenter=[2000, 100], WindowWidth=[4000, 200])
    with Renderer(path, RenderLimits()) as renderer:
        picture = next(renderer.pictures(0, 1))
        attributes = frame_attributes(renderer.view(0), renderer.shown)
    np.testing.assert_array_equal(picture, render_frame(make(ROW, WindowCenter=2000, WindowWidth=4000), 0))
    assert attributes["00281050"]["Value"] == [2000.0, 100.0]
    assert attributes["00281051"]["Value"] == [4000.0, 200.0]


@pytest.mark.parametrize("bad", [{"WindowWidth": 0}, {"WindowWidth": -5}, {"WindowWidth": None}])
def test_a_window_that_is_none_is_left_aside(make: Make, bad: dict[str, Any]) -> None:
    np.testing.assert_array_equal(render_frame(make(ROW, WindowCenter=40, **bad), 0), render_frame(make(ROW), 0))


def test_without_a_window_percentiles_leave_padding_out(make: Make) -> None:
    ramp = np.linspace(1000, 2000, 10_000, dtype=np.int16).reshape(100, 100)
    padded = ramp.copy()
    padded[:20] = -2000
    with Renderer(make(padded, PixelPaddingValue=-2000, PixelRepresentation=1), RenderLimits()) as renderer:
        picture = next(renderer.pictures(0, 1))
        assert renderer.shown is not None
        low, high = (renderer.shown.center + half * renderer.shown.width for half in (-0.5, 0.5))
    assert 1200 <= low <= 1210
    assert 1990 <= high <= 2000
    assert picture[:20].max() == 0


def test_without_a_window_all_frames_share_one(make: Make) -> None:
    frames = np.stack([np.full((8, 8), value, np.uint16) for value in (100, 200, 300, 400, 500)])
    with Renderer(make(frames), RenderLimits()) as renderer:
        levels = [int(picture[0, 0]) for picture in renderer.pictures(0, 5)]
        (alone,) = renderer.pictures(3, 1)
    assert levels == sorted(set(levels))
    assert int(alone[0, 0]) == levels[3]


@pytest.mark.parametrize(
    "name",
    ["emri_small.dcm", "emri_small_RLE.dcm", "emri_small_jpeg_2k_lossless.dcm", "emri_small_jpeg_ls_lossless.dcm",
     "color3d_jpeg_baseline.dcm", "rtdose_rle.dcm", "SC_rgb_rle_2frame.dcm", "liver.dcm"],
)  # fmt: skip
def test_frames_are_the_same_alone_and_in_a_row(name: str) -> None:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    with Renderer(Path(found), RenderLimits()) as renderer:
        count = min(renderer.source.number_of_frames, 12)
        together = [picture.copy() for picture in renderer.pictures(0, count)]
    assert len(together) == count > 1
    for frame in (0, 1, count - 1):
        np.testing.assert_array_equal(render_frame(Path(found), frame), together[frame])


def test_eight_bits_without_a_window_stay_as_they_are(make: Make) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(render_frame(make(ramp), 0), ramp)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ],
)
def test_inverted_once(make: Make, attributes: dict[str, Any]) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(render_frame(make(ramp, **attributes), 0), 255 - ramp)


def test_modality_and_voi_luts_hold_their_ends(make: Make) -> None:
    modality = lut(2, 12, [100, 200, 300])
    modality.add_new("ModalityLUTType", "LO", "US")
    voi = lut(100, 10, list(range(0, 1001, 5))[:201])
    samples = np.array([[0, 2, 3, 4, 60000]], dtype=np.uint16)
    picture = render_frame(make(samples, ModalityLUTSequence=[modality], VOILUTSequence=[voi]), 0)
    wanted = [expected(entry * 255 / 1023) for entry in (0, 0, 500, 1000, 1000)]
    assert picture.tolist() == [wanted]


def test_per_frame_functional_groups_go_before_shared_ones(make: Make) -> None:
    def group(center: float | None, slope: float | None) -> Dataset:
        item = Dataset()
        if center is not None:
            window = Dataset()
            window.WindowCenter, window.WindowWidth = center, 100
            item.FrameVOILUTSequence = [window]
        if slope is not None:
            rescale = Dataset()
            rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = slope, 0, "US"
            item.PixelValueTransformationSequence = [rescale]
        return item

    frames = np.full((3, 2, 2), 100, np.uint16)
    path = make(
        frames,
        SharedFunctionalGroupsSequence=[group(100, 1)],
        PerFrameFunctionalGroupsSequence=[group(None, None), group(50, None), group(None, 0.6)],
    )
    with Renderer(path, RenderLimits()) as renderer:
        levels = [int(picture[0, 0]) for picture in renderer.pictures(0, 3)]
        centers = [frame_attributes(renderer.view(i), None)["00281050"]["Value"] for i in range(3)]
    line: Callable[[float, float], float] = lambda x, c: ((x - (c - 0.5)) / 99 + 0.5) * 255  # noqa: E731  # the formula
    assert levels == [expected(line(100, 100)), expected(line(100, 50)), expected(line(60, 100))]
    assert centers == [[100.0], [50.0], [100.0]]


@pytest.mark.parametrize(("stored", "high"), [(12, 11), (12, 15), (10, 13), (7, 6)])
@pytest.mark.parametrize("signed", [False, True])
def test_odd_depths_and_high_bits(make: Make, stored: int, high: int, signed: bool) -> None:
    span = 1 << stored
    values = np.linspace(-span // 2 if signed else 0, (span // 2 if signed else span) - 1, 64).astype(np.int32)
    noise = 0xFFFF & ~(((1 << stored) - 1) << (high + 1 - stored))  # what lies beside a sample must not matter
    cells = (((values << (high + 1 - stored)) & 0xFFFF) & ~noise) | noise
    path = make(
        cells.astype(np.uint16).reshape(8, 8),
        BitsStored=stored, HighBit=high, PixelRepresentation=int(signed), WindowCenter=0.5, WindowWidth=span,
        VOILUTFunction="LINEAR_EXACT",
    )  # fmt: skip
    wanted = [expected(((float(value) - 0.5) / span + 0.5) * 255) for value in values]
    assert render_frame(path, 0).ravel().tolist() == wanted


def test_palettes_of_16_bits_and_values_outside(make: Make) -> None:
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, entries in (("Red", [0, 0xFF00]), ("Green", [0x1200, 0x3400]), ("Blue", [0xFFFF, 0])):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 10, 16]
        palette[f"{colour}PaletteColorLookupTableData"] = np.array(entries, "<u2").tobytes()
    picture = render_frame(make(np.array([[0, 10, 11, 200]], np.uint8), **palette), 0)
    assert picture.tolist() == [[[0, 0x12, 255], [0, 0x12, 255], [255, 0x34, 0], [255, 0x34, 0]]]


def test_planar_configuration_and_depth_of_colour(make: Make) -> None:
    rgb = np.array([[[0, 128, 255], [10, 20, 30]]], dtype=np.uint8)
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    np.testing.assert_array_equal(
        render_frame(make(rgb, colour=True, PlanarConfiguration=1, PixelData=planes.tobytes()), 0), rgb
    )
    deep = (rgb.astype(np.uint16) << 4) | 5
    np.testing.assert_array_equal(render_frame(make(deep, colour=True, BitsStored=12, HighBit=11), 0), rgb)


@pytest.mark.parametrize(
    ("photometric", "white", "red"),
    [("YBR_FULL", (255, 128, 128), (76, 85, 255)), ("YBR_PARTIAL_422", (235, 128, 128), (81, 90, 240))],
)
def test_luminance_and_chrominance(make: Make, photometric: str, white: tuple[int, ...], red: tuple[int, ...]) -> None:
    ybr = np.array([[white, white], [red, red]], dtype=np.uint8)
    data = ybr.tobytes()
    if photometric.endswith("422"):  # Y1 Y2 Cb Cr for each pair
        data = bytes([white[0], white[0], white[1], white[2], red[0], red[0], red[1], red[2]])
    picture = render_frame(make(ybr, colour=True, PhotometricInterpretation=photometric, PixelData=data), 0)
    wanted = np.array([[[255] * 3] * 2, [[255, 0, 0]] * 2])
    assert np.abs(picture.astype(int) - wanted).max() <= 3


def test_overlays_are_burnt_in_where_they_lie(make: Make) -> None:
    plane = np.zeros((4, 4), np.uint8)
    plane[1, 2] = plane[3, 3] = 1
    path = make(np.full((8, 8), 10, np.uint8))
    from pydicom import dcmread

    dataset = dcmread(path)
    for element, vr, value in (
        (0x10, "US", 4), (0x11, "US", 4), (0x40, "CS", "G"), (0x50, "SS", [3, 6]), (0x100, "US", 1), (0x102, "US", 0),
        (0x3000, "OW", np.packbits(plane, bitorder="little").tobytes()),
    ):  # fmt: skip
        dataset.add_new((0x6002, element), vr, value)
    dataset.save_as(path)
    picture = render_frame(path, 0)
    assert np.argwhere(picture == 255).tolist() == [[3, 7]]  # the other pixel lies outside the picture
    assert (picture == 10).sum() == 63


def test_overlays_in_unused_bits(make: Make) -> None:
    cells = np.full((4, 4), 100, np.uint16)
    cells[2, 1] |= 1 << 14
    path = make(cells, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096)
    from pydicom import dcmread

    dataset = dcmread(path)
    for element, vr, value in ((0x10, "US", 4), (0x11, "US", 4), (0x100, "US", 16), (0x102, "US", 14)):
        dataset.add_new((0x6000, element), vr, value)
    dataset.save_as(path)
    assert np.argwhere(render_frame(path, 0) == 255).tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({"PixelAspectRatio": [2, 1]}, 2.0),
        ({"PixelSpacing": [0.5, 1.0]}, 0.5),
        ({"PixelSpacing": [0.5, 0.5]}, 1.0),
        ({"PixelSpacing": [1e-9, 1.0]}, 1.0),
        ({"PixelSpacing": [0, 1]}, 1.0),
    ],
)
def test_pixel_aspect(make: Make, attributes: dict[str, Any], aspect: float) -> None:
    with Renderer(make(np.zeros((10, 20), np.uint8), **attributes), RenderLimits()) as renderer:
        assert pixel_aspect(renderer.view(0)) == aspect


def test_pictures_are_squared_and_scaled_down_never_up() -> None:
    assert shown_size(100, 200, 1.0, 1600) == (100, 200)
    assert shown_size(100, 200, 2.0, 1600) == (200, 200)
    assert shown_size(100, 200, 0.5, 1600) == (100, 400)
    assert shown_size(4000, 2000, 1.0, 1600) == (1600, 800)
    assert scaled(np.zeros((4000, 2000), np.uint8), 1.0, 1600).size == (800, 1600)


def test_png_only_where_it_is_smaller() -> None:
    flat = np.zeros((256, 256), np.uint8)
    flat[64:128, 64:128] = 200
    assert encode(scaled(flat, 1.0, 1600), 90).media == "image/png"
    waves = (127 + 90 * np.sin(np.add.outer(np.arange(256) / 9, np.arange(256) / 7))).astype(np.uint8)
    picture = encode(scaled(waves, 1.0, 1600), 90)
    assert picture.media == "image/jpeg"
    assert picture.lossy


@pytest.mark.parametrize("quality", [50, 90, 100])
def test_noise_is_encoded_too(quality: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    assert encode(scaled(noise, 1.0, 1600), quality).rows == 300


def test_attributes_carry_no_identity(make: Make) -> None:
    path = make(
        ROW, InstanceNumber=7, ImageType=["ORIGINAL", "PRIMARY"], BurnedInAnnotation="YES", PatientBirthDate="19700101",
        OtherPatientIDs="SECRET-2", ReferringPhysicianName="Kim^Doctor", ImageComments="SECRET", StudyDate="20260101",
        DerivationDescription="SECRET", WindowCenterWidthExplanation="BRAIN",
    )  # fmt: skip
    with Renderer(path, RenderLimits()) as renderer:
        attributes = frame_attributes(renderer.view(0), None)
    text = json.dumps(attributes)
    assert "SECRET" not in text
    assert not [tag for tag in attributes if tag.startswith(("0010", "0032", "0038", "0040A"))]
    assert not [tag for tag, element in attributes.items() if element["vr"] in ("PN", "UI", "DA", "LT", "ST", "UT")]
    assert attributes["00200013"] == {"vr": "IS", "Value": [7]}
    assert attributes["00280301"] == {"vr": "CS", "Value": ["YES"]}


def test_limits_hold_before_anything_is_decoded(make: Make) -> None:
    path = make(np.zeros((3, 20, 20), np.uint8))
    for limits in (
        RenderLimits(max_pixels_per_frame=399),
        RenderLimits(max_frame_bytes=399),
        RenderLimits(max_frames=2),
        RenderLimits(max_decoded_bytes=1199),
    ):
        with pytest.raises(Refusal) as caught:
            render_frame(path, 0, limits)
        assert caught.value.reason == "too-large"


def test_supported_transfer_syntaxes_are_distinct_and_decodable() -> None:
    assert len(set(syntaxes.SUPPORTED_TRANSFER_SYNTAXES)) == len(syntaxes.SUPPORTED_TRANSFER_SYNTAXES)
    assert set(syntaxes.SUPPORTED_TRANSFER_SYNTAXES) >= syntaxes.NATIVE | syntaxes.LOSSY


def test_float_pixels_render(make: Make) -> None:
    samples = np.linspace(-1.0, 1.0, 256, dtype=np.float32).reshape(16, 16)
    path = make(samples.view(np.uint32))
    from pydicom import dcmread

    dataset = dcmread(path)
    del dataset.PixelData
    dataset.FloatPixelData = samples.tobytes()
    dataset.save_as(path)
    picture = render_frame(path, 0)
    assert picture.min() == 0
    assert picture.max() == 255
    assert (np.diff(picture.ravel().astype(int)) >= 0).all()


def test_supplemental_palettes_colour_what_they_map(make: Make) -> None:
    palette: dict[str, Any] = {"PixelPresentation": "MIXED", "WindowCenter": 50, "WindowWidth": 100}
    for colour, entries in (("Red", [0xFF00, 0]), ("Green", [0, 0xFF00]), ("Blue", [0, 0])):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 1000, 16]
        palette[f"{colour}PaletteColorLookupTableData"] = np.array(entries, "<u2").tobytes()
    picture = render_frame(make(np.array([[0, 100, 1000, 1001]], np.uint16), **palette), 0)
    assert picture.tolist() == [[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0]]]


def test_the_increment_of_a_frame_time_vector_is_told_frame_by_frame(make: Make) -> None:
    path = make(np.zeros((3, 2, 2), np.uint8), FrameTimeVector=[0, 40, 33.3])
    with Renderer(path, RenderLimits()) as renderer:
        told = [frame_attributes(renderer.view(i), None)["00181063"]["Value"] for i in range(3)]
    assert told == [[0.0], [40.0], [33.3]]


def test_enhanced_ct_with_shared_groups() -> None:
    found = get_testdata_file("eCT_Supplemental.dcm", download=False)
    assert isinstance(found, str)
    with Renderer(Path(found), RenderLimits()) as renderer:
        next(renderer.pictures(0, 1))
        attributes = frame_attributes(renderer.view(0), renderer.shown)
    assert {"00200032", "00200037", "00280030", "00281050"} <= set(attributes)
