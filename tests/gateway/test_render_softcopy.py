"""What a presentation state adds to a picture: against DCMTK where it can, else by hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from gateway.management.rendering.against import read_pnm
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.presentation import Presentation, read
from gateway.management.rendering.render import Renderer
from tests.gateway.test_render_presentation import image, save, state, window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def lut() -> Dataset:
    made = item(LUTDescriptor=[256, 0, 8])
    made.add_new("LUTData", "OW", np.array([round(i * i / 255) for i in range(256)], "<u2").tobytes())
    return made


BY_DCMTK: dict[str, dict[str, Any]] = {
    "as it is": {},
    "rotated": {"ImageRotation": 90, "ImageHorizontalFlip": "N"},
    "flipped": {"ImageRotation": 0, "ImageHorizontalFlip": "Y"},
    "rotated, then flipped": {"ImageRotation": 270, "ImageHorizontalFlip": "Y"},
    "window": {"SoftcopyVOILUTSequence": [item(WindowCenter="40", WindowWidth="400")]},
    "inverse": {
        "SoftcopyVOILUTSequence": [item(WindowCenter="40", WindowWidth="400")],
        "PresentationLUTShape": "INVERSE",
    },
    "presentation LUT": {"PresentationLUTSequence": [lut()], "PresentationLUTShape": None},
    "window and presentation LUT": {
        "SoftcopyVOILUTSequence": [item(WindowCenter="40", WindowWidth="400")],
        "PresentationLUTSequence": [lut()],
        "PresentationLUTShape": None,
    },
}  # fmt: skip


@pytest.mark.peer("dcmtk")
@pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("name", BY_DCMTK)
def test_like_dcmtk(name: str, tmp_path: Path) -> None:
    source, made = get_testdata_file("CT_small.dcm", download=False), tmp_path / "state.dcm"
    assert isinstance(source, str)
    subprocess.run(["dcmpsmk", source, str(made)], check=True, capture_output=True)
    dataset = dcmread(made)
    for keyword, value in BY_DCMTK[name].items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(made)
    subprocess.run(["dcmp2pgm", "-p", made, source, tmp_path / "peer.pgm"], check=True, capture_output=True)
    theirs = read_pnm((tmp_path / "peer.pgm").read_bytes())
    with Renderer(Path(source), RenderLimits(), presentation=read(made)) as renderer:
        ours = next(renderer.pictures(0, 1))
    assert ours.shape == theirs.shape
    # the table's slope of two turns one level before it into two behind it
    within = 3 if "LUT" in name else 1
    assert np.abs(ours.astype(int) - theirs).max() <= within


def shown(tmp_path: Path, **more: Any) -> Picture:
    """A picture of 30 x 40 grey pixels of level 100, shown by a state with ``more`` in it."""
    flat = image(Rows=30, Columns=40, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes([100]) * 1200)
    made = read(save(state(window(127.5, 255), **more), tmp_path / "state.dcm"))
    with Renderer(save(flat, tmp_path / "image.dcm"), RenderLimits(), presentation=made) as renderer:
        picture = next(renderer.pictures(0, 1)).copy()
        canvas = Image.fromarray(picture)
        made.annotate(canvas, renderer.header, 0)
        return np.asarray(canvas)


def test_a_rectangular_shutter_shows_its_edges(tmp_path: Path) -> None:
    picture = shown(
        tmp_path, ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=5, ShutterRightVerticalEdge=30,
        ShutterUpperHorizontalEdge=2, ShutterLowerHorizontalEdge=20, ShutterPresentationValue=0x4000,
    )  # fmt: skip
    wanted = np.full((30, 40), 0x40, np.uint8)
    wanted[1:20, 4:30] = 100
    np.testing.assert_array_equal(picture, wanted)


def test_shutters_of_several_shapes_show_what_all_of_them_do(tmp_path: Path) -> None:
    picture = shown(
        tmp_path, ShutterShape=["CIRCULAR", "POLYGONAL"], CenterOfCircularShutter=[15, 20], RadiusOfCircularShutter=10,
        VerticesOfThePolygonalShutter=[1, 1, 1, 40, 15, 40, 15, 1],
    )  # fmt: skip
    y, x = np.mgrid[1:31, 1:41]
    within = ((y - 15) ** 2 + (x - 20) ** 2 <= 100) & (y <= 15)
    np.testing.assert_array_equal(picture == 100, within)
    assert set(np.unique(picture)) == {0, 100}


def test_a_shutter_that_is_none_covers_nothing(tmp_path: Path) -> None:
    for broken in (
        {"ShutterShape": "CIRCULAR"},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2]},
    ):
        assert (shown(tmp_path, **broken) == 100).all()


@pytest.mark.parametrize(
    ("corners", "shape", "grey"),
    [
        (([1, 1], [40, 30]), (30, 40), 1200),
        (([11, 6], [20, 25]), (20, 10), 200),
        (([20, 25], [11, 6]), (20, 10), 200),
        (([-4, 1], [40, 30]), (30, 45), 1200),
        (([1, 1], [4000, 3000]), (30, 40), 1200),
        (([100, 100], [120, 120]), (30, 40), 1200),
    ],
)
def test_displayed_areas(corners: Any, shape: tuple[int, int], grey: int, tmp_path: Path) -> None:
    area = item(DisplayedAreaTopLeftHandCorner=corners[0], DisplayedAreaBottomRightHandCorner=corners[1])
    picture = shown(tmp_path, DisplayedAreaSelectionSequence=[area])
    assert picture.shape == shape
    assert (picture == 100).sum() == grey


def test_the_pixels_of_a_displayed_area_may_not_be_square(tmp_path: Path) -> None:
    area = item(PresentationPixelAspectRatio=[2, 1])
    made = Presentation(dcmread(save(state(DisplayedAreaSelectionSequence=[area]), tmp_path / "state.dcm")))
    assert made.aspect(image(), 0) == 2.0
    assert Presentation(dcmread(save(state(), tmp_path / "other.dcm"))).aspect(image(), 0) is None


def graphics(*objects: Dataset, layer: int = 0xFFFF, **more: Any) -> dict[str, Any]:
    texts = [each for each in objects if "UnformattedTextValue" in each]
    shapes = [each for each in objects if "GraphicType" in each]
    annotation = item(GraphicLayer="L", **more)
    if texts:
        annotation.TextObjectSequence = texts
    if shapes:
        annotation.GraphicObjectSequence = shapes
    layers = [item(GraphicLayer="L", GraphicLayerOrder=1, GraphicLayerRecommendedDisplayGrayscaleValue=layer)]
    return {"GraphicAnnotationSequence": [annotation], "GraphicLayerSequence": layers}


def shape(kind: str, points: list[float], units: str = "PIXEL", filled: str = "N") -> Dataset:
    return item(
        GraphicAnnotationUnits=units, GraphicDimensions=2, NumberOfGraphicPoints=len(points) // 2, GraphicData=points,
        GraphicType=kind, GraphicFilled=filled,
    )  # fmt: skip


def test_lines_lie_where_they_are_said_to(tmp_path: Path) -> None:
    picture = shown(tmp_path, **graphics(shape("POLYLINE", [5.5, 10.5, 30.5, 10.5])))
    assert (picture[10, 6:30] == 255).all()
    assert (picture[9, 8:28] == 0).all(), "a dark seam"
    assert (picture[:8] == 100).all()
    assert (picture[13:] == 100).all()


def test_lines_turn_with_the_picture(tmp_path: Path) -> None:
    line = graphics(shape("POLYLINE", [5.5, 10.5, 30.5, 10.5]))
    picture = shown(tmp_path, **line, ImageRotation=90, ImageHorizontalFlip="N")
    assert picture.shape == (40, 30)
    assert (picture[7:29, 19:20] == 255).all(), "row 10 of 30, clockwise, is column 19"
    flipped = shown(tmp_path, **line, ImageRotation=90, ImageHorizontalFlip="Y")
    assert (flipped[7:29, 10] == 255).all()


def test_lines_move_with_the_displayed_area(tmp_path: Path) -> None:
    area = item(DisplayedAreaTopLeftHandCorner=[1, 6], DisplayedAreaBottomRightHandCorner=[40, 30])
    picture = shown(
        tmp_path, **graphics(shape("POLYLINE", [5.5, 10.5, 30.5, 10.5])), DisplayedAreaSelectionSequence=[area]
    )
    assert (picture[5, 7:29] == 255).all()


def test_circles_ellipses_points_and_curves(tmp_path: Path) -> None:
    circle = shown(tmp_path, **graphics(shape("CIRCLE", [20, 15, 28, 15])))
    assert {int(circle[15, 28]), int(circle[15, 12]), int(circle[23, 20]), int(circle[7, 20])} == {255}
    assert circle[15, 20] == 100
    filled = shown(tmp_path, **graphics(shape("CIRCLE", [0.5, 0.5, 0.75, 0.5], "DISPLAY", "Y"), layer=0x8000))
    assert filled[15, 20] == 0x80
    ellipse = shown(tmp_path, **graphics(shape("ELLIPSE", [10, 15, 30, 15, 20, 10, 20, 20])))
    assert {int(ellipse[15, 30]), int(ellipse[15, 10]), int(ellipse[20, 20]), int(ellipse[10, 20])} == {255}
    point = shown(tmp_path, **graphics(shape("POINT", [20, 15])))
    assert point[15, 20] == 255
    curve = shown(tmp_path, **graphics(shape("INTERPOLATED", [5, 5, 20, 20, 35, 5])))
    assert curve[20, 20] == 255
    assert curve[5, 5] == 255


def test_texts_stand_in_their_boxes_and_inside_the_picture(tmp_path: Path) -> None:
    text = item(
        UnformattedTextValue="IX", BoundingBoxAnnotationUnits="PIXEL", BoundingBoxTopLeftHandCorner=[2, 2],
        BoundingBoxBottomRightHandCorner=[22, 14], BoundingBoxTextHorizontalJustification="LEFT",
    )  # fmt: skip
    picture = shown(tmp_path, **graphics(text))
    assert (picture[:16, :24] > 150).sum() > 10
    assert (picture[18:] == 100).all()
    assert (picture[:, 26:] == 100).all()
    edge = item(UnformattedTextValue="edge", AnchorPoint=[39, 29], AnchorPointAnnotationUnits="PIXEL")
    assert (shown(tmp_path, **graphics(edge))[15:, 5:] > 150).sum() > 10


def test_annotations_of_other_images_and_frames_are_left_out(tmp_path: Path) -> None:
    line = shape("POLYLINE", [5.5, 10.5, 30.5, 10.5])
    for reference in (
        item(ReferencedSOPInstanceUID="9.9"),
        item(ReferencedSOPInstanceUID="1.2.3.4", ReferencedFrameNumber=2),
    ):
        assert (shown(tmp_path, **graphics(line, ReferencedImageSequence=[reference])) == 100).all()


def test_annotations_that_are_none_hurt_nobody(tmp_path: Path) -> None:
    broken = [
        shape("POLYLINE", [1.0]), shape("CIRCLE", [1, 2]), shape("ELLIPSE", [1, 2, 3, 4]),
        shape("SQUARE", [1, 2, 3, 4]), shape("POLYLINE", [1, 2, 3, 4], "MATRIX"),
        shape("POLYLINE", [1e30, -1e30, 3e30, 4]), item(UnformattedTextValue=""),
        item(UnformattedTextValue="\x00\x1b[31m"), item(UnformattedTextValue="no place"),
        item(UnformattedTextValue="한글", AnchorPoint=[1, 1], AnchorPointAnnotationUnits="PIXEL"),
    ]  # fmt: skip
    assert shown(tmp_path, **graphics(*broken)).shape == (30, 40)


def test_overlays_are_shown_where_the_state_activates_them(tmp_path: Path) -> None:
    plane = np.zeros((30, 40), np.uint8)
    plane[3, 7] = 1

    def overlay(group: int) -> Dataset:
        made = Dataset()
        for element, vr, value in (
            (0x10, "US", 30), (0x11, "US", 40), (0x40, "CS", "G"), (0x50, "SS", [1, 1]), (0x100, "US", 1),
            (0x102, "US", 0), (0x3000, "OW", np.packbits(plane, bitorder="little").tobytes()),
        ):  # fmt: skip
            made.add_new((group, element), vr, value)
        return made

    def painted(activated: bool, own: bool) -> int:
        flat = image(Rows=30, Columns=40, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes([100]) * 1200)
        by = state(window(127.5, 255))
        (by if own else flat).update(overlay(0x6002))
        if activated:
            by.add_new((0x6002, 0x1001), "CS", "L")
        made = read(save(by, tmp_path / "state.dcm"))
        with Renderer(save(flat, tmp_path / "image.dcm"), RenderLimits(), presentation=made) as renderer:
            picture = next(renderer.pictures(0, 1))
        return int(picture[3, 7])

    assert [painted(True, True), painted(True, False), painted(False, True), painted(False, False)] == [
        255,
        255,
        100,
        100,
    ]
