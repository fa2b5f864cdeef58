"""What a viewer needs to know of a frame, as flat DICOM JSON (PS3.18 annex F). No Patient module, no UID."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

if TYPE_CHECKING:
    from gateway.management.rendering.grey import Window
    from gateway.management.rendering.groups import FrameView

_FRAME_KEYWORDS: Final = (
    "ImageType", "FrameType", "InstanceNumber", "NumberOfFrames", "Rows", "Columns", "Modality",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio",
    "NominalScannedPixelSpacing", "EstimatedRadiographicMagnificationFactor", "SliceLocation", "SliceThickness",
    "SpacingBetweenSlices", "InStackPositionNumber", "TemporalPositionIndex", "DimensionIndexValues",
    "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "Units", "PhotometricInterpretation",
    "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate", "PreferredPlaybackSequencing",
    "StartTrim", "StopTrim", "RepresentativeFrameNumber",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "BurnedInAnnotation", "RecognizableVisualFeatures",
    "Laterality", "ImageLaterality", "FrameLaterality", "PatientOrientation", "ViewPosition",
    "PresentationIntentType", "PresentationLUTShape",
)  # fmt: skip
"""A closed list, all with coded or numeric values: no free text in which a name could stand."""
_MAX_VALUES: Final = 4096
_MAX_TEXT: Final = 64
_INTEGER: Final = frozenset({"IS", "US", "UL", "SS", "SL"})
_REAL: Final = frozenset({"DS", "FD", "FL"})

Json = dict[str, dict[str, Any]]


def frame_attributes(view: FrameView, shown: Window | None) -> Json:
    """The attributes of one frame; ``shown`` is the window that was rendered when the file itself names none."""
    found: Json = {}
    for keyword in _FRAME_KEYWORDS:
        level = view.find(keyword)
        if level is None:
            continue
        values = _values(level[keyword].value, dictionary_VR(keyword))
        if values:
            found[_tag(keyword)] = {"vr": dictionary_VR(keyword), "Value": values}
    if shown is not None and not view.numbers("WindowCenter"):
        found[_tag("WindowCenter")] = {"vr": "DS", "Value": [shown.center]}
        found[_tag("WindowWidth")] = {"vr": "DS", "Value": [shown.width]}
        found[_tag("VOILUTFunction")] = {"vr": "CS", "Value": [shown.function]}
    return found


def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"


def _values(value: Any, vr: str) -> list[int | float | str]:
    """JSON values of a fitting type; empty when one of them is none."""
    several = value if hasattr(value, "__iter__") and not isinstance(value, str | bytes) else [value]
    values: list[int | float | str] = []
    try:
        for each in list(several)[:_MAX_VALUES]:
            if vr in _INTEGER:
                values.append(int(each))
            elif vr in _REAL:
                values.append(float(each))
            else:
                values.append(str(each)[:_MAX_TEXT])
    except (TypeError, ValueError, OverflowError):
        return []
    numbers = [each for each in values if isinstance(each, float)]
    return values if all(map(math.isfinite, numbers)) else []
