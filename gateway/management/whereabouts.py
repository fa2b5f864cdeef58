"""The census where studies are told: who gets one because of where its patient lies, and what is said of it. Pure."""

from __future__ import annotations

import json

from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.movements import Located
from gateway.management.index.people import Profile
from gateway.management.routing import Rules, canonical
from gateway.management.stays import Place

_LOCATION = "00380300"
_MOST_CHARACTERS = 64
"""Of an LO (PS3.5 section 6.2)."""


def whereabouts(study: StudyRow, located: Located) -> Place | None:
    """Where the study's patient lies; nowhere after a discharge, None if the census does not know the patient."""
    return located.of(canonical(study.PatientID), canonical(study.IssuerOfPatientID))


def entitled(study: StudyRow, rules: Rules, located: Located) -> list[Profile]:
    """The profiles that a study is for, by rules, profiles and the census."""
    where = whereabouts(study, located)
    ward = None if where is None else where.ward
    return rules.recipients(json.loads(study.attributes), study.PatientID, study.IssuerOfPatientID, ward)


def placed_at(attributes: bytes, where: Place | None) -> bytes:
    """A study's attributes (DICOM JSON) with the CurrentPatientLocation that the census says.

    ``WARD^BED``, the bed as ``ROOM-BED`` where it has both; the ward alone where no bed is known. After a discharge
    there is none, and of a patient whom the census does not know the header's stays.
    """
    if where is None:
        return attributes
    found = json.loads(attributes)
    found.pop(_LOCATION, None)
    if where.ward:
        text = f"{where.ward}^{where.bed}" if where.bed else where.ward
        found[_LOCATION] = {"vr": "LO", "Value": [text[:_MOST_CHARACTERS]]}
    return json.dumps(dict(sorted(found.items())), ensure_ascii=False, separators=(",", ":")).encode()
