"""The delivery half of the index: sealed objects, what was announced to whom, heads, receipts.

Functions take a Connection and leave the transaction to the caller, as in ``arrivals``.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.arrivals_tables import instances, studies
from gateway.management.index.engine import metadata
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

progress = sa.Table(
    "study_progress",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("references", sa.Text, nullable=False),
)
"""Up to which revision a study was worked off, and the opaque references of its volumes."""

announcements = sa.Table(
    "announcements",
    metadata,
    sa.Column("recipient", sa.String(26), primary_key=True),
    sa.Column("study_ref", sa.String(26), primary_key=True),
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("contents", sa.LargeBinary, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)
"""What each recipient was told. ``contents`` is a digest of what was said, without sequence and time: an announcement
is made anew only when that changes."""

heads = sa.Table(
    "heads",
    metadata,
    sa.Column("recipient", sa.String(26), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)

receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("device", sa.String(26), primary_key=True),
    sa.Column("study_ref", sa.String(26), primary_key=True),
    sa.Column("layer", sa.String(16), primary_key=True),
    sa.Column("event", sa.String(16), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)


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


@dataclass(frozen=True, slots=True)
class Announced:
    """What a recipient was told of a study, as published."""

    recipient: str
    study_ref: str
    study_id: int
    sequence: int
    contents: bytes
    digest: bytes
    payload: bytes


def add_object(connection: Connection, sealed: SealedObject, spans: Iterable[FrameSpan]) -> None:
    """Enter an object whose file is safe."""
    connection.execute(
        sa.insert(objects).values(
            object=sealed.object,
            study_id=sealed.study_id,
            layer=sealed.layer,
            series_ids=json.dumps(sealed.series_ids),
            batch=sealed.batch,
            frames=sealed.frames,
            key=sealed.key,
            size=sealed.size,
            manifest=sealed.manifest,
        )
    )
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
    query = sa.select(objects).where(objects.c.study_id == study_id).order_by(objects.c.layer, objects.c.batch)
    return [_sealed(row) for row in connection.execute(query)]


def object_by_id(connection: Connection, object_id: str) -> SealedObject | None:
    """One object."""
    row = connection.execute(sa.select(objects).where(objects.c.object == object_id)).first()
    return _sealed(row) if row else None


def all_object_ids(connection: Connection) -> set[str]:
    """Every object that the index knows."""
    return {row.object for row in connection.execute(sa.select(objects.c.object))}


def remove_objects(connection: Connection, object_ids: Collection[str]) -> None:
    """Forget objects; their files are removed by the caller, afterwards."""
    for object_id in object_ids:
        connection.execute(sa.delete(object_frames).where(object_frames.c.object == object_id))
        connection.execute(sa.delete(objects).where(objects.c.object == object_id))


def frames_done(connection: Connection, instance_id: int, layer: Layer) -> int:
    """How many frames of an instance, from the first on, stand in objects of ``layer``."""
    query = (
        sa.select(sa.func.max(object_frames.c.first_frame + object_frames.c.frame_count))
        .join(objects, objects.c.object == object_frames.c.object)
        .where(object_frames.c.instance_id == instance_id, objects.c.layer == layer)
    )
    return int(connection.execute(query).scalar() or 0)


# ── studies that are being worked off ─────────────────────────────────────────────────────────────────────────────


def stale_study_ids(connection: Connection, limit: int = 200) -> list[int]:
    """Studies that changed since they were last worked off, in the order of their changes."""
    query = (
        sa.select(studies.c.id)
        .outerjoin(progress, progress.c.study_id == studies.c.id)
        .where(sa.or_(progress.c.revision.is_(None), progress.c.revision < studies.c.revision))
        .order_by(studies.c.revision)
        .limit(limit)
    )
    return [int(row.id) for row in connection.execute(query)]


def references_of(connection: Connection, study_id: int) -> list[str]:
    """The opaque references of a study's volumes."""
    found = connection.execute(sa.select(progress.c.references).where(progress.c.study_id == study_id)).scalar()
    return list(json.loads(found)) if found else []


def set_progress(connection: Connection, study_id: int, revision: int, references: list[str]) -> None:
    """The study was worked off up to ``revision``."""
    values = {"revision": revision, "references": json.dumps(references)}
    updated = connection.execute(sa.update(progress).where(progress.c.study_id == study_id).values(values)).rowcount
    if not updated:
        connection.execute(sa.insert(progress).values(study_id=study_id, **values))


def pending_counts(connection: Connection) -> dict[int, int]:
    """Instances with pixels that are still to be rendered, for each study that has any."""
    query = (
        sa.select(instances.c.study_id, sa.func.count())
        .where(instances.c.state == "received", instances.c.has_pixels.is_(sa.true()))
        .group_by(instances.c.study_id)
    )
    return {int(study_id): int(count) for study_id, count in connection.execute(query)}


# ── announcements and heads ───────────────────────────────────────────────────────────────────────────────────────


def announced_to(connection: Connection, recipient: str) -> list[Announced]:
    """All that a recipient was told and that still stands."""
    query = sa.select(announcements).where(announcements.c.recipient == recipient).order_by(announcements.c.study_ref)
    return [Announced(**row._mapping) for row in connection.execute(query)]


def announced_of(connection: Connection, study_id: int) -> list[Announced]:
    """All announcements of one study, to whomever."""
    query = sa.select(announcements).where(announcements.c.study_id == study_id)
    return [Announced(**row._mapping) for row in connection.execute(query)]


def put_announcement(connection: Connection, announced: Announced) -> None:
    """Replace what the recipient was told of this study."""
    connection.execute(
        sa.delete(announcements).where(
            announcements.c.recipient == announced.recipient, announcements.c.study_ref == announced.study_ref
        )
    )
    connection.execute(
        sa.insert(announcements).values(**{name: getattr(announced, name) for name in Announced.__slots__})
    )


def remove_announcement(connection: Connection, recipient: str, study_ref: str) -> None:
    """The recipient may not have the study any more, or it fell out of the window."""
    connection.execute(
        sa.delete(announcements).where(announcements.c.recipient == recipient, announcements.c.study_ref == study_ref)
    )


def may_fetch(connection: Connection, recipient: str, object_id: str) -> bool:
    """Whether the object belongs to a study that is announced to the recipient."""
    query = (
        sa.select(sa.literal(1))
        .select_from(objects.join(announcements, announcements.c.study_id == objects.c.study_id))
        .where(objects.c.object == object_id, announcements.c.recipient == recipient)
        .limit(1)
    )
    return connection.execute(query).first() is not None


def next_head(connection: Connection, recipient: str) -> int:
    """The next sequence of a recipient's head."""
    updated = connection.execute(
        sa.update(heads).where(heads.c.recipient == recipient).values(sequence=heads.c.sequence + 1)
    ).rowcount
    if not updated:
        connection.execute(sa.insert(heads).values(recipient=recipient, sequence=1))
    return head_sequence(connection, recipient)


def head_sequence(connection: Connection, recipient: str) -> int:
    """The sequence of the latest head; 0 before the first."""
    found = connection.execute(sa.select(heads.c.sequence).where(heads.c.recipient == recipient)).scalar()
    return int(found or 0)


def add_receipt(
    connection: Connection, device: str, study_ref: str, layer: Layer, event: str, sequence: int, at: float
) -> None:
    """Note a receipt; the first one of its kind stands."""
    key = {"device": device, "study_ref": study_ref, "layer": layer, "event": event}
    found = connection.execute(
        sa.select(receipts.c.at).where(*(receipts.c[name] == value for name, value in key.items()))
    ).first()
    if found is None:
        connection.execute(sa.insert(receipts).values(**key, sequence=sequence, at=at))
