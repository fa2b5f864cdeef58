"""Reading what arrived: studies, series, instances, conflicts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.arrivals_rows import ConflictRow, InstanceRow, SeriesRow, StudyRow

_NEWEST_FIRST = (t.studies.c.last_arrival_at.desc(), t.studies.c.id.desc())


def changed_studies(connection: Connection, after_revision: int, limit: int = 1000) -> list[StudyRow]:
    """Studies that changed after a revision, ascending by revision; the last one's is where to go on."""
    query = sa.select(t.studies).where(t.studies.c.revision > after_revision).order_by(t.studies.c.revision)
    return _studies(connection, query.limit(limit))


def newest_revision(connection: Connection) -> int:
    """That of the study that changed last; 0 where there is none."""
    return int(connection.execute(sa.select(sa.func.max(t.studies.c.revision))).scalar() or 0)


def study(connection: Connection, StudyInstanceUID: str) -> StudyRow | None:
    """One study by its UID."""
    found = _studies(connection, sa.select(t.studies).where(t.studies.c.StudyInstanceUID == StudyInstanceUID))
    return found[0] if found else None


def study_by_id(connection: Connection, study_id: int) -> StudyRow | None:
    """One study by its row id."""
    found = _studies(connection, sa.select(t.studies).where(t.studies.c.id == study_id))
    return found[0] if found else None


def studies(connection: Connection, limit: int = 1000, offset: int = 0) -> list[StudyRow]:
    """Studies, the latest arrival first."""
    return _studies(connection, sa.select(t.studies).order_by(*_NEWEST_FIRST).limit(limit).offset(offset))


def studies_of_patient(connection: Connection, PatientID: str, IssuerOfPatientID: str | None = None) -> list[StudyRow]:
    """A patient's studies, the latest arrival first; without an issuer those of any."""
    query = sa.select(t.studies).where(t.studies.c.PatientID == PatientID)
    if IssuerOfPatientID is not None:
        query = query.where(t.studies.c.IssuerOfPatientID == IssuerOfPatientID)
    return _studies(connection, query.order_by(*_NEWEST_FIRST))


def series_of(connection: Connection, study_id: int) -> list[SeriesRow]:
    """A study's series in the order in which they first came."""
    query = sa.select(t.series).where(t.series.c.study_id == study_id).order_by(t.series.c.id)
    return [SeriesRow(**row._mapping) for row in connection.execute(query)]


def instances_of(connection: Connection, study_id: int, state: str | None = None) -> list[InstanceRow]:
    """A study's instances by series and InstanceNumber (those without one last), all or those in one state."""
    query = sa.select(t.instances).where(t.instances.c.study_id == study_id)
    if state is not None:
        query = query.where(t.instances.c.state == str(state))
    order = (t.instances.c.series_id, t.instances.c.InstanceNumber.is_(None), t.instances.c.InstanceNumber)
    return [InstanceRow(**row._mapping) for row in connection.execute(query.order_by(*order, t.instances.c.id))]


def instance(connection: Connection, SOPInstanceUID: str) -> InstanceRow | None:
    """One instance by its UID."""
    query = sa.select(t.instances).where(t.instances.c.SOPInstanceUID == SOPInstanceUID)
    row = connection.execute(query).first()
    return None if row is None else InstanceRow(**row._mapping)


def is_referenced(connection: Connection, digest: str) -> bool:
    """Whether the index knows a file of the archive: as an instance that is not evicted, or as a conflict."""
    held = sa.select(sa.literal(1)).where(t.instances.c.digest == digest, t.instances.c.state != "evicted")
    apart = sa.select(sa.literal(1)).where(t.conflicts.c.digest == digest)
    return connection.execute(sa.union_all(held, apart).limit(1)).first() is not None


def list_conflicts(connection: Connection, limit: int = 1000) -> list[ConflictRow]:
    """What was kept apart, the latest first."""
    query = sa.select(t.conflicts).order_by(t.conflicts.c.id.desc()).limit(limit)
    return [ConflictRow(**row._mapping) for row in connection.execute(query)]


def _studies(connection: Connection, query: sa.Select[Any]) -> list[StudyRow]:
    return [StudyRow(**row._mapping) for row in connection.execute(query)]
