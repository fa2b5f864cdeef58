"""The few attributes that a device reads from the DICOM JSON model (PS3.18 annex F), as plain strings."""

from datetime import datetime
from typing import Any

TAGS = {
    "SpecificCharacterSet": "00080005",
    "StudyDate": "00080020",
    "ContentDate": "00080023",
    "StudyTime": "00080030",
    "ContentTime": "00080033",
    "AccessionNumber": "00080050",
    "Modality": "00080060",
    "ModalitiesInStudy": "00080061",
    "StudyDescription": "00081030",
    "ReferencedSOPInstanceUID": "00081155",
    "SeriesDescription": "0008103E",
    "PatientName": "00100010",
    "PatientID": "00100020",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "BodyPartExamined": "00180015",
    "RecommendedDisplayFrameRate": "00082144",
    "CineRate": "00180040",
    "FrameTime": "00181063",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SeriesNumber": "00200011",
    "InstanceNumber": "00200013",
    "PhotometricInterpretation": "00280004",
    "NumberOfFrames": "00280008",
    "Rows": "00280010",
    "Columns": "00280011",
    "PredecessorDocumentsSequence": "0040A360",
    "CompletionFlag": "0040A491",
    "VerificationFlag": "0040A493",
    "PreliminaryFlag": "0040A496",
    "CurrentPatientLocation": "00380300",
    "RequestedProcedurePriority": "00401003",
    "DocumentTitle": "00420010",
    "ModifiedAttributesSequence": "04000550",
    "OriginalAttributesSequence": "04000561",
    "SharedBy": "00911001",
    "SharedUntil": "00911002",
    "BlankAfter": "00911003",
}
"""Keyword to tag (PS3.6); the last three are the gateway's own (docs/protocol.md)."""

GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
DataSet = dict[str, Any]


def values(data_set: DataSet, keyword: str) -> list[Any]:
    """The values of an attribute; empty if it is missing, empty or not of the model's form."""
    element = data_set.get(TAGS[keyword])
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def text(data_set: DataSet, keyword: str) -> str:
    """All values as one string, with DICOM's own separator; of a name its alphabetic group."""
    return "\\".join(_plain(value, GROUPS[0]) for value in values(data_set, keyword))


def name_groups(data_set: DataSet, keyword: str = "PatientName") -> dict[str, str]:
    """A name's groups as ``{"PatientName": …, "PatientNameIdeographic": …}``; the first is always there."""
    found = values(data_set, keyword)
    name = found[0] if found else {}
    groups = {f"{keyword}{group}": _plain(name, group) for group in GROUPS[1:]}
    return {keyword: _plain(name, GROUPS[0]), **{key: group for key, group in groups.items() if group}}


def is_guessed(data_set: DataSet) -> bool:
    """Whether the gateway read the text against what its file declares, or without a declaration (docs/protocol.md)."""
    modified = [
        one
        for item in values(data_set, "OriginalAttributesSequence")
        if isinstance(item, dict)
        for one in values(item, "ModifiedAttributesSequence")
    ]
    return any(isinstance(one, dict) and TAGS["SpecificCharacterSet"] in one for one in modified)


def shared(data_set: DataSet) -> list[dict[str, str | None]]:
    """Who shared a study with this recipient, which has it by that alone, until when (ISO 8601; None: no end)."""
    untils = values(data_set, "SharedUntil")
    return [
        {"by": str(giver), "until": _moment(untils[place]) if place < len(untils) else None}
        for place, giver in enumerate(values(data_set, "SharedBy"))
    ]


def _moment(value: Any) -> str | None:
    try:
        return datetime.strptime(str(value), "%Y%m%d%H%M%S%z").astimezone().isoformat(timespec="minutes")
    except ValueError:
        return None


def _plain(value: Any, group: str) -> str:
    if isinstance(value, dict):
        value = value.get(group)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None or isinstance(value, dict | list) else str(value)
