"""The delivery half of the index: sealed objects, which frames stand in them, and what is still to be made.

Functions take a Connection and leave the transaction to the caller, as in ``arrivals``.
"""

import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import ordered
from gateway.management.index.arrivals_quarantine import set_instance_state
from gateway.management.index.arrivals_tables import instances, studies
from gateway.management.index.engine import metadata, next_revision
from gateway.management.index.layers import NEEDS, Stage, due_of, lacks, lacks_pictures, reopen
from wire.messages import Layer

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("object", sa.String(26), primary_key=True),
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("layer", sa.String(16), nullable=False),
    sa.Column("series_ids", sa.Text, nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("frames", sa.Integer, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("manifest", sa.LargeBinary, nullable=False),
)

object_frames = sa.Table(
    "object_frames",
    metadata,
    sa.Column("object", sa.String(26), sa.ForeignKey("objects.object"), primary_key=True),
    sa.Column("instance_id", sa.Integer, sa.ForeignKey("instances.id"), primary_key=True, index=True),
    sa.Column("first_frame", sa.Integer, primary_key=True),
    sa.Column("frame_count", sa.Integer, nullable=False),
)
"""Which frames of which instance stand in an object: what a restart need not make again."""

thumbnails_due = sa.Table(
    "thumbnails_due",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), primary_key=True),
    sa.Column("tried", sa.Boolean, nullable=False),
)
"""Studies whose pictures changed since their thumbnails were made; ``tried`` once while the study grows."""

DISPLAY: tuple[Layer, ...] = ("display",)
_BATCH = 500


@dataclass(frozen=True, slots=True)
class SealedObject:
    """A sealed object on disk. ``series_ids`` are index ids, ``size`` the plaintext's bytes."""

    object: str
    study_id: int
    layer: Layer
    series_ids: tuple[int, ...]
    batch: int
    frames: int
    key: bytes
    size: int
    manifest: bytes


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """Frames of one instance that stand in an object."""

    instance_id: int
    first_frame: int
    frame_count: int


# ── objects ───────────────────────────────────────────────────────────────────────────────────────────────────────


def add_object(connection: Connection, sealed: SealedObject, spans: Iterable[FrameSpan]) -> None:
    """Enter an object whose file is safe."""
    values = {name: getattr(sealed, name) for name in SealedObject.__slots__}
    connection.execute(sa.insert(objects).values(**{**values, "series_ids": json.dumps(sealed.series_ids)}))
    rows = [
        {
            "object": sealed.object,
            "instance_id": s.instance_id,
            "first_frame": s.first_frame,
            "frame_count": s.frame_count,
        }
        for s in spans
    ]
    if rows:
        connection.execute(sa.insert(object_frames), rows)


def _sealed(row: sa.Row[tuple[object, ...]]) -> SealedObject:
    values = dict(row._mapping)
    return SealedObject(**{**values, "series_ids": tuple(json.loads(values["series_ids"]))})


def objects_of(connection: Connection, study_id: int) -> list[SealedObject]:
    """A study's objects, by layer and batch."""
    order = (objects.c.layer, objects.c.batch, objects.c.object)
    query = sa.select(objects).where(objects.c.study_id == study_id).order_by(*order)
    return [_sealed(row) for row in connection.execute(query)]


def object_by_id(connection: Connection, object_id: str) -> SealedObject | None:
    """One object."""
    row = connection.execute(sa.select(objects).where(objects.c.object == object_id)).first()
    return _sealed(row) if row else None


def next_batch(connection: Connection, study_id: int) -> int:
    """The number of a study's next batch, from 1 on."""
    found = connection.execute(sa.select(sa.func.max(objects.c.batch)).where(objects.c.study_id == study_id)).scalar()
    return int(found or 0) + 1


def all_object_sizes(connection: Connection) -> dict[str, int]:
    """Every object that the index knows, and its plaintext's size."""
    rows = connection.execute(sa.select(objects.c.object, objects.c.size))
    return {str(row.object): int(row.size) for row in rows}


def remove_objects(connection: Connection, object_ids: Collection[str]) -> None:
    """Forget objects; their files are removed by the caller, afterwards."""
    ids = sorted(object_ids)
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        connection.execute(sa.delete(object_frames).where(object_frames.c.object.in_(batch)))
        connection.execute(sa.delete(objects).where(objects.c.object.in_(batch)))


def touch(connection: Connection, study_id: int) -> None:
    """What can be told of the study changed."""
    revision = next_revision(connection)
    connection.execute(sa.update(studies).where(studies.c.id == study_id).values(revision=revision))


def lose_objects(connection: Connection, object_ids: Collection[str]) -> None:
    """Forget objects whose files are gone, so that they are made again under new ids."""
    for object_id in sorted(object_ids):
        sealed = object_by_id(connection, object_id)
        if sealed is None:
            continue
        stood = sa.select(object_frames.c.instance_id).where(object_frames.c.object == object_id).distinct()
        if sealed.layer in NEEDS and not NEEDS[sealed.layer].in_state:
            reopen(connection, [int(row.instance_id) for row in connection.execute(stood)], sealed.layer)
            remove_objects(connection, [object_id])
            _order_again(connection, sealed)
        else:
            rendered = sa.select(instances.c.id).where(instances.c.id.in_(stood), instances.c.state == "rendered")
            again = [int(row.id) for row in connection.execute(rendered)]
            # What stood there may be a presentation state's; of images nothing is noted under that name.
            reopen(connection, [int(row.instance_id) for row in connection.execute(stood)], "presentation")
            remove_objects(connection, [object_id])
            set_instance_state(connection, again, "received")
            mark_thumbnails(connection, sealed.study_id)
        touch(connection, sealed.study_id)


def _order_again(connection: Connection, sealed: SealedObject) -> None:
    """A layer that is made on request is made again only where it is ordered again."""
    if sealed.layer == "original":
        ordered.put(connection, sealed.study_id, sealed.series_ids, sealed.layer, time.time())
        if not due_of(connection, sealed.study_id, sealed.layer):
            ordered.close(connection, sealed.study_id, sealed.layer)


def begun(connection: Connection, study_id: int, layer: Layer) -> set[int]:
    """Ids of a study's instances of which some frames stand in an object of ``layer``."""
    query = sa.select(object_frames.c.instance_id).join(objects, objects.c.object == object_frames.c.object)
    rows = connection.execute(query.where(objects.c.study_id == study_id, objects.c.layer == layer).distinct())
    return {int(row.instance_id) for row in rows}


def holding(connection: Connection, instance_id: int, layer: Layer) -> list[str]:
    """The objects of ``layer`` in which frames of an instance stand."""
    query = sa.select(objects.c.object).join(object_frames, object_frames.c.object == objects.c.object)
    rows = connection.execute(query.where(object_frames.c.instance_id == instance_id, objects.c.layer == layer))
    return sorted({str(row.object) for row in rows})


def gaps(connection: Connection, instance_id: int, layer: Layer, frames: int) -> list[tuple[int, int]]:
    """``(first, count)`` of an instance's frames, of ``frames`` in all, that stand in no object of ``layer``."""
    return gaps_of(connection, {instance_id: frames}, layer)[instance_id]


def gaps_of(connection: Connection, frames: Mapping[int, int], layer: Layer) -> dict[int, list[tuple[int, int]]]:
    """The same for many instances, given with their numbers of frames, in few queries."""
    found: dict[int, list[tuple[int, int]]] = {instance_id: [] for instance_id in frames}
    at = dict.fromkeys(frames, 0)
    ids = sorted(frames)
    for start in range(0, len(ids), _BATCH):
        query = (
            sa.select(object_frames.c.instance_id, object_frames.c.first_frame, object_frames.c.frame_count)
            .join(objects, objects.c.object == object_frames.c.object)
            .where(object_frames.c.instance_id.in_(ids[start : start + _BATCH]), objects.c.layer == layer)
            .order_by(object_frames.c.first_frame)
        )
        for instance_id, first, count in connection.execute(query):
            if first > at[instance_id]:
                found[instance_id].append((at[instance_id], first - at[instance_id]))
            at[instance_id] = max(at[instance_id], first + count)
    for instance_id, end in at.items():
        if end < frames[instance_id]:
            found[instance_id].append((end, frames[instance_id] - end))
    return found


# ── what is still to be made ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Work:
    """A study that lacks something of the layers that were asked for."""

    study_id: int
    settled: bool
    last_arrival_at: float


def changed_since(connection: Connection, revision: int, limit: int = 1000) -> list[tuple[int, int]]:
    """``(study id, revision)`` of studies that changed after ``revision``, in the order of their changes."""
    query = sa.select(studies.c.id, studies.c.revision).where(studies.c.revision > revision)
    return [
        (int(row.id), int(row.revision)) for row in connection.execute(query.order_by(studies.c.revision).limit(limit))
    ]


_lacks_thumbnails = sa.exists().where(
    thumbnails_due.c.study_id == studies.c.id,
    sa.or_(studies.c.settled.is_(sa.true()), thumbnails_due.c.tried.is_(sa.false())),
)


def work_among(connection: Connection, study_ids: Collection[int], layers: Collection[Stage] = DISPLAY) -> list[Work]:
    """Those of the studies of which one of ``layers`` is to be made now, the latest arrival first.

    ``display`` is meant with the thumbnails.
    """
    found: list[Work] = []
    wanted = [lacks(layer) for layer in layers if layer in NEEDS]
    if "display" in layers:
        wanted += [lacks_pictures, _lacks_thumbnails]
    ids = sorted(study_ids)
    for start in range(0, len(ids), _BATCH):
        query = sa.select(studies.c.id, studies.c.settled, studies.c.last_arrival_at).where(
            studies.c.id.in_(ids[start : start + _BATCH]), sa.or_(sa.false(), *wanted)
        )
        found += [Work(int(row.id), bool(row.settled), float(row.last_arrival_at)) for row in connection.execute(query)]
    return sorted(found, key=lambda work: (-work.last_arrival_at, work.study_id))


def is_quiet_and_unsettled(connection: Connection, before: float) -> bool:
    """Whether a study waits to be settled to which nothing came since ``before``."""
    query = sa.select(sa.literal(1)).where(studies.c.settled.is_(sa.false()), studies.c.last_arrival_at <= before)
    return connection.execute(query.limit(1)).first() is not None


def mark_thumbnails(connection: Connection, study_id: int) -> None:
    """The study's pictures changed: its thumbnails are to be made, or made again once it has settled."""
    found = connection.execute(sa.select(thumbnails_due.c.study_id).where(thumbnails_due.c.study_id == study_id))
    if found.first() is None:
        known = sa.select(sa.literal(1)).where(objects.c.study_id == study_id, objects.c.layer == "thumbnail")
        # While the study grows, those that stand will do.
        tried = connection.execute(known.limit(1)).first() is not None
        connection.execute(sa.insert(thumbnails_due).values(study_id=study_id, tried=tried))


def thumbnails_wanted(connection: Connection, study_id: int, settled: bool) -> bool:
    """Whether thumbnails are to be made now."""
    row = connection.execute(sa.select(thumbnails_due.c.tried).where(thumbnails_due.c.study_id == study_id)).first()
    return row is not None and (settled or not row.tried)


def clear_thumbnails(connection: Connection, study_id: int, settled: bool) -> None:
    """They were made, or cannot be; of a growing study they are made once more when it has settled."""
    if settled:
        connection.execute(sa.delete(thumbnails_due).where(thumbnails_due.c.study_id == study_id))
    else:
        connection.execute(sa.update(thumbnails_due).where(thumbnails_due.c.study_id == study_id).values(tried=True))


# ── summaries ─────────────────────────────────────────────────────────────────────────────────────────────────────


def layer_totals(connection: Connection) -> dict[int, dict[str, dict[str, int]]]:
    """For each study and layer: how many objects, frames and plaintext bytes."""
    counts = (sa.func.count(), sa.func.sum(objects.c.frames), sa.func.sum(objects.c.size))
    query = sa.select(objects.c.study_id, objects.c.layer, *counts).group_by(objects.c.study_id, objects.c.layer)
    found: dict[int, dict[str, dict[str, int]]] = {}
    for study_id, layer, number, frames, size in connection.execute(
        query.order_by(objects.c.study_id, objects.c.layer)
    ):
        found.setdefault(int(study_id), {})[layer] = {"objects": int(number), "frames": int(frames), "bytes": int(size)}
    return found


def state_counts(connection: Connection) -> dict[int, dict[str, int]]:
    """For each study: how many instances in each state; ``pending`` are those with pixels still to be rendered."""
    pending = sa.func.sum(sa.case((instances.c.has_pixels.is_(sa.true()), 1), else_=0))
    query = sa.select(instances.c.study_id, instances.c.state, sa.func.count(), pending)
    found: dict[int, dict[str, int]] = {}
    for study_id, state, number, with_pixels in connection.execute(
        query.group_by(instances.c.study_id, instances.c.state).order_by(instances.c.study_id, instances.c.state)
    ):
        found.setdefault(int(study_id), {})[state] = int(number)
        if state == "received" and with_pixels:
            found[int(study_id)]["pending"] = int(with_pixels)
    return found
