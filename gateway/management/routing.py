"""Who a study is for: rules over its attributes and the profiles. Pure; reads nothing, keeps nothing.

- its patient: the profile whose identifier is the PatientID;
- doctors whom the header names (referring, requesting, performing, reading), by identifier or by name, and doctors who
  attend the patient (``*`` attends all);
- the ward of the current patient location, and wards that attend the patient.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gateway.management.index.people import Profile

Attributes = dict[str, Any]
"""DICOM JSON model (PS3.18 F): tag as 8 hex digits to ``{"vr": …, "Value": […]}``."""

_PHYSICIANS = ("00080090", "00081050", "00321032", "00081060", "00081048")
"""Referring, Performing, Requesting, NameOfPhysiciansReadingStudy, PhysiciansOfRecord."""
_IDENTIFICATIONS = ("00080096", "00081052", "00321031", "00081062", "00081049")
"""The identification sequences of the same."""
_PERSON_IDENTIFICATION_CODES = "00401101"
_CODE_VALUE = "00080100"
_LOCATION = "00380300"
ALL = "*"


def recipients(attributes: Attributes, PatientID: str, profiles: Sequence[Profile]) -> list[Profile]:
    """The profiles that the study is for, in the order of ``profiles``."""
    named = set(_doctors_named(attributes, [p for p in profiles if p.kind == "doctor"]))
    locations = {_fold(text) for text in _texts(attributes, _LOCATION)}
    return [p for p in profiles if _is_for(p, PatientID, named, locations)]


def _is_for(profile: Profile, PatientID: str, named: set[str], locations: set[str]) -> bool:
    if profile.kind == "patient":
        return bool(PatientID) and profile.identifier == PatientID
    if ALL in profile.attends or (PatientID and PatientID in profile.attends):
        return True
    if profile.kind == "doctor":
        return profile.reference in named
    return bool({_fold(profile.identifier), _fold(profile.name)} & locations - {""})


def _doctors_named(attributes: Attributes, doctors: Sequence[Profile]) -> Iterator[str]:
    """References of doctors whom the header names. A name that fits several doctors names none of them."""
    identifiers = set(_identifiers(attributes))
    names = [set(name_forms(name)) for tag in _PHYSICIANS for name in _names(attributes, tag)]
    by_identifier = {d.reference for d in doctors if d.identifier in identifiers}
    yield from by_identifier
    for forms in names:
        fitting = [d for d in doctors if _fold(d.identifier) in forms or forms & set(name_forms(d.name))]
        if len(fitting) == 1:
            yield fitting[0].reference


def _identifiers(attributes: Attributes) -> Iterator[str]:
    for tag in _IDENTIFICATIONS:
        for item in _values(attributes, tag):
            for code in _values(item, _PERSON_IDENTIFICATION_CODES):
                yield from _texts(code, _CODE_VALUE)


def name_forms(name: str) -> Iterator[str]:
    """The spellings by which a name is compared: each component group, family name first and last.

    ``"Kim^Min Su=金^民秀"`` gives ``kim min su``, ``min su kim``, ``金 民秀`` and ``民秀 金``.
    """
    for group in name.split("="):
        family, _, given = group.partition("^")
        given = given.partition("^")[0]
        parts = [_fold(part) for part in (family, given)]
        if parts[0]:
            yield " ".join(filter(None, parts))
            yield " ".join(filter(None, reversed(parts)))


def _fold(text: str) -> str:
    return " ".join(text.replace("^", " ").casefold().split())


def _values(attributes: Attributes, tag: str) -> Iterable[Any]:
    found = attributes.get(tag, {}).get("Value", [])
    return found if isinstance(found, list) else []


def _texts(attributes: Attributes, tag: str) -> Iterator[str]:
    return (value for value in _values(attributes, tag) if isinstance(value, str) and value)


def _names(attributes: Attributes, tag: str) -> Iterator[str]:
    for value in _values(attributes, tag):
        if isinstance(value, dict):
            groups = (value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
            yield "=".join(groups).rstrip("=")
