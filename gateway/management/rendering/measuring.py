"""What a viewer needs beyond showing: how values are stored, tables as they are, calibrations. DICOM JSON."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydicom.dataset import Dataset

from gateway.management.rendering.dicom_json import Json, Told, tag_of, told
from gateway.management.rendering.luts import LookupTable, lookup_table, palette
from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from gateway.management.rendering.groups import FrameView
    from gateway.management.rendering.source import FrameSource

_KEYWORDS: Final = (
    "FrameOfReferenceUID", "PatientPosition", "GantryDetectorTilt", "PixelSpacingCalibrationType",
    "DistanceSourceToDetector", "DistanceSourceToPatient", "TriggerTime", "NominalCardiacTriggerDelayTime",
    "ActualFrameDuration", "StackID", "SUVType",
)  # fmt: skip
"""FrameOfReferenceUID says which series share a space; it identifies no more than the series' own UID beside it."""
_PADDING: Final = ("PixelPaddingValue", "PixelPaddingRangeLimit")
_REGION: Final = (
    "RegionSpatialFormat", "RegionDataType", "RegionFlags",
    "RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1",
    "ReferencePixelX0", "ReferencePixelY0", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection",
    "ReferencePixelPhysicalValueX", "ReferencePixelPhysicalValueY", "PhysicalDeltaX", "PhysicalDeltaY",
)  # fmt: skip
"""Of an ultrasound region (PS3.3 C.8.5.5.1)."""
_MAX_REGIONS: Final = 32
_MAX_TABLES: Final = 8
_MAX_TABLE_BYTES: Final = 1 << 18
"""Of all VOI LUTs of a frame together: those behind it are left out, a viewer has the first."""
_COLOURS: Final = ("Red", "Green", "Blue")


def pixel_attributes(source: FrameSource, photometric: str) -> Json:
    """How the values of this layer are stored (PS3.3 C.7.6.3); ``photometric`` is what their coding left them in."""
    options = source.options
    found: Json = {
        tag_of("SamplesPerPixel"): {"vr": "US", "Value": [int(options["samples_per_pixel"])]},
        tag_of("PhotometricInterpretation"): {"vr": "CS", "Value": [photometric]},
        tag_of("BitsAllocated"): {
            "vr": "US",
            "Value": [16 if options["bits_allocated"] == 12 else int(options["bits_allocated"])],
        },
        tag_of("BitsStored"): {"vr": "US", "Value": [int(options["bits_stored"])]},
        tag_of("HighBit"): {"vr": "US", "Value": [int(options["bits_stored"]) - 1]},
        tag_of("PixelRepresentation"): {"vr": "US", "Value": [int(options["pixel_representation"])]},
    }
    little_endian = bool(source.header.original_encoding[1])
    if photometric == "PALETTE COLOR" or "RedPaletteColorLookupTableDescriptor" in source.header:
        found.update(_palette(source.header, little_endian=little_endian))
    return found


def measuring_attributes(view: FrameView, *, little_endian: bool) -> Json:
    """Tables, padding, calibrations and the frame of reference of one frame."""
    found: Json = {}
    for keyword in _KEYWORDS:
        if (element := view.told(keyword)) is not None:
            found[tag_of(keyword)] = element
    for keyword in _PADDING:
        if values := view.numbers(keyword):
            value = int(values[0])
            found[tag_of(keyword)] = {"vr": "SS" if value < 0 else "US", "Value": [value]}
    for sequence, kind in (("ModalityLUTSequence", "ModalityLUTType"), ("VOILUTSequence", "LUTExplanation")):
        if tables := _tables(view, sequence, kind, little_endian=little_endian):
            found[tag_of(sequence)] = {"vr": "SQ", "Value": tables}
    if regions := _regions(view):
        found[tag_of("SequenceOfUltrasoundRegions")] = {"vr": "SQ", "Value": regions}
    return found


def _element(level: Dataset, keyword: str) -> Told | None:
    return told(level[keyword].value, keyword)


def _items(view: FrameView, keyword: str) -> list[Dataset]:
    element = view.element(keyword)
    if element is None or element.VR != "SQ":
        return []
    return [item for item in element.value if isinstance(item, Dataset)]


def _tables(view: FrameView, sequence: str, kind: str, *, little_endian: bool) -> list[Json]:
    found: list[Json] = []
    room = _MAX_TABLE_BYTES
    for item in _items(view, sequence)[:_MAX_TABLES]:
        table = lookup_table(item, little_endian=little_endian)
        if table is None or table.entries.nbytes > room:
            continue
        room -= table.entries.nbytes
        described = _table(table)
        if kind in item and (element := _element(item, kind)):
            described[tag_of(kind)] = element
        found.append(described)
    return found


def _table(table: LookupTable) -> Json:
    """Always 16-bit little-endian words, whatever they were in the file."""
    descriptor = [len(table.entries) & 0xFFFF, table.first, table.bits]
    return {
        tag_of("LUTDescriptor"): {"vr": "SS" if table.first < 0 else "US", "Value": descriptor},
        tag_of("LUTData"): _binary(table.entries.astype("<u2")),
    }


def _binary(entries: np.ndarray[Any, Any]) -> dict[str, Any]:
    vr = "OB" if entries.itemsize == 1 else "OW"
    return {"vr": vr, "InlineBinary": base64.b64encode(entries.tobytes()).decode("ascii")}


def _palette(header: Dataset, *, little_endian: bool) -> Json:
    """The palette, expanded and of eight bits: what the layer ``display`` shows of it."""
    try:
        first, colours = palette(header, little_endian=little_endian)
    except Refusal:  # values are exact without it, too
        return {}
    found: Json = {}
    for channel, colour in enumerate(_COLOURS):
        name = f"{colour}PaletteColorLookupTable"
        descriptor = [len(colours) & 0xFFFF, first, 8]
        found[tag_of(f"{name}Descriptor")] = {"vr": "SS" if first < 0 else "US", "Value": descriptor}
        found[tag_of(f"{name}Data")] = _binary(np.ascontiguousarray(colours[:, channel]))
    return found


def _regions(view: FrameView) -> list[Json]:
    found: list[Json] = []
    for item in _items(view, "SequenceOfUltrasoundRegions")[:_MAX_REGIONS]:
        elements = {keyword: _element(item, keyword) for keyword in _REGION if keyword in item}
        found.append({tag_of(keyword): element for keyword, element in elements.items() if element})
    return [region for region in found if region]
