"""The census where studies are told: who gets one because of where its patient lies, and what is said of it."""

from __future__ import annotations

import json
import time

from gateway.config import Access
from gateway.management.access import Relation
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.movements import Located
from gateway.management.index.people import Profile
from gateway.management.routing import Rules, canonical
from gateway.management.stays import Place

_LOCATION = "00380300"
_DAY_S = 86400.0
_MOST_CHARACTERS = 64
"""Of an LO (PS3.5 section 6.2)."""


def whereabouts(study: StudyRow, located: Located) -> Place | None:
    """Where the study's patient lies; nowhere after a discharge, None if the census does not know the patient."""
    return located.of(canonical(study.PatientID), canonical(study.IssuerOfPatientID))


def entitled(study: StudyRow, rules: Rules, located: Located) -> list[Profile]:
    """The profiles that a study is for, by rules, profiles and the census, now."""
    return [profile for profile, _ in relations(study, rules, located)]


def relations(study: StudyRow, rules: Rules, located: Located) -> list[tuple[Profile, Relation]]:
    """The same with why. Its patient is not among them before its release, a doctor of the header not after a time."""
    where = whereabouts(study, located)
    ward = None if where is None else where.ward
    found = rules.relations(json.loads(study.attributes), study.PatientID, study.IssuerOfPatientID, ward)
    shut: set[Relation] = set()
    age_s = time.time() - study.last_arrival_at
    if not is_released(study, rules.access, located, age_s):
        shut.add("own")
    if age_s > rules.access.referring_days * _DAY_S:
        shut.add("referring")
    return [(profile, relation) for profile, relation in found if relation not in shut]


def is_released(study: StudyRow, access: Access, located: Located, age_s: float) -> bool:
    """Whether the study's patient may have it."""
    is_due = access.release == "after" and age_s >= access.release_after_h * 3600
    return access.release == "automatic" or is_due or study.id in located.released


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
