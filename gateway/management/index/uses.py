"""When objects and studies were last used, and what was evicted. Functions take a Connection.

An object that was evicted stays known, and announced: whoever wants it has it made again. Its file is gone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.arrivals_quarantine import set_instance_state
from gateway.management.index.counting import ARCHIVE_BYTES, add, put
from gateway.management.index.deliveries import objects, objects_of, thumbnails_due
from gateway.management.index.engine import metadata
from gateway.management.index.layers import NEEDS, Stage, due, lacks_pictures
from gateway.management.index.uploads import is_held
from wire.messages import Layer

object_uses = sa.Table(
    "object_uses",
    metadata,
    sa.Column("object", sa.String(26), primary_key=True),
    sa.Column("used_at", sa.Float, nullable=False),
    sa.Column("evicted", sa.Boolean, nullable=False),
)
"""No row: not used since it was made, and not evicted. Rows of objects that are no more are swept."""

study_uses = sa.Table(
    "study_uses",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("used_at", sa.Float, nullable=False),
)

_BATCH = 500


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object whose file could be evicted; ``size`` is the plaintext's."""

    object: str
    size: int
    study_id: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An instance's file in the archive."""

    instance_id: int
    digest: str
    size_bytes: int


# ── uses ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def note_objects(connection: Connection, used: Mapping[str, float]) -> None:
    """Objects were served at these times; their studies were used with them."""
    ids = sorted(used)
    studies: dict[int, float] = {}
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        for row in connection.execute(
            sa.select(objects.c.object, objects.c.study_id).where(objects.c.object.in_(batch))
        ):
            _put_object(connection, str(row.object), used_at=used[row.object])
            studies[int(row.study_id)] = max(studies.get(int(row.study_id), 0.0), used[row.object])
    for study_id, at in studies.items():
        note_study(connection, study_id, at)


def note_study(connection: Connection, study_id: int, at: float) -> None:
    """The study was asked for."""
    values = {"used_at": at}
    if not connection.execute(sa.update(study_uses).where(study_uses.c.study_id == study_id).values(values)).rowcount:
        connection.execute(sa.insert(study_uses).values(study_id=study_id, **values))


def _put_object(connection: Connection, object_id: str, **values: Any) -> None:
    if not connection.execute(sa.update(object_uses).where(object_uses.c.object == object_id).values(values)).rowcount:
        connection.execute(
            sa.insert(object_uses).values(object=object_id, **{"used_at": 0.0, "evicted": False, **values})
        )


# ── objects ───────────────────────────────────────────────────────────────────────────────────────────────────────


def evictable_objects(
    connection: Connection, window_begins: float, resting_since: float, most: int
) -> list[tuple[StoredObject, bool]]:
    """``(object, whether its study is within its announcement window)``: what to evict first, the longest unused first.

    Layers that are made on request go first, unless they were used after ``resting_since``; then what is announced to
    nobody any more; then the rest.
    """
    last_use = _larger(object_uses.c.used_at, study_uses.c.used_at, t.studies.c.last_arrival_at)
    on_request = sa.and_(objects.c.layer == "original", last_use < resting_since)
    is_open = t.studies.c.last_arrival_at >= window_begins
    query = (
        sa.select(objects.c.object, objects.c.size, objects.c.study_id, sa.case((on_request, 0), (is_open, 2), else_=1))
        .join(t.studies, t.studies.c.id == objects.c.study_id)
        .outerjoin(object_uses, object_uses.c.object == objects.c.object)
        .outerjoin(study_uses, study_uses.c.study_id == objects.c.study_id)
        .where(sa.or_(object_uses.c.evicted.is_(None), object_uses.c.evicted.is_(sa.false())))
        .order_by(sa.case((on_request, 0), (is_open, 2), else_=1), last_use, objects.c.object)
        .limit(most)
    )
    return [
        (StoredObject(str(o), int(size), int(study)), tier == 2) for o, size, study, tier in connection.execute(query)
    ]


def _larger(*columns: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The largest of the columns, those without a value left out."""
    found: sa.ColumnElement[Any] = sa.func.coalesce(columns[0], 0.0)
    for column in columns[1:]:
        other = sa.func.coalesce(column, 0.0)
        found = sa.case((other > found, other), else_=found)
    return found


def evict_objects(connection: Connection, object_ids: Collection[str]) -> None:
    """Note that their files go."""
    for object_id in object_ids:
        _put_object(connection, object_id, evicted=True)


def is_evicted(connection: Connection, object_id: str) -> bool:
    """Whether the object's file was evicted."""
    query = sa.select(object_uses.c.evicted).where(object_uses.c.object == object_id)
    return bool(connection.execute(query).scalar())


def evicted_of(connection: Connection, study_id: int, layer: Layer) -> list[tuple[str, set[int]]]:
    """``(object, ids of its series)`` of what was evicted of a layer of a study."""
    found = [one for one in objects_of(connection, study_id) if one.layer == layer]
    return [(one.object, set(one.series_ids)) for one in found if is_evicted(connection, one.object)]


def evicted_objects(connection: Connection) -> set[str]:
    """All objects whose files were evicted."""
    return {str(row.object) for row in connection.execute(sa.select(object_uses.c.object).where(object_uses.c.evicted))}


def sweep(connection: Connection) -> None:
    """Remove what is noted of objects that are no more."""
    known = sa.select(objects.c.object).where(objects.c.object == object_uses.c.object)
    connection.execute(sa.delete(object_uses).where(sa.not_(known.exists())))


# ── the archive ───────────────────────────────────────────────────────────────────────────────────────────────────


def _is_needed(layers: Collection[Stage]) -> sa.ColumnElement[bool]:
    """A condition on instances: something is still to be made of the file, or no PACS has it yet."""
    pictures = sa.and_(t.instances.c.state == "received", t.instances.c.has_pixels.is_(sa.true()))
    return sa.or_(pictures, is_held(), *(due(layer) for layer in layers if layer in NEEDS))


def evictable_studies(
    connection: Connection, window_begins: float, layers: Collection[Stage], most: int
) -> list[tuple[int, bool]]:
    """``(study id, whether it is within its announcement window)`` of studies that have files and need none of them.

    Studies outside the window first, the longest unused first. ``layers`` are those that are made here.
    """
    last_use = _larger(study_uses.c.used_at, t.studies.c.last_arrival_at)
    is_open = t.studies.c.last_arrival_at >= window_begins
    kept = sa.exists().where(t.instances.c.study_id == t.studies.c.id, t.instances.c.state != "evicted")
    needed = sa.exists().where(
        t.instances.c.study_id == t.studies.c.id, t.instances.c.state != "evicted", _is_needed(layers)
    )
    thumbnails = sa.exists().where(thumbnails_due.c.study_id == t.studies.c.id)
    query = (
        sa.select(t.studies.c.id, sa.case((is_open, 1), else_=0))
        .outerjoin(study_uses, study_uses.c.study_id == t.studies.c.id)
        .where(t.studies.c.settled.is_(sa.true()), sa.not_(lacks_pictures), kept, sa.not_(needed), sa.not_(thumbnails))
        .order_by(sa.case((is_open, 1), else_=0), last_use, t.studies.c.id)
        .limit(most)
    )
    return [(int(study), bool(tier)) for study, tier in connection.execute(query)]


def evictable_files(connection: Connection, study_id: int, layers: Collection[Stage]) -> list[StoredFile]:
    """The files of a study of which nothing is still to be made; none while the study grows."""
    query = (
        sa.select(t.instances.c.id, t.instances.c.digest, t.instances.c.size_bytes)
        .join(t.studies, t.studies.c.id == t.instances.c.study_id)
        .where(t.instances.c.study_id == study_id, t.studies.c.settled.is_(sa.true()))
        .where(t.instances.c.state != "evicted", sa.not_(_is_needed(layers)))
        .order_by(t.instances.c.id)
    )
    return [StoredFile(int(one), str(digest), int(size)) for one, digest, size in connection.execute(query)]


def evict_files(connection: Connection, files: Collection[StoredFile]) -> None:
    """Note that these files go: their instances stay known, and can come again."""
    set_instance_state(connection, [file.instance_id for file in files], "evicted")
    add(connection, ARCHIVE_BYTES, -sum(file.size_bytes for file in files))


def count_archive(connection: Connection) -> int:
    """What the archive's files take, by the index; the counter starts from it."""
    kept = sa.select(sa.func.sum(t.instances.c.size_bytes)).where(t.instances.c.state != "evicted")
    apart = sa.select(sa.func.sum(t.conflicts.c.size_bytes))
    total = sum(int(connection.execute(query).scalar() or 0) for query in (kept, apart))
    put(connection, ARCHIVE_BYTES, total)
    return total


def referenced(connection: Connection, digests: Collection[str]) -> set[str]:
    """Those digests whose files the index knows: of instances that are not evicted, or kept apart."""
    found: set[str] = set()
    wanted = sorted(digests)
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        held = sa.select(t.instances.c.digest).where(t.instances.c.digest.in_(batch), t.instances.c.state != "evicted")
        apart = sa.select(t.conflicts.c.digest).where(t.conflicts.c.digest.in_(batch))
        found |= {str(row.digest) for row in connection.execute(sa.union_all(held, apart))}
    return found
