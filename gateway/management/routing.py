"""Who a study is for: rules over its attributes and the profiles. Pure; reads nothing, keeps nothing.

- its patient: the profile whose identifier is the PatientID, and whose issuer, where it states one, is the study's;
- doctors whom the header names (referring, consulting, requesting, performing, reading), by identifier or by name, and
  doctors who attend the patient (``*`` attends all);
- the ward where the patient lies: as the census says, if it knows the patient, else as the header does; and wards that
  attend the patient.

Texts are compared in Unicode's normalization form C, since a Hangul syllable may come whole or in letters; names also
without regard to case.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.config import Access
from gateway.management.access import Relation
from gateway.management.index.people import Profile

Attributes = dict[str, Any]
"""DICOM JSON model (PS3.18 F): tag as 8 hex digits to ``{"vr": …, "Value": […]}``."""

_PHYSICIANS = ("00080090", "0008009C", "00081050", "00321032", "00081060", "00081048")
"""Referring, Consulting, Performing, Requesting, NameOfPhysiciansReadingStudy, PhysiciansOfRecord."""
_IDENTIFICATIONS = ("00080096", "0008009D", "00081052", "00321031", "00081062", "00081049")
"""The identification sequences of the same."""
_PERSON_IDENTIFICATION_CODES = "00401101"
_CODE_VALUE = "00080100"
_LOCATION = "00380300"
ALL = "*"


def canonical(identifier: str) -> str:
    """An identifier as it is kept and compared: form C, without the blanks that DICOM pads with (PS3.5 section 6.2)."""
    return unicodedata.normalize("NFC", identifier).strip()


_ISSUER_MARK = "^^^"


def split_patient(identifier: str) -> tuple[str, str]:
    """``(PatientID, IssuerOfPatientID)`` of ``ID^^^ISSUER`` (as HL7 v2 CX writes it), or of ``ID`` with no issuer."""
    patient, mark, issuer = identifier.rpartition(_ISSUER_MARK)
    return (canonical(patient), canonical(issuer)) if mark else (canonical(identifier), "")


def join_patient(patient: str, issuer: str) -> str:
    """The inverse; no mark where there is no issuer."""
    return f"{canonical(patient)}{_ISSUER_MARK}{canonical(issuer)}" if canonical(issuer) else canonical(patient)


class _Patients:
    """Positions of profiles by PatientID and the issuer that they state; an empty issuer is none."""

    def __init__(self) -> None:
        self._stated: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))

    def add(self, identifier: str, position: int) -> None:
        patient, issuer = split_patient(identifier)
        self._stated[patient][issuer].add(position)

    def fitting(self, patient: str, issuer: str) -> set[int]:
        """Who states this issuer, or none."""
        stated: Mapping[str, set[int]] = self._stated.get(patient, {})
        return stated.get(issuer, set()) | stated.get("", set())

    def of_one(self, patient: str, issuer: str) -> set[int]:
        """The same, but who states none gives way to who states this one: two patients must not be taken for one."""
        stated: Mapping[str, set[int]] = self._stated.get(patient, {})
        return stated.get(issuer, set()) or stated.get("", set())


class Rules:
    """Profiles, ordered so that a study's recipients are found without looking at each of them."""

    def __init__(self, profiles: Sequence[Profile], access: Access | None = None) -> None:
        """Of ``profiles``, which stay as they are."""
        self.access = access or Access()
        self._profiles = tuple(profiles)
        self._patients, self._attending, self._emergency = _Patients(), _Patients(), _Patients()
        self._doctors: defaultdict[str, set[int]] = defaultdict(set)
        self._doctor_names: defaultdict[str, set[int]] = defaultdict(set)
        self._wards: defaultdict[str, set[int]] = defaultdict(set)
        for position, profile in enumerate(self._profiles):
            self._enter(position, profile)

    def _enter(self, position: int, profile: Profile) -> None:
        if profile.kind == "patient":
            self._patients.add(profile.identifier, position)
            return
        for patient in profile.attends:
            self._attending.add(patient, position)
        for term in profile.terms:
            (self._attending if term.role == "attending" else self._emergency).add(term.patient, position)
        if profile.kind == "doctor":
            self._doctors[canonical(profile.identifier)].add(position)
            for form in {*name_forms(profile.name), _fold(profile.identifier)} - {""}:
                self._doctor_names[form].add(position)
        else:
            for text in {_fold(profile.identifier), _fold(profile.name)} - {""}:
                self._wards[text].add(position)

    def recipients(
        self, attributes: Attributes, PatientID: str, IssuerOfPatientID: str = "", ward: str | None = None
    ) -> list[Profile]:
        """The profiles that the study is for, in the order of all profiles; see ``relations``."""
        return [profile for profile, _ in self.relations(attributes, PatientID, IssuerOfPatientID, ward)]

    def relations(
        self, attributes: Attributes, PatientID: str, IssuerOfPatientID: str = "", ward: str | None = None
    ) -> list[tuple[Profile, Relation]]:
        """The profiles that the study is for and why, in the order of all profiles; of several reasons the strongest.

        ``ward`` is where the census says that the patient lies, empty for nowhere; None: it does not know the patient,
        and the header's CurrentPatientLocation stands.
        """
        found: dict[int, Relation] = {}
        patient, issuer = canonical(PatientID), canonical(IssuerOfPatientID)
        for text in _texts(attributes, _LOCATION) if ward is None else [ward]:
            found |= dict.fromkeys(self._wards_named(text), "ward")
        found |= dict.fromkeys(self._doctors_named(attributes), "referring")
        if patient and patient != ALL:
            found |= dict.fromkeys(self._emergency.fitting(patient, issuer), "emergency")
            found |= dict.fromkeys(self._attending.fitting(patient, issuer), "attending")
            found |= dict.fromkeys(self._patients.of_one(patient, issuer), "own")
        found |= dict.fromkeys(self._attending.fitting(ALL, ""), "attending")
        return [(self._profiles[position], found[position]) for position in sorted(found)]

    def wards_named(self, text: str) -> list[Profile]:
        """The wards that have this identifier or name."""
        return [self._profiles[position] for position in sorted(self._wards_named(text))]

    def _wards_named(self, text: str) -> set[int]:
        return self._wards.get(_fold(text), set())

    def _doctors_named(self, attributes: Attributes) -> Iterator[int]:
        """Doctors whom the header names. A name that fits several doctors names none of them."""
        for identifier in _identifiers(attributes):
            yield from self._doctors.get(canonical(identifier), ())
        for tag in _PHYSICIANS:
            for name in _names(attributes, tag):
                fitting: set[int] = set()
                for form in name_forms(name):
                    fitting |= self._doctor_names.get(form, set())
                if len(fitting) == 1:
                    yield from fitting


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
    return " ".join(unicodedata.normalize("NFC", text).replace("^", " ").casefold().split())


def _values(attributes: Any, tag: str) -> Iterable[Any]:
    element = attributes.get(tag) if isinstance(attributes, dict) else None
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def _texts(attributes: Any, tag: str) -> Iterator[str]:
    return (value for value in _values(attributes, tag) if isinstance(value, str) and value)


def _names(attributes: Attributes, tag: str) -> Iterator[str]:
    for value in _values(attributes, tag):
        if isinstance(value, dict):
            groups = (value.get(group) for group in ("Alphabetic", "Ideographic", "Phonetic"))
            yield "=".join(group if isinstance(group, str) else "" for group in groups).rstrip("=")
