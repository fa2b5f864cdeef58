"""What was fetched whole from a PACS, and what is here of a study. Functions take a Connection."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.engine import metadata

retrieved = sa.Table(
    "retrieved",
    metadata,
    sa.Column("StudyInstanceUID", sa.String(64), primary_key=True),
    sa.Column("SeriesInstanceUID", sa.String(64), primary_key=True),
    sa.Column("pacs", sa.String(32), nullable=False),
    sa.Column("whole_at", sa.Float, nullable=False),
)
"""SeriesInstanceUID is empty for the whole study. ``whole_at``: then all that the PACS had was here; 0: it is being
fetched, or that was cut."""

_BATCH = 500


def here(connection: Connection, StudyInstanceUID: str, SeriesInstanceUID: str = "") -> dict[str, bool]:
    """SOPInstanceUID of each instance that is known of a study, or of a series: whether its file is here."""
    query = (
        sa.select(t.instances.c.SOPInstanceUID, t.instances.c.state)
        .join(t.studies, t.studies.c.id == t.instances.c.study_id)
        .where(t.studies.c.StudyInstanceUID == StudyInstanceUID)
    )
    if SeriesInstanceUID:
        query = query.join(t.series, t.series.c.id == t.instances.c.series_id)
        query = query.where(t.series.c.SeriesInstanceUID == SeriesInstanceUID)
    return {str(row.SOPInstanceUID): row.state != "evicted" for row in connection.execute(query)}


def places(connection: Connection, SOPInstanceUIDs: Sequence[str]) -> dict[str, tuple[str, str]]:
    """SOPInstanceUID to SeriesInstanceUID and SOPClassUID of instances that are known."""
    found: dict[str, tuple[str, str]] = {}
    for start in range(0, len(SOPInstanceUIDs), _BATCH):
        query = (
            sa.select(t.instances.c.SOPInstanceUID, t.series.c.SeriesInstanceUID, t.instances.c.SOPClassUID)
            .join(t.series, t.series.c.id == t.instances.c.series_id)
            .where(t.instances.c.SOPInstanceUID.in_(SOPInstanceUIDs[start : start + _BATCH]))
        )
        found |= {str(uid): (str(series), str(kind)) for uid, series, kind in connection.execute(query)}
    return found


def whole_from(connection: Connection, StudyInstanceUID: str, SeriesInstanceUID: str, since: float) -> str:
    """The PACS from which the series, or its whole study, was fetched after ``since``; empty: it was not."""
    query = (
        sa.select(retrieved.c.pacs)
        .where(retrieved.c.StudyInstanceUID == StudyInstanceUID, retrieved.c.whole_at > since)
        .where(retrieved.c.SeriesInstanceUID.in_({"", SeriesInstanceUID}))
        .order_by(retrieved.c.whole_at.desc())
    )
    return str(connection.execute(query.limit(1)).scalar() or "")


def note_begun(connection: Connection, StudyInstanceUID: str, SeriesInstanceUID: str, pacs: str) -> None:
    """It is being fetched: unless its end is noted, too, it was cut."""
    _put(connection, StudyInstanceUID, SeriesInstanceUID, pacs, 0.0)


def note_whole(connection: Connection, StudyInstanceUID: str, SeriesInstanceUID: str, pacs: str, at: float) -> None:
    """All that this PACS has of it is here."""
    if not SeriesInstanceUID:  # with the study its series are whole
        cut = (retrieved.c.StudyInstanceUID == StudyInstanceUID, retrieved.c.whole_at == 0.0)
        connection.execute(sa.delete(retrieved).where(*cut))
    _put(connection, StudyInstanceUID, SeriesInstanceUID, pacs, at)


def note_over(connection: Connection, StudyInstanceUID: str, SeriesInstanceUID: str) -> None:
    """It is neither whole nor waited for."""
    connection.execute(sa.delete(retrieved).where(*_key(StudyInstanceUID, SeriesInstanceUID)))


def cut(connection: Connection, StudyInstanceUID: str) -> list[str]:
    """The series of a study of which something is still to be fetched; an empty text for all of it."""
    query = sa.select(retrieved.c.SeriesInstanceUID).where(
        retrieved.c.StudyInstanceUID == StudyInstanceUID, retrieved.c.whole_at == 0.0
    )
    found = sorted(str(uid) for uid in connection.execute(query).scalars())
    return found[:1] if "" in found else found


def all_cut(connection: Connection) -> frozenset[str]:
    """StudyInstanceUIDs of those of which something is still to be fetched."""
    query = sa.select(retrieved.c.StudyInstanceUID).where(retrieved.c.whole_at == 0.0)
    return frozenset(str(uid) for uid in connection.execute(query).scalars())


def _put(connection: Connection, StudyInstanceUID: str, SeriesInstanceUID: str, pacs: str, at: float) -> None:
    values = {"pacs": pacs, "whole_at": at}
    where = _key(StudyInstanceUID, SeriesInstanceUID)
    if not connection.execute(sa.update(retrieved).where(*where).values(values)).rowcount:
        connection.execute(
            sa.insert(retrieved).values(
                StudyInstanceUID=StudyInstanceUID, SeriesInstanceUID=SeriesInstanceUID, **values
            )
        )


def _key(StudyInstanceUID: str, SeriesInstanceUID: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return retrieved.c.StudyInstanceUID == StudyInstanceUID, retrieved.c.SeriesInstanceUID == SeriesInstanceUID
