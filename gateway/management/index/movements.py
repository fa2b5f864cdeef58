"""The census's half of the index: movements as they came, and the stays that follow from them.

Functions take a Connection and leave the transaction to the caller, as in ``arrivals``.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.engine import metadata, next_revision
from gateway.management.index.releases import released, released_of_patient
from gateway.management.stays import NOWHERE, Place, Stay, place, stays
from gateway.middleware.movement import Change, Movement

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

movements = sa.Table(
    "movements",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("PatientID", sa.Text, nullable=False),
    sa.Column("IssuerOfPatientID", sa.Text, nullable=False),
    sa.Column("change", sa.String(24), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("ward", sa.String(256), nullable=False),
    sa.Column("bed", sa.String(256), nullable=False),
    sa.Column("PatientName", sa.Text, nullable=False),
    sa.Column("authority", sa.String(256), nullable=False),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("message", sa.String(64), nullable=False),
    sa.Column("noted_at", sa.Float, nullable=False),
    sa.Index("ix_movements_patient", "PatientID", "IssuerOfPatientID"),
    sa.Index("ix_movements_message", "message"),
)

stays_table = sa.Table(
    "stays",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("PatientID", sa.Text, nullable=False),
    sa.Column("IssuerOfPatientID", sa.Text, nullable=False),
    sa.Column("ward", sa.String(256), nullable=False),
    sa.Column("bed", sa.String(256), nullable=False),
    sa.Column("begins", sa.Float, nullable=False),
    sa.Column("ends", sa.Float, nullable=True),
    sa.Index("ix_stays_patient", "PatientID", "IssuerOfPatientID"),
    sa.Index("ix_stays_ends", "ends"),
)
"""Written anew for a patient with each movement, so that who lies where now is one look."""

_LOCATING = frozenset({Change.ADMIT, Change.TRANSFER, Change.DISCHARGE})
"""Of whom one of these was said, the census knows where they are; nothing else makes a patient known to it."""
_FIELDS = (
    "PatientID",
    "IssuerOfPatientID",
    "at",
    "ward",
    "bed",
    "PatientName",
    "authority",
    "source",
    "message",
)


@dataclass(frozen=True, slots=True)
class Inpatient:
    """Somebody who lies somewhere, or one of the stays of somebody who did."""

    PatientID: str
    IssuerOfPatientID: str
    PatientName: str
    stay: Stay


class Located:
    """Where patients lie, for the study of one of them: the same rule of issuers as for profiles.

    ``released`` are the ids of their studies that were released to them.
    """

    def __init__(self, places: Mapping[tuple[str, str], Place], released: Set[int] = frozenset()) -> None:
        """By PatientID and issuer, in canonical form; an empty issuer is none."""
        self._places = places
        self.released = released

    def of(self, PatientID: str, IssuerOfPatientID: str) -> Place | None:
        """Nowhere if the patient was discharged; None if the census does not know the patient at all."""
        stated = self.exactly(PatientID, IssuerOfPatientID)
        return stated if stated is not None else self.exactly(PatientID, "")

    def exactly(self, PatientID: str, IssuerOfPatientID: str) -> Place | None:
        """The same of a patient with just this issuer, or just none."""
        return self._places.get((PatientID, IssuerOfPatientID))


def digest(*parts: str) -> str:
    """What names a message, without saying whom it is about: 64 hex digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_known(connection: Connection, movement: Movement) -> bool:
    """Whether the same was said before: the same message again, or the same change of the same moment."""
    of_patient = _of(movements, movement.PatientID, movement.IssuerOfPatientID)
    same = sa.and_(
        of_patient,
        movements.c.change == str(movement.change),
        movements.c.ward == movement.ward,
        movements.c.bed == movement.bed,
    )
    if movement.change is Change.UPDATE:
        same = sa.and_(same, movements.c.PatientName == movement.PatientName)
    again = movements.c.at == movement.at
    if movement.message:
        again = sa.or_(again, movements.c.message == movement.message)
    query = sa.select(sa.literal(1)).where(same, again).limit(1)
    return connection.execute(query).first() is not None


def add(connection: Connection, movement: Movement, now: float) -> tuple[Place, Place]:
    """Enter a movement, and make the patient's stays anew; where the patient was before, and is now.

    If that changed, the patient's studies get a new revision: they are for others now.
    """
    values: dict[str, Any] = {name: getattr(movement, name) for name in _FIELDS}
    connection.execute(sa.insert(movements).values(change=str(movement.change), noted_at=now, **values))
    patient, issuer = movement.PatientID, movement.IssuerOfPatientID
    before = place([one.stay for one in history(connection, patient, issuer)])
    said = movements_of(connection, patient, issuer)
    found = stays(said)
    connection.execute(sa.delete(stays_table).where(_of(stays_table, patient, issuer)))
    for stay in found:
        row = {"ward": stay.ward, "bed": stay.bed, "begins": stay.begins, "ends": stay.ends}
        connection.execute(sa.insert(stays_table).values(PatientID=patient, IssuerOfPatientID=issuer, **row))
    after = place(found)
    if after != before or sum(one.change in _LOCATING for one in said) == 1:
        # The first word about a patient also ends what the headers' location says.
        _touch_studies(connection, patient)
    return before, after


def _touch_studies(connection: Connection, patient: str) -> None:
    """Studies keep the PatientID as it came; Hangul may have come in letters, and is compared whole."""
    forms = {patient, unicodedata.normalize("NFD", patient)}
    query = sa.select(t.studies.c.id).where(t.studies.c.PatientID.in_(sorted(forms))).order_by(t.studies.c.id)
    for study_id in connection.execute(query).scalars().all():
        revision = next_revision(connection)
        connection.execute(sa.update(t.studies).where(t.studies.c.id == study_id).values(revision=revision))


def _of(table: sa.Table, patient: str, issuer: str) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.PatientID == patient, table.c.IssuerOfPatientID == issuer)


def movements_of(connection: Connection, PatientID: str, IssuerOfPatientID: str) -> list[Movement]:
    """A patient's movements, in the order in which they came."""
    query = sa.select(movements).where(_of(movements, PatientID, IssuerOfPatientID)).order_by(movements.c.id)
    return [_movement(row) for row in connection.execute(query)]


def _movement(row: sa.Row[Any]) -> Movement:
    values = row._mapping
    return Movement(change=Change(values["change"]), **{name: values[name] for name in _FIELDS})


def authorities_of(connection: Connection, PatientID: str, IssuerOfPatientID: str) -> set[str]:
    """Who is said to give out this PatientID."""
    query = sa.select(movements.c.authority).where(_of(movements, PatientID, IssuerOfPatientID)).distinct()
    return {str(found) for found in connection.execute(query).scalars() if found}


def located(connection: Connection, PatientID: str | None = None) -> Located:
    """Where patients lie whom the census knows: all of them, or those with one PatientID (of whatever issuer)."""
    known = sa.select(movements.c.PatientID, movements.c.IssuerOfPatientID).distinct()
    known = known.where(movements.c.change.in_(sorted(_LOCATING)))
    here = sa.select(stays_table).where(stays_table.c.ends.is_(None))
    if PatientID is not None:
        known = known.where(movements.c.PatientID == PatientID)
        here = here.where(stays_table.c.PatientID == PatientID)
    places = {(str(row[0]), str(row[1])): NOWHERE for row in connection.execute(known)}
    for row in connection.execute(here):
        places[row.PatientID, row.IssuerOfPatientID] = Place(row.ward, row.bed)
    let_go = released(connection) if PatientID is None else released_of_patient(connection, PatientID)
    return Located(places, let_go)


def history(connection: Connection, PatientID: str, IssuerOfPatientID: str) -> list[Inpatient]:
    """A patient's stays, the earliest first."""
    query = sa.select(stays_table).where(_of(stays_table, PatientID, IssuerOfPatientID))
    return _inpatients(connection, query.order_by(stays_table.c.begins, stays_table.c.id))


def inpatients(connection: Connection, at: float | None = None) -> list[Inpatient]:
    """Who lies where now, or lay at a moment (POSIX seconds), by ward and bed."""
    query = sa.select(stays_table)
    if at is None:
        query = query.where(stays_table.c.ends.is_(None))
    else:
        is_over = sa.or_(stays_table.c.ends.is_(None), stays_table.c.ends > at)
        query = query.where(stays_table.c.begins <= at, is_over)
    return _inpatients(connection, query.order_by(stays_table.c.ward, stays_table.c.bed, stays_table.c.PatientID))


def _inpatients(connection: Connection, query: sa.Select[Any]) -> list[Inpatient]:
    rows = connection.execute(query).all()
    names = _names(connection, {str(row.PatientID) for row in rows}) if rows else {}
    return [
        Inpatient(
            row.PatientID,
            row.IssuerOfPatientID,
            names.get((row.PatientID, row.IssuerOfPatientID), ""),
            Stay(row.ward, row.bed, row.begins, row.ends),
        )
        for row in rows
    ]


_BATCH = 500


def _names(connection: Connection, patients: Collection[str]) -> dict[tuple[str, str], str]:
    """The name that was said last of each."""
    ids, found = sorted(patients), dict[tuple[str, str], str]()
    for start in range(0, len(ids), _BATCH):
        query = sa.select(movements.c.PatientID, movements.c.IssuerOfPatientID, movements.c.PatientName).where(
            movements.c.PatientID.in_(ids[start : start + _BATCH]), movements.c.PatientName != ""
        )
        for row in connection.execute(query.order_by(movements.c.at, movements.c.id)):
            found[row.PatientID, row.IssuerOfPatientID] = str(row.PatientName)
    return found
