"""What a viewer needs to know of a frame, as flat DICOM JSON. No Patient module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.management.rendering.dicom_json import Json, tag_of, vr_of

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
    "FrameTime", "CineRate", "RecommendedDisplayFrameRate", "PreferredPlaybackSequencing",
    "StartTrim", "StopTrim", "RepresentativeFrameNumber",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "BurnedInAnnotation", "RecognizableVisualFeatures",
    "Laterality", "ImageLaterality", "FrameLaterality", "PatientOrientation", "ViewPosition",
    "PresentationIntentType", "PresentationLUTShape",
)  # fmt: skip
"""A closed list, all with coded or numeric values: no free text in which a name could stand."""
_VECTORS: Final = (
    "EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector", "TimeSlotVector",
    "SliceVector", "AngularViewVector", "TimeSliceVector",
)  # fmt: skip
"""What a frame of nuclear medicine is, by dimension (PS3.3 C.8.4.8)."""
_ORIENTATION: Final = ("ImageOrientationPatient", "ImagePositionPatient", "PatientOrientation")


def frame_attributes(
    view: FrameView, shown: Window | None, *, suv_factor: float | None = None, turned: bool = False
) -> Json:
    """The attributes of one frame.

    ``shown`` is the window that was rendered, told where the file itself names none. With ``suv_factor`` the real
    world value of a stored value is its SUVbw. A picture that was ``turned`` has no orientation that the file knows.
    """
    found: Json = {}
    for keyword in _FRAME_KEYWORDS:
        if (told := view.told(keyword)) is not None:
            found[tag_of(keyword)] = told
    if shown is not None and not view.numbers("WindowCenter"):
        found[tag_of("WindowCenter")] = {"vr": "DS", "Value": [shown.center]}
        found[tag_of("WindowWidth")] = {"vr": "DS", "Value": [shown.width]}
        found[tag_of("VOILUTFunction")] = {"vr": "CS", "Value": [shown.function]}
    if suv_factor is not None:
        slope, intercept = view.numbers("RescaleSlope") or [1.0], view.numbers("RescaleIntercept") or [0.0]
        found[tag_of("RealWorldValueSlope")] = {"vr": "FD", "Value": [slope[0] * suv_factor]}
        found[tag_of("RealWorldValueIntercept")] = {"vr": "FD", "Value": [intercept[0] * suv_factor]}
        found[tag_of("LUTLabel")] = {"vr": "SH", "Value": ["SUVBW"]}
    if times := view.numbers("FrameTimeVector"):
        # the vector in each of its frames would be its square: each frame is told its own increment
        found[tag_of("FrameTime")] = {"vr": "DS", "Value": [times[min(view.frame, len(times) - 1)]]}
    for keyword in _VECTORS:
        if view.frame < len(numbers := view.numbers(keyword)):
            found[tag_of(keyword)] = {"vr": vr_of(keyword), "Value": [int(numbers[view.frame])]}
    for keyword in _ORIENTATION if turned else ():
        found.pop(tag_of(keyword), None)
    return found
