"""Refused files and what became of instances: the small writes beside ``add_arrival``."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.arrivals_rows import InstanceState, QuarantineRow
from gateway.management.index.engine import next_revision
from gateway.middleware.refusal import Refusal

_BATCH = 500  # old SQLite builds allow 999 variables in a statement


def add_quarantine(connection: Connection, refusal: Refusal, at: float) -> None:
    """Enter a refused file; the same bytes again raise its count. A refusal that kept nothing is passed over."""
    if not refusal.digest:
        return
    values = {
        "path": refusal.path,
        "size_bytes": refusal.size_bytes,
        "reason": refusal.reason.value,
        "detail": refusal.detail[:256],
        "source": refusal.source[:64],
        "refused_at": at,
    }
    again = connection.execute(
        sa.update(t.quarantine)
        .where(t.quarantine.c.digest == refusal.digest)
        .values(times=t.quarantine.c.times + 1, **values)
    )
    if again.rowcount == 0:
        connection.execute(sa.insert(t.quarantine).values(digest=refusal.digest, times=1, **values))


def list_quarantine(connection: Connection, limit: int = 1000) -> list[QuarantineRow]:
    """Refused files, the latest first."""
    query = sa.select(t.quarantine).order_by(t.quarantine.c.refused_at.desc(), t.quarantine.c.id.desc()).limit(limit)
    return [QuarantineRow(**row._mapping) for row in connection.execute(query)]


def get_quarantine(connection: Connection, digest: str) -> QuarantineRow | None:
    """One refused file by its digest."""
    row = connection.execute(sa.select(t.quarantine).where(t.quarantine.c.digest == digest)).first()
    return None if row is None else QuarantineRow(**row._mapping)


def drop_quarantine(connection: Connection, digest: str) -> bool:
    """Forget a refused file; whether it was known. Its bytes are the archive's to remove."""
    return connection.execute(sa.delete(t.quarantine).where(t.quarantine.c.digest == digest)).rowcount > 0


def set_instance_state(
    connection: Connection, instance_ids: Collection[int], state: InstanceState | str, reason: str = ""
) -> int:
    """Say what became of instances; their studies get a new revision.

    Args:
        connection: of ``engine.begin()``.
        instance_ids: rows; unknown ones are passed over.
        state: received, rendered, failed or evicted.
        reason: why it failed, in words without identity; cut at 256 characters.

    Returns:
        How many instances changed.

    Raises:
        ValueError: not a state.
    """
    value = InstanceState(state).value
    ids = sorted(instance_ids)
    changed, touched = 0, set[int]()
    for start in range(0, len(ids), _BATCH):
        batch = t.instances.c.id.in_(ids[start : start + _BATCH])
        found = connection.execute(sa.select(t.instances.c.study_id).where(batch).distinct())
        touched |= {int(row.study_id) for row in found}
        update = sa.update(t.instances).where(batch).values(state=value, reason=reason[:256])
        changed += connection.execute(update).rowcount
    for study_id in sorted(touched):
        revision = next_revision(connection)
        connection.execute(sa.update(t.studies).where(t.studies.c.id == study_id).values(revision=revision))
    return changed
