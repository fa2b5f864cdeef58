"""The attributes that lists show, as DICOM JSON (PS3.18 annex F), bounded in number and size."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, cast

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from gateway.middleware.charset import TEXT_VRS

# One element may not fill an announcement, and a sequence not a page.
_VALUE_LIMIT_BYTES = 1024
_SEQUENCE_LIMIT_BYTES = 4096
_WHOLE = frozenset({"OtherPatientIDs", "IssuerOfPatientID", "PatientID", "AccessionNumber", "StudyID", "AdmissionID"})
"""Identifiers: whole or not at all, for the beginning of one may be another one."""
_CUT = "…"
_NAME = 0x00100010
_CACHE_ENTRIES = 64
DEFER_BYTES = 64 << 10
"""Longer values than this are never read into memory."""


def tags(*keywords: str) -> tuple[int, ...]:
    """Their tags, ascending, which is the order of a data set."""
    found = [tag_for_keyword(keyword) for keyword in keywords]
    assert None not in found
    return tuple(sorted(tag for tag in found if tag is not None))


IDENTITY = tags(
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "Modality",
    "InstanceNumber",
    "NumberOfFrames",
)

STUDY = tags(
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyDescription",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "RequestingPhysician",
    "RequestingPhysicianIdentificationSequence",
    "RequestingService",
    "PerformingPhysicianName",
    "PerformingPhysicianIdentificationSequence",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansReadingStudyIdentificationSequence",
    "RequestedProcedurePriority",
    "CurrentPatientLocation",
    "PatientInstitutionResidence",
    "AdmissionID",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "TimezoneOffsetFromUTC",
)

SERIES = tags(
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "SeriesTime",
    "BodyPartExamined",
    "Laterality",
    "PatientPosition",
    "ProtocolName",
    "OperatorsName",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "BurnedInAnnotation",
    "PerformedProcedureStepDescription",
    "PresentationIntentType",
)


def text(data: Dataset, tag: int) -> str:
    """An element's value as text without padding (PS3.5 section 6.2): empty when absent.

    Several values are joined by the backslash that parted them. Trailing NULs are padding, as they are in UI.
    """
    element = data.get(tag)
    value = None if element is None else element.value
    if value is None:
        return ""
    joined = "\\".join(str(part) for part in value) if isinstance(value, MultiValue | list) else str(value)
    return joined.rstrip(" \0").lstrip(" ")


class AttributeCache:
    """Encodes a level's attributes; the same raw bytes give the same JSON without being decoded again.

    One for each association: the slices of a series differ in nothing that stands here.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    def encode(self, data: Dataset, tags: tuple[int, ...], more: dict[str, Any] | None = None) -> bytes:
        """DICOM JSON (UTF-8) of those of ``tags`` that are present and not oversized, and of ``more``."""
        present = [element for tag in tags if (element := data.get_item(tag)) is not None]
        raw = [cast(RawDataElement, element) for element in present if element.is_raw]
        # Without a value but with a length: too long to have been read, and nothing that a list shows.
        unread = {int(element.tag) for element in raw if element.value is None and element.length}
        chosen = [int(element.tag) for element in present if int(element.tag) not in unread]
        if _NAME in unread:
            more = {f"{_NAME:08X}": {"vr": "PN", "Value": [{"Alphabetic": _CUT}]}, **(more or {})}
        key = (tags, str(data.original_character_set), str(more), *((e.tag, e.VR, e.value) for e in raw))
        # Sequences of undefined length are parsed already and have no bytes to compare.
        cacheable = len(raw) == len(present)
        if cacheable and key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        encoded = _encode(data, chosen, more or {})
        if cacheable:
            self._known[key] = encoded
            if len(self._known) > _CACHE_ENTRIES:
                self._known.popitem(last=False)
        return encoded


def _encode(data: Dataset, tags: list[int], more: dict[str, Any]) -> bytes:
    out = dict(more)
    for tag in tags:
        element = data[tag]
        # suppress_invalid_tags: a birth date of "unknown" must not cost the picture.
        single = Dataset({element.tag: element})
        encoded = single.to_json_dict(suppress_invalid_tags=True)
        limit = _SEQUENCE_LIMIT_BYTES if element.VR == "SQ" else _VALUE_LIMIT_BYTES
        for name, value in encoded.items():
            shown = _cut(value, limit) if element.VR in TEXT_VRS and element.keyword not in _WHOLE else value
            if len(json.dumps(shown)) <= limit:
                out[name] = shown
    return json.dumps(out, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8", "replace")


def _cut(element: dict[str, Any], limit: int) -> dict[str, Any]:
    """A text or name that is too long as far as it goes, with an ellipsis: a blank would say that there is none."""
    value = (element.get("Value") or [""])[0]
    groups = dict(value) if isinstance(value, dict) else {"": str(value)}
    longest = max(map(len, groups.values()), default=0)
    while len(json.dumps(element)) > limit and longest:
        longest = longest * 7 // 8
        short = {name: text if len(text) <= longest else text[:longest] + _CUT for name, text in groups.items()}
        element = {**element, "Value": [short if isinstance(value, dict) else short[""]]}
    return element
