"""A search: what the own store has, what the PACS answered, and of both what the one who asks may know of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection

from gateway.management import matching
from gateway.management.census import People
from gateway.management.index import arrivals_read, grants, movements
from gateway.management.index.movements import Located
from gateway.management.index.people import Profile
from gateway.management.matching import Attributes, texts
from gateway.management.routing import canonical, split_patient
from gateway.management.sharing import with_shared
from gateway.management.whereabouts import entitled
from gateway.middleware.pacs.query import Hit, Query
from wire import asks
from wire.limits import MAX_HITS
from wire.objects import deflate_json

MOST = 1000
"""Studies that one search ever finds; a narrower one finds the rest."""
_LOOKED_AT = 20_000
_PAGE = 500
_MOST_CHARACTERS = 256
_UID, _DATE, _TIME, _ID, _ISSUER = "0020000D", "00080020", "00080030", "00100020", "00100021"
_MODALITIES, _MODALITY, _COUNT, _BODY_PART = "00080061", "00080060", "00201208", "00180015"
_SHOWN = (
    *(_DATE, _TIME, "00080050", _MODALITIES, "00080090", "00081030"),
    *("00100010", _ID, _ISSUER, "00100030", "00100040", _BODY_PART, _UID, "00200010", _COUNT),
)
"""What a line of the answer holds."""


@dataclass(slots=True)
class Line:
    """One study that was found: in the own store, in PACS, or in both."""

    attributes: Attributes
    own: bool = False
    pacs: list[str] = field(default_factory=list)

    @property
    def uid(self) -> str:
        """StudyInstanceUID."""
        return next(texts(self.attributes, _UID), "")

    @property
    def at(self) -> str:
        """Date and time, by which lines are ordered."""
        return next(texts(self.attributes, _DATE), "") + next(texts(self.attributes, _TIME), "")


def own_lines(connection: Connection, there: People, profile: Profile, search: asks.Search, now_ms: int) -> list[Line]:
    """What the own store has that matches, and that this profile may know of; the latest arrivals first."""
    located = movements.located(connection)
    given = grants.by_study(connection, now_ms)
    found: list[Line] = []
    for offset in range(0, _LOOKED_AT, _PAGE):
        page = arrivals_read.studies(connection, limit=_PAGE, offset=offset)
        for study in page:
            attributes: Attributes = json.loads(study.attributes)
            if not matching.matches_study(search, attributes):
                continue
            theirs = with_shared(entitled(study, there.rules, located), given.get(study.id, ()), there)
            if all(one.reference != profile.reference for one in theirs):
                continue
            series = [json.loads(one.attributes) for one in arrivals_read.series_of(connection, study.id)]
            if matching.matches(search, attributes, series):
                found.append(Line(_summed_up(attributes, series, study.NumberOfStudyRelatedInstances), own=True))
        if len(page) < _PAGE or len(found) >= MOST:
            break
    return found


def _summed_up(study: Attributes, series: Sequence[Attributes], count: int) -> Attributes:
    found = dict(study)
    for tag, of in ((_MODALITIES, _MODALITY), (_BODY_PART, _BODY_PART)):
        if values := sorted({text for one in series for text in texts(one, of)}):
            found[tag] = {"vr": "CS", "Value": values}
    found[_COUNT] = {"vr": "IS", "Value": [count]}
    return found


# ── the PACS ──────────────────────────────────────────────────────────────────────────────────────────────────────


def query_of(profile: Profile, search: asks.Search) -> Query | None:
    """What every PACS is asked; None: nothing of a PACS can be for this profile. A patient is asked for alone."""
    filters = {
        keyword: getattr(search, keyword)
        for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDate", "StudyDescription")
        if getattr(search, keyword).strip("*")
    }
    if search.ModalitiesInStudy:
        filters["ModalitiesInStudy"] = "\\".join(search.ModalitiesInStudy)
    if profile.kind == "patient":
        own = split_patient(profile.identifier)[0]
        if search.PatientID and not matching.fits(search.PatientID, own):
            return None
        filters["PatientID"] = own
    return Query("STUDY", filters)


def is_for(there: People, located: Located, profile: Profile, attributes: Attributes) -> bool:
    """Whether a study that only a PACS has would be for this profile."""
    patient, issuer = next(texts(attributes, _ID), ""), next(texts(attributes, _ISSUER), "")
    where = located.of(canonical(patient), canonical(issuer))
    if profile.kind == "patient" and there.access.release != "automatic":
        return False  # nobody has released what is not here
    theirs = there.rules.recipients(attributes, patient, issuer, None if where is None else where.ward)
    return any(one.reference == profile.reference for one in theirs)


def merged(own: Iterable[Line], hits: Iterable[Hit]) -> list[Line]:
    """One line for each study, the latest first; of a study that is here, too, the own attributes stand."""
    lines = {line.uid: line for line in own}
    for hit in hits:
        uid = next(texts(hit.attributes, _UID), "")
        line = lines.setdefault(uid, Line(hit.attributes))
        if hit.pacs not in line.pacs:
            line.pacs.append(hit.pacs)
    return sorted((line for line in lines.values() if line.uid), key=lambda line: (line.at, line.uid), reverse=True)


def page_of(lines: Sequence[Line], page: int, silent: Sequence[str]) -> asks.Found:
    """A page as it is answered."""
    shown = lines[page * MAX_HITS : (page + 1) * MAX_HITS]
    return asks.Found(
        studies=[asks.Place(line.uid, line.own, line.pacs[:16]) for line in shown],
        attributes=deflate_json({"studies": [dict(_shown(line.attributes)) for line in shown]}),
        more=len(lines) > (page + 1) * MAX_HITS,
        silent=list(silent)[:16],
    )


def _shown(attributes: Attributes) -> Iterator[tuple[str, object]]:
    for tag in _SHOWN:
        element = attributes.get(tag)
        if element and element.get("Value"):
            yield tag, {"vr": element["vr"], "Value": [_bounded(value) for value in element["Value"][:16]]}


def _bounded(value: object) -> object:
    if isinstance(value, dict):
        return {str(key)[:16]: str(text)[:_MOST_CHARACTERS] for key, text in list(value.items())[:3]}
    return value[:_MOST_CHARACTERS] if isinstance(value, str) else value
