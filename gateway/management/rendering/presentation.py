"""Softcopy presentation states (PS3.3 A.33.1, A.33.2, A.33.6): how a reader wanted an image to be shown.

Applied: modality, VOI and presentation transformation, shutters, the overlays that the state activates, displayed area,
rotation and flip, graphic annotations. Not applied: mask subtraction, bitmap shutters, colours of annotations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.management.rendering import grey, overlays, shutters
from gateway.management.rendering.annotations import Canvas
from gateway.management.rendering.encode import pixel_aspect
from gateway.management.rendering.groups import FrameView, numbers
from gateway.management.rendering.luts import lookup_table
from gateway.management.rendering.refusal import Refusal
from gateway.middleware.elements import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image
    from pydicom.dataset import Dataset

    from gateway.management.rendering.luts import LookupTable
    from gateway.management.rendering.render import Picture

GRAYSCALE_SOFTCOPY: Final = "1.2.840.10008.5.1.4.1.1.11.1"
COLOR_SOFTCOPY: Final = "1.2.840.10008.5.1.4.1.1.11.2"
XA_XRF_GRAYSCALE_SOFTCOPY: Final = "1.2.840.10008.5.1.4.1.1.11.5"
APPLIED: Final = frozenset({GRAYSCALE_SOFTCOPY, COLOR_SOFTCOPY, XA_XRF_GRAYSCALE_SOFTCOPY})
_MAX_BYTES: Final = 16 << 20
_MAX_ENLARGEMENT: Final = 4
"""A displayed area may reach beyond its image, but not so far that little but black is left."""


@dataclass(frozen=True, slots=True)
class Area:
    """Rows and columns that are displayed, from 0, ends excluded; they may lie outside the image."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def rows(self) -> int:
        return self.bottom - self.top

    @property
    def columns(self) -> int:
        return self.right - self.left


@dataclass(frozen=True, slots=True)
class Presentation:
    """One state, read; asked for each image and frame."""

    state: Dataset

    @property
    def _little_endian(self) -> bool:
        return bool(self.state.original_encoding[1])

    @property
    def references(self) -> Iterator[tuple[str, list[int]]]:
        """SOP Instance UID of each image, and its frames from 1 on; none: all of them."""
        for each in self.state.get("ReferencedSeriesSequence") or []:
            for reference in each.get("ReferencedImageSequence") or []:
                yield str(reference.get("ReferencedSOPInstanceUID", "")), _frames(reference)

    def refers_to(self, image: Dataset) -> bool:
        """Whether the state names this instance."""
        uid = str(image.get("SOPInstanceUID", ""))
        return any(uid == named for named, _ in self.references)

    def covers(self, image: Dataset, frame: int) -> bool:
        """Whether the state names this frame (from 0) of this instance."""
        uid = str(image.get("SOPInstanceUID", ""))
        return any(uid == named and (not frames or frame + 1 in frames) for named, frames in self.references)

    def modality(self) -> grey.Modality:
        """The state's own modality transformation: the image's does not count (PS3.4 N.2.1)."""
        return grey.modality(FrameView(self.state, 0), little_endian=self._little_endian)

    def voi(self, image: Dataset, frame: int) -> grey.Window | LookupTable | None:
        """The VOI transformation for this frame (C.11.8); None: identity, the whole range."""
        for item in self.state.get("SoftcopyVOILUTSequence") or []:
            if _covers(item, image, frame):
                view = FrameView(item, 0)
                table = grey.voi_table(view, little_endian=self._little_endian)
                offered = grey.windows(view)
                return table or (offered[0] if offered else None)
        return None

    @property
    def inverse(self) -> bool:
        """PresentationLUTShape INVERSE (C.11.6); it stands for the photometric interpretation as well."""
        return str(self.state.get("PresentationLUTShape", "")).strip().upper() == "INVERSE"

    @property
    def lut(self) -> LookupTable | None:
        """The presentation LUT, if it is a table (C.11.6); its inputs are the whole output range of what is before."""
        items = self.state.get("PresentationLUTSequence")
        return lookup_table(items[0], little_endian=self._little_endian) if items else None

    def finish(self, picture: Picture, image: Dataset, frame: int) -> Picture:
        """Shutters, overlays, displayed area, rotation and flip of a picture with an image's rows and columns."""
        shutters.cover(picture, self.state)
        overlays.burn_activated(picture, image, self.state, frame)
        return self.turn(_cut(picture, self.area(image, frame)))

    def area(self, image: Dataset, frame: int) -> Area:
        """What of the image is displayed (C.10.4); all of it where the state does not say, or nothing credible."""
        rows, columns = int(image.Rows), int(image.Columns)
        for item in self.state.get("DisplayedAreaSelectionSequence") or []:
            corners = [numbers(item, f"DisplayedArea{corner}HandCorner") for corner in ("TopLeft", "BottomRight")]
            if _covers(item, image, frame) and all(len(corner) == 2 for corner in corners):
                # named as displayed, after rotation and flip: either may be the greater
                x, y = ([round(corner[axis]) for corner in corners] for axis in (0, 1))
                area = Area(min(y) - 1, min(x) - 1, max(y), max(x))
                meets = area.top < rows and area.left < columns and area.bottom > 0 and area.right > 0
                limits = area.rows <= _MAX_ENLARGEMENT * rows and area.columns <= _MAX_ENLARGEMENT * columns
                return area if meets and limits else Area(0, 0, rows, columns)
        return Area(0, 0, rows, columns)

    def aspect(self, image: Dataset, frame: int) -> float | None:
        """Height of a pixel divided by its width, as the state has it; None where it does not say."""
        for item in self.state.get("DisplayedAreaSelectionSequence") or []:
            if _covers(item, image, frame):
                return pixel_aspect(FrameView(item, 0), ("PresentationPixelAspectRatio", "PresentationPixelSpacing"))
        return None

    def annotate(self, shown: Image.Image, image: Dataset, frame: int) -> None:
        """Draw the graphic annotations of this frame on ``shown``, the finished picture at its final size."""
        items = [i for i in self.state.get("GraphicAnnotationSequence") or [] if _covers(i, image, frame)]
        if not items:
            return
        area = self.area(image, frame)

        def display(x: float, y: float) -> tuple[float, float]:
            return x * shown.width, y * shown.height

        def pixel(x: float, y: float) -> tuple[float, float]:
            """0 is the outer edge of the first pixel (C.10.5.1.2); then as ``turn`` does."""
            u, v = (x - area.left) / area.columns, (y - area.top) / area.rows
            for _ in range(self._quarters):
                u, v = 1 - v, u
            return display(1 - u if self._flips else u, v)

        Canvas(shown, pixel, display).annotate(items, list(self.state.get("GraphicLayerSequence") or []))

    def turn(self, picture: Picture) -> Picture:
        """Image Rotation, clockwise, then Image Horizontal Flip (C.10.6)."""
        turned = np.rot90(picture, -self._quarters)
        return turned[:, ::-1] if self._flips else turned

    @property
    def turns(self) -> bool:
        """Whether the picture is rotated or flipped."""
        return self._flips or self._quarters != 0

    @property
    def swaps_axes(self) -> bool:
        """Whether rows become columns."""
        return self._quarters % 2 == 1

    @property
    def _quarters(self) -> int:
        values = numbers(self.state, "ImageRotation")
        return int(values[0]) // 90 % 4 if values else 0

    @property
    def _flips(self) -> bool:
        return str(self.state.get("ImageHorizontalFlip", "")).strip().upper() == "Y"


def read(path: Path) -> Presentation:
    """Read a state. Raises ``Refusal``."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Refusal("too-large", "presentation state")
        with path.open("rb") as file:
            state = read_file(file)
    except OSError as error:
        raise Refusal("unreadable", "presentation state") from error
    except (Refusal, MemoryError, RecursionError):
        raise
    except Exception as error:  # whatever a damaged file provokes
        raise Refusal("malformed", "presentation state") from error
    if state.get("SOPClassUID") not in APPLIED:
        raise Refusal("unsupported", "presentation state")
    return Presentation(state)


def _covers(item: Dataset, image: Dataset, frame: int) -> bool:
    """An item without references is for all images of the state."""
    references = item.get("ReferencedImageSequence")
    if not references:
        return True
    for reference in references:
        if reference.get("ReferencedSOPInstanceUID") == image.get("SOPInstanceUID"):
            listed = _frames(reference)
            return not listed or frame + 1 in listed
    return False


def _frames(reference: Dataset) -> list[int]:
    return [int(number) for number in numbers(reference, "ReferencedFrameNumber")]


def _cut(picture: Picture, area: Area) -> Picture:
    rows, columns = picture.shape[:2]
    if area == Area(0, 0, rows, columns):
        return picture
    out = np.zeros((area.rows, area.columns, *picture.shape[2:]), dtype=np.uint8)
    top, left = max(area.top, 0), max(area.left, 0)
    part = picture[top : max(area.bottom, 0), left : max(area.right, 0)]
    out[top - area.top : top - area.top + part.shape[0], left - area.left : left - area.left + part.shape[1]] = part
    return out
