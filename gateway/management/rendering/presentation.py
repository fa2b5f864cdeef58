"""Grayscale softcopy presentation states (PS3.3 A.33.1): how a reader wanted an image to be shown.

Applied: modality and VOI transformation, polarity, rotation and flip. Not drawn: graphic annotations, and the
displayed area, because a phone shows the whole picture and zooms by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom import dcmread

from gateway.management.rendering import grey
from gateway.management.rendering.groups import FrameView
from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

    from gateway.management.rendering.luts import LookupTable
    from gateway.management.rendering.render import Picture

GRAYSCALE_SOFTCOPY: Final = "1.2.840.10008.5.1.4.1.1.11.1"
_MAX_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Presentation:
    """One state, read; asked for each image and frame."""

    state: Dataset

    @property
    def _little_endian(self) -> bool:
        return bool(self.state.original_encoding[1])

    def refers_to(self, image: Dataset) -> bool:
        """Whether the state names this instance."""
        uid = image.get("SOPInstanceUID")
        series = self.state.get("ReferencedSeriesSequence") or []
        return any(
            reference.get("ReferencedSOPInstanceUID") == uid
            for each in series
            for reference in each.get("ReferencedImageSequence") or []
        )

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

    def turn(self, picture: Picture) -> Picture:
        """Image Rotation, clockwise, then Image Horizontal Flip (C.10.6)."""
        quarters = int(self.state.get("ImageRotation") or 0) // 90 % 4
        turned = np.rot90(picture, -quarters)
        flip = str(self.state.get("ImageHorizontalFlip", "")).strip().upper() == "Y"
        return turned[:, ::-1] if flip else turned

    @property
    def turns(self) -> bool:
        """Whether the picture is rotated or flipped."""
        flip = str(self.state.get("ImageHorizontalFlip", "")).strip().upper() == "Y"
        return flip or int(self.state.get("ImageRotation") or 0) // 90 % 4 != 0

    @property
    def swaps_axes(self) -> bool:
        """Whether rows become columns."""
        return int(self.state.get("ImageRotation") or 0) // 90 % 2 == 1


def read(path: Path) -> Presentation:
    """Read a state. Raises ``Refusal``."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Refusal("too-large", "presentation state")
        state = dcmread(path)
    except OSError as error:
        raise Refusal("unreadable", "presentation state") from error
    except (Refusal, MemoryError, RecursionError):
        raise
    except Exception as error:  # whatever a damaged file provokes
        raise Refusal("malformed", "presentation state") from error
    if state.get("SOPClassUID") != GRAYSCALE_SOFTCOPY:
        raise Refusal("unsupported", "presentation state")
    return Presentation(state)


def _covers(item: Dataset, image: Dataset, frame: int) -> bool:
    """An item without references is for all images of the state."""
    references = item.get("ReferencedImageSequence")
    if not references:
        return True
    for reference in references:
        if reference.get("ReferencedSOPInstanceUID") == image.get("SOPInstanceUID"):
            frames = reference.get("ReferencedFrameNumber")
            listed = [frames] if isinstance(frames, int) else list(frames or [])
            return not listed or frame + 1 in map(int, listed)
    return False
