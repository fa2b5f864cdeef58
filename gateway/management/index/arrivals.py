"""The arrivals half of the index: what came, whether a study has settled, what changed since.

Functions take a Connection and leave the transaction to the caller: ``engine.begin()`` to write,
``engine.connect()`` to read. Lists are ordered, so two calls agree.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index import named_pixels
from gateway.management.index.arrivals_quarantine import (
    add_quarantine,
    drop_quarantine,
    get_quarantine,
    list_quarantine,
    set_instance_state,
)
from gateway.management.index.arrivals_read import (
    changed_studies,
    instance,
    instances_of,
    is_referenced,
    list_conflicts,
    series_of,
    studies,
    studies_of_patient,
    study,
    study_by_id,
)
from gateway.management.index.arrivals_rows import (
    ConflictKind,
    ConflictRow,
    InstanceRow,
    InstanceState,
    QuarantineRow,
    SeriesRow,
    StudyRow,
)
from gateway.management.index.counting import ARCHIVE_BYTES, add
from gateway.management.index.engine import next_revision
from gateway.middleware.arrival import Arrival, StoreOutcome

__all__ = [
    "ConflictKind",
    "ConflictRow",
    "InstanceRow",
    "InstanceState",
    "QuarantineRow",
    "SeriesRow",
    "StudyRow",
    "add_arrival",
    "add_quarantine",
    "changed_studies",
    "drop_quarantine",
    "get_quarantine",
    "instance",
    "instances_of",
    "is_referenced",
    "list_conflicts",
    "list_quarantine",
    "mark_settled",
    "series_of",
    "set_instance_state",
    "settle_quiet",
    "studies",
    "studies_of_patient",
    "study",
    "study_by_id",
]

_BATCH = 500  # SQLite allows 999 variables in a statement on old builds

# Built once: for each of hundreds of instances a second, building them costs more than running them.
_INSTANCE = sa.select(
    t.instances.c.id, t.instances.c.study_id, t.instances.c.digest, t.instances.c.data_digest, t.instances.c.state
).where(t.instances.c.SOPInstanceUID == sa.bindparam("uid"))
_STUDY = sa.select(t.studies.c.id, t.studies.c.PatientID, t.studies.c.IssuerOfPatientID).where(
    t.studies.c.StudyInstanceUID == sa.bindparam("uid")
)
_SERIES = sa.select(t.series.c.id).where(
    t.series.c.study_id == sa.bindparam("study"), t.series.c.SeriesInstanceUID == sa.bindparam("uid")
)
_TOUCH = (
    sa.update(t.studies)
    .where(t.studies.c.id == sa.bindparam("study"))
    .values(
        settled=sa.false(),
        last_arrival_at=sa.bindparam("at"),
        NumberOfStudyRelatedInstances=t.studies.c.NumberOfStudyRelatedInstances + sa.bindparam("more"),
        revision=sa.bindparam("next_revision"),
    )
)
_RESTORE = sa.update(t.instances).where(t.instances.c.id == sa.bindparam("instance"))
_ADD_INSTANCE, _ADD_SERIES, _ADD_STUDY = sa.insert(t.instances), sa.insert(t.series), sa.insert(t.studies)


def add_arrival(connection: Connection, arrival: Arrival, at: float) -> StoreOutcome:
    """Enter one instance whose file is safe, in the caller's writing transaction.

    Args:
        connection: of ``engine.begin()``.
        arrival: what intake knows of it.
        at: POSIX seconds.

    Returns:
        NEW, SAME, TWIN or CONFLICT; of these NEW alone changes the study.
    """
    known = connection.execute(_INSTANCE, {"uid": arrival.SOPInstanceUID}).first()
    if known is not None:
        is_evicted = known.state == InstanceState.EVICTED
        # A PACS gives back what it was given, but not byte for byte: of what is not here it is the archive.
        is_back = is_evicted and _same_place(connection, known.id, arrival)
        if not is_back and not _same_data(known.digest, known.data_digest, arrival):
            return _keep_apart(connection, arrival, ConflictKind.BYTES, at)
        if is_evicted:
            connection.execute(_RESTORE, {"instance": known.id, **_stored(arrival, at)})
            add(connection, ARCHIVE_BYTES, arrival.size_bytes)
            _touch(connection, known.study_id, at, more=0)
            return StoreOutcome.NEW
        return StoreOutcome.SAME if known.digest == arrival.digest else StoreOutcome.TWIN
    study_id = _study_for(connection, arrival, at)
    if study_id is None:
        return _keep_apart(connection, arrival, ConflictKind.PATIENT, at)
    inserted = connection.execute(
        _ADD_INSTANCE,
        {
            "study_id": study_id,
            "series_id": _series_for(connection, study_id, arrival),
            "SOPInstanceUID": arrival.SOPInstanceUID,
            "SOPClassUID": arrival.SOPClassUID,
            "InstanceNumber": arrival.InstanceNumber,
            "NumberOfFrames": arrival.NumberOfFrames,
            "has_pixels": arrival.has_pixels,
            **_stored(arrival, at),
        },
    )
    named_pixels.note(connection, _new_id(inserted), arrival.series_attributes)
    add(connection, ARCHIVE_BYTES, arrival.size_bytes)
    return StoreOutcome.NEW


def _same_data(digest: str, data_digest: str, arrival: Arrival) -> bool:
    if digest == arrival.digest:
        return True
    return bool(data_digest) and data_digest == arrival.data_digest


def _same_place(connection: Connection, instance_id: int, arrival: Arrival) -> bool:
    """Whether it is of the kind, the series, the study and the patient that it was of before."""
    query = (
        sa.select(t.instances.c.SOPClassUID, t.series.c.SeriesInstanceUID, t.studies)
        .join(t.series, t.series.c.id == t.instances.c.series_id)
        .join(t.studies, t.studies.c.id == t.instances.c.study_id)
        .where(t.instances.c.id == instance_id)
    )
    was = connection.execute(query).one()
    return all(
        getattr(was, key) == getattr(arrival, key)
        for key in ("SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID")
    )


def _stored(arrival: Arrival, at: float) -> dict[str, object]:
    """What an instance's row says of its file; an evicted instance comes back with another one, perhaps."""
    return {
        "TransferSyntaxUID": arrival.TransferSyntaxUID,
        "digest": arrival.digest,
        "data_digest": arrival.data_digest,
        "size_bytes": arrival.size_bytes,
        "path": arrival.path,
        "source": arrival.source,
        "state": InstanceState.RECEIVED.value,
        "reason": "",
        "arrived_at": at,
    }


def _keep_apart(connection: Connection, arrival: Arrival, kind: ConflictKind, at: float) -> StoreOutcome:
    seen = connection.execute(
        sa.select(t.conflicts.c.id).where(
            t.conflicts.c.SOPInstanceUID == arrival.SOPInstanceUID, t.conflicts.c.digest == arrival.digest
        )
    ).first()
    if seen is None:
        connection.execute(
            sa.insert(t.conflicts).values(
                kind=kind.value,
                StudyInstanceUID=arrival.StudyInstanceUID,
                SOPInstanceUID=arrival.SOPInstanceUID,
                digest=arrival.digest,
                path=arrival.path,
                size_bytes=arrival.size_bytes,
                source=arrival.source,
                seen_at=at,
            )
        )
        add(connection, ARCHIVE_BYTES, arrival.size_bytes)
    return StoreOutcome.CONFLICT


def _study_for(connection: Connection, arrival: Arrival, at: float) -> int | None:
    """The study's id, made if need be; None when the study is another patient's."""
    found = connection.execute(_STUDY, {"uid": arrival.StudyInstanceUID}).first()
    if found is not None:
        if (found.PatientID, found.IssuerOfPatientID) != (arrival.PatientID, arrival.IssuerOfPatientID):
            return None
        _touch(connection, found.id, at, more=1)
        return int(found.id)
    inserted = connection.execute(
        _ADD_STUDY,
        {
            "StudyInstanceUID": arrival.StudyInstanceUID,
            "PatientID": arrival.PatientID,
            "IssuerOfPatientID": arrival.IssuerOfPatientID,
            "PatientName": arrival.PatientName,
            "attributes": arrival.study_attributes,
            "settled": False,
            "first_arrival_at": at,
            "last_arrival_at": at,
            "NumberOfStudyRelatedInstances": 1,
            "revision": next_revision(connection),
        },
    )
    return _new_id(inserted)


def _touch(connection: Connection, study_id: int, at: float, more: int) -> None:
    changes = {"study": study_id, "at": at, "more": more, "next_revision": next_revision(connection)}
    connection.execute(_TOUCH, changes)


def _series_for(connection: Connection, study_id: int, arrival: Arrival) -> int:
    found = connection.execute(_SERIES, {"study": study_id, "uid": arrival.SeriesInstanceUID}).first()
    if found is not None:
        return int(found.id)
    inserted = connection.execute(
        _ADD_SERIES,
        {
            "study_id": study_id,
            "SeriesInstanceUID": arrival.SeriesInstanceUID,
            "Modality": arrival.Modality,
            "attributes": arrival.series_attributes,
        },
    )
    return _new_id(inserted)


def _new_id(inserted: sa.CursorResult[tuple[object, ...]]) -> int:
    key = inserted.inserted_primary_key
    assert key is not None
    return int(key[0])


def mark_settled(connection: Connection, StudyInstanceUIDs: Collection[str], at: float) -> list[int]:
    """Settle these studies; returns the ids of those that were still growing. Unknown UIDs are passed over."""
    settled: list[int] = []
    wanted = sorted(StudyInstanceUIDs)
    for start in range(0, len(wanted), _BATCH):
        rows = connection.execute(
            sa.select(t.studies.c.id)
            .where(
                t.studies.c.StudyInstanceUID.in_(wanted[start : start + _BATCH]), t.studies.c.settled.is_(sa.false())
            )
            .where(t.studies.c.last_arrival_at <= at)
            .order_by(t.studies.c.id)
        )
        settled += [int(row.id) for row in rows]
    _settle(connection, settled)
    return settled


def settle_quiet(connection: Connection, quiet_s: float, now: float) -> list[int]:
    """Settle every study to which nothing came for ``quiet_s`` seconds; returns their ids, ascending."""
    rows = connection.execute(
        sa.select(t.studies.c.id)
        .where(t.studies.c.settled.is_(sa.false()), t.studies.c.last_arrival_at <= now - quiet_s)
        .order_by(t.studies.c.id)
    )
    settled = [int(row.id) for row in rows]
    _settle(connection, settled)
    return settled


def _settle(connection: Connection, study_ids: Sequence[int]) -> None:
    for study_id in study_ids:
        connection.execute(
            sa.update(t.studies)
            .where(t.studies.c.id == study_id)
            .values(settled=True, revision=next_revision(connection))
        )
