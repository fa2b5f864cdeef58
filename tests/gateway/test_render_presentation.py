"""PET in SUV, presentation states, and pictures that may carry names."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.management.rendering.burned_in import may_show_identity
from gateway.management.rendering.groups import FrameView
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.pet import hot_iron, suv_factor
from gateway.management.rendering.presentation import GRAYSCALE_SOFTCOPY, Presentation, read
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.render import Renderer
from gateway.management.workers import RenderedFrame, RenderJob, RenderPool

IMAGE_UID = "1.2.3.4"


def save(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def image(**more: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", IMAGE_UID
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 3, 4, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.arange(0, 3600, 300, dtype=np.uint16).tobytes()
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def state(*items: Dataset, **more: Any) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", IMAGE_UID
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedImageSequence = "1.2.3", [reference]
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = GRAYSCALE_SOFTCOPY, "1.2.3.5"
    dataset.ReferencedSeriesSequence = [series]
    dataset.SoftcopyVOILUTSequence = list(items)
    dataset.PresentationLUTShape = "IDENTITY"
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def window(center: float, width: float, references: list[Dataset] | None = None) -> Dataset:
    item = Dataset()
    item.WindowCenter, item.WindowWidth, item.VOILUTFunction = center, width, "LINEAR_EXACT"
    if references is not None:
        item.ReferencedImageSequence = references
    return item


def rendered(picture_of: Dataset, shown_by: Dataset | None, tmp_path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    presentation: Presentation | None = None
    if shown_by is not None:
        presentation = read(save(shown_by, tmp_path / "state.dcm"))
    path = save(picture_of, tmp_path / "image.dcm")
    with Renderer(path, RenderLimits(), presentation=presentation) as renderer:
        return next(renderer.pictures(0, 1)).copy()


def test_a_state_replaces_window_and_modality_of_the_image(tmp_path: Path) -> None:
    plain = rendered(image(WindowCenter=1000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT"), None, tmp_path)
    other = image(WindowCenter=5, WindowWidth=10, RescaleSlope=7, RescaleIntercept=-3)
    np.testing.assert_array_equal(rendered(other, state(window(1000, 2000)), tmp_path), plain)
    inverse = state(window(1000, 2000), PresentationLUTShape="INVERSE")
    assert np.abs(rendered(other, inverse, tmp_path).astype(int) + plain - 255).max() <= 1


def test_a_state_applies_to_the_image_and_frames_that_it_names(tmp_path: Path) -> None:
    elsewhere, here = Dataset(), Dataset()
    elsewhere.ReferencedSOPInstanceUID, here.ReferencedSOPInstanceUID = "9.9", IMAGE_UID
    here.ReferencedFrameNumber = 2
    two = image(NumberOfFrames=2)
    two.PixelData = two.PixelData * 2
    presentation = read(save(state(window(10, 20, [elsewhere]), window(2000, 400, [here])), tmp_path / "s.dcm"))
    assert presentation.voi(two, 0) is None
    shown = presentation.voi(two, 1)
    assert shown is not None
    assert getattr(shown, "center", None) == 2000
    assert not presentation.refers_to(image(SOPInstanceUID="9.9"))
    stranger = image(SOPInstanceUID="9.9")
    np.testing.assert_array_equal(
        rendered(stranger, state(window(10, 20)), tmp_path), rendered(stranger, None, tmp_path)
    )


@pytest.mark.parametrize(
    ("rotation", "flip", "first_row"),
    [(0, "N", [0, 1, 2, 3]), (90, "N", [8, 4, 0]), (180, "N", [11, 10, 9, 8]), (270, "N", [3, 7, 11]),
     (0, "Y", [3, 2, 1, 0]), (90, "Y", [0, 4, 8])],
)  # fmt: skip
def test_rotation_is_clockwise_and_comes_before_the_flip(
    rotation: int, flip: str, first_row: list[int], tmp_path: Path
) -> None:
    turned = rendered(image(), state(window(1650, 3300), ImageRotation=rotation, ImageHorizontalFlip=flip), tmp_path)
    levels = np.unique(rendered(image(), state(window(1650, 3300)), tmp_path))
    assert np.searchsorted(levels, turned[0]).tolist() == first_row


def test_through_the_pool_a_turned_picture_loses_its_orientation(tmp_path: Path) -> None:
    path = save(image(PatientOrientation=["L", "P"], InstanceNumber=3), tmp_path / "image.dcm")
    shown_by = save(state(window(1650, 3300), ImageRotation=90), tmp_path / "state.dcm")

    async def main() -> list[RenderedFrame]:
        async with RenderPool(1) as pool:
            jobs = [RenderJob(path), RenderJob(path, presentation_state=shown_by)]
            return [frame for job in jobs for frame in [f async for f in pool.render(job)]]

    plain, turned = asyncio.run(main())
    assert (plain.rows, plain.columns) == (turned.columns, turned.rows) == (3, 4)
    assert "00200020" in plain.attributes
    assert "00200020" not in turned.attributes
    assert "00200013" in turned.attributes


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    found = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(found, str)
    for path, reason in ((Path(found), "unsupported"), (tmp_path / "none", "unreadable")):
        with pytest.raises(Refusal) as caught:
            read(path)
        assert caught.value.reason == reason


def scan(**more: Any) -> Dataset:
    drug = Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 290e6, 6586.2
    drug.RadiopharmaceuticalStartTime = "100000"
    dataset = image(
        Modality="PT", Units="BQML", DecayCorrection="START", CorrectedImage=["ATTN", "DECY"], PatientWeight=82,
        SeriesDate="20191113", SeriesTime="111218", AcquisitionDate="20191113", AcquisitionTime="111624",
        RescaleSlope=2, RescaleIntercept=0, WindowCenter=1000, WindowWidth=2000,
    )  # fmt: skip
    dataset.RadiopharmaceuticalInformationSequence = [drug]
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def test_suv_by_body_weight() -> None:
    # 72 min 18 s after injection, of a half-life of 6586.2 s: 82 kg over 183.7 MBq that are left
    assert suv_factor(FrameView(scan(), 0)) == pytest.approx(82_000 / (290e6 * 2 ** (-4338 / 6586.2)))
    assert suv_factor(FrameView(scan(DecayCorrection="ADMIN"), 0)) == pytest.approx(82_000 / 290e6)
    assert suv_factor(FrameView(scan(Units="GML"), 0)) == 1.0


@pytest.mark.parametrize(
    "missing",
    [
        {"Modality": "CT"},
        {"Units": "CNTS"},
        {"DecayCorrection": "NONE"},
        {"CorrectedImage": ["DECY"]},
        {"PatientWeight": 0},
        {"PatientWeight": None},
        {"SeriesTime": "120000"},
        {"SeriesDate": ""},
        {"RadiopharmaceuticalInformationSequence": []},
    ],
)
def test_no_suv_is_better_than_a_wrong_one(missing: dict[str, Any]) -> None:
    assert suv_factor(FrameView(scan(**missing), 0)) is None


def test_hot_iron_shows_suv_0_to_10(tmp_path: Path) -> None:
    factor = 82_000 / (290e6 * 2 ** (-4338 / 6586.2))
    stored = np.array([0, 5 / factor / 2, 10 / factor / 2], dtype=np.float64).round().astype(np.uint16)
    dataset = scan(BitsStored=16, HighBit=15, Rows=1, Columns=3)
    dataset.PixelData = stored.tobytes() + bytes(stored.nbytes % 2)
    path = save(dataset, tmp_path / "pet.dcm")

    async def main() -> RenderedFrame:
        async with RenderPool(1) as pool:
            (frame,) = [frame async for frame in pool.render(RenderJob(path, pet="hot-iron", quality=100))]
            return frame

    frame = asyncio.run(main())
    picture = np.asarray(Image.open(io.BytesIO(frame.data))).astype(int)
    wanted = hot_iron()[[0, 128, 255]].astype(int)
    assert picture.shape == (1, 3, 3)
    assert np.abs(picture[0] - wanted).max() <= 6
    assert frame.attributes["00409225"]["Value"] == [pytest.approx(2 * factor)]
    assert frame.attributes["00409210"]["Value"] == ["SUVBW"]


@pytest.mark.parametrize(
    ("modality", "sop_class_uid", "stated", "may"),
    [
        ("CT", "1.2.840.10008.5.1.4.1.1.2", "", False),
        ("CT", "1.2.840.10008.5.1.4.1.1.2", "YES", True),
        ("US", "1.2.840.10008.5.1.4.1.1.6.1", "", True),
        ("US", "1.2.840.10008.5.1.4.1.1.6.1", "NO", False),
        ("OT", "1.2.840.10008.5.1.4.1.1.7", "", True),
        ("OT", "1.2.840.10008.5.1.4.1.1.7.4", " no ", False),
        ("XC", "1.2.840.10008.5.1.4.1.1.77.1.4", "", False),
    ],
)
def test_who_may_show_names(modality: str, sop_class_uid: str, stated: str, may: bool) -> None:
    shows = may_show_identity(modality=modality, sop_class_uid=sop_class_uid, burned_in_annotation=stated)
    assert shows is may
