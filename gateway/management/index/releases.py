"""Studies that were released to their patients. Functions take a Connection."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index import deliveries
from gateway.management.index.engine import metadata

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.String(300), nullable=False),
)


def release(connection: Connection, study_id: int, by: str, now: float) -> bool:
    """Let the patient have the study; False if it was released before."""
    if study_id in released(connection, [study_id]):
        return False
    connection.execute(sa.insert(releases).values(study_id=study_id, at=now, by=by))
    deliveries.touch(connection, study_id)
    return True


def hold(connection: Connection, study_id: int) -> bool:
    """Hold the study back again; False if it was not released."""
    if not connection.execute(sa.delete(releases).where(releases.c.study_id == study_id)).rowcount:
        return False
    deliveries.touch(connection, study_id)
    return True


def released(connection: Connection, study_ids: list[int] | None = None) -> frozenset[int]:
    """Those of the studies, or of all, that were released."""
    query = sa.select(releases.c.study_id)
    if study_ids is not None:
        query = query.where(releases.c.study_id.in_(study_ids))
    return frozenset(int(found) for found in connection.execute(query).scalars())


def released_of_patient(connection: Connection, PatientID: str) -> frozenset[int]:
    """Those of a patient's studies that were released."""
    query = sa.select(releases.c.study_id).join(t.studies, t.studies.c.id == releases.c.study_id)
    return frozenset(
        int(found) for found in connection.execute(query.where(t.studies.c.PatientID == PatientID)).scalars()
    )


def coming_of_age(connection: Connection, after: float, until: float) -> list[int]:
    """Studies whose last arrival lies in ``(after, until]``."""
    query = sa.select(t.studies.c.id).where(t.studies.c.last_arrival_at > after, t.studies.c.last_arrival_at <= until)
    return [int(found) for found in connection.execute(query).scalars()]
