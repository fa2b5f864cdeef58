"""What recipients were told: announcements, heads, receipts.

Functions take a Connection and leave the transaction to the caller, as in ``arrivals``.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.arrivals_tables import studies
from gateway.management.index.counting import get, increment, put
from gateway.management.index.deliveries import objects
from gateway.management.index.engine import metadata
from gateway.management.index.epochs import epochs
from gateway.management.index.people import devices
from wire.limits import MAX_STUDIES
from wire.messages import Layer

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
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("contents", sa.LargeBinary, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)
"""What each recipient was told. ``contents`` is a digest of what was said, without sequence and time: an announcement
is made anew only when that changes, or the epoch under whose key it is sealed."""

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

_BATCH = 500
_SIGNER, _SIGNER_BYTES = "announcements_signer", 7


@dataclass(frozen=True, slots=True)
class Announced:
    """What a recipient was told of a study, as published."""

    recipient: str
    study_ref: str
    study_id: int
    sequence: int
    epoch: int
    contents: bytes
    digest: bytes
    payload: bytes


# ── progress ──────────────────────────────────────────────────────────────────────────────────────────────────────


def stale_since(connection: Connection, revision: int, limit: int = 200) -> list[tuple[int, int]]:
    """``(study id, revision)`` of studies that changed after ``revision`` and were not worked off since, in order."""
    query = (
        sa.select(studies.c.id, studies.c.revision)
        .outerjoin(progress, progress.c.study_id == studies.c.id)
        .where(studies.c.revision > revision)
        .where(sa.or_(progress.c.revision.is_(None), progress.c.revision < studies.c.revision))
        .order_by(studies.c.revision)
        .limit(limit)
    )
    return [(int(row.id), int(row.revision)) for row in connection.execute(query)]


def latest_revision(connection: Connection) -> int:
    """The largest revision of any study."""
    return int(connection.execute(sa.select(sa.func.max(studies.c.revision))).scalar() or 0)


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


# ── announcements ─────────────────────────────────────────────────────────────────────────────────────────────────


def next_sequence(connection: Connection) -> int:
    """The next sequence of an announcement. One counter for all: it also grows past what was withdrawn meanwhile."""
    return increment(connection, "announcements")


def announced_of(connection: Connection, study_id: int) -> list[Announced]:
    """All announcements of one study, to whomever."""
    query = sa.select(announcements).where(announcements.c.study_id == study_id)
    return [Announced(**row._mapping) for row in connection.execute(query)]


def recipients_of_studies(connection: Connection) -> dict[int, set[str]]:
    """For each announced study, the references of those who were told."""
    found: dict[int, set[str]] = {}
    query = sa.select(announcements.c.study_id, announcements.c.recipient).distinct()
    for study_id, recipient in connection.execute(query):
        found.setdefault(int(study_id), set()).add(str(recipient))
    return found


def study_announced(connection: Connection, recipient: str, study_ref: str) -> int | None:
    """The study of this volume, if the recipient was told of it and may still have it."""
    query = sa.select(announcements.c.study_id).where(
        announcements.c.recipient == recipient, announcements.c.study_ref == study_ref
    )
    found = connection.execute(query).scalar()
    return None if found is None else int(found)


def is_announced(connection: Connection, recipient: str, study_ref: str) -> bool:
    """Whether the recipient was told of this volume of a study, and may still have it."""
    return study_announced(connection, recipient, study_ref) is not None


def put_announcement(connection: Connection, announced: Announced) -> None:
    """Replace what the recipient was told of this study."""
    remove_announcement(connection, announced.recipient, announced.study_ref)
    values = {name: getattr(announced, name) for name in Announced.__slots__}
    connection.execute(sa.insert(announcements).values(**values))


def remove_announcement(connection: Connection, recipient: str, study_ref: str) -> None:
    """The recipient may not have the study any more, or it fell out of the window."""
    connection.execute(
        sa.delete(announcements).where(announcements.c.recipient == recipient, announcements.c.study_ref == study_ref)
    )


def remove_recipient(connection: Connection, recipient: str) -> None:
    """The recipient is gone: all that it was told goes. Its head's sequence stays, for it may come again."""
    connection.execute(sa.delete(announcements).where(announcements.c.recipient == recipient))


def entries_of(connection: Connection, recipient: str) -> list[tuple[str, int, bytes]]:
    """``(study reference, sequence, digest)`` of what a head holds: the latest studies, as many as fit one."""
    query = (
        sa.select(announcements.c.study_ref, announcements.c.sequence, announcements.c.digest)
        .join(studies, studies.c.id == announcements.c.study_id)
        .where(announcements.c.recipient == recipient)
        .order_by(studies.c.last_arrival_at.desc(), announcements.c.study_ref)
        .limit(MAX_STUDIES)
    )
    return [(str(ref), int(sequence), bytes(digest)) for ref, sequence, digest in connection.execute(query)]


def payloads_of(connection: Connection, recipient: str, study_refs: Collection[str]) -> list[tuple[str, bytes]]:
    """``(study reference, announcement)`` as published, in the order of ``study_refs``."""
    refs = list(study_refs)
    found: dict[str, bytes] = {}
    for start in range(0, len(refs), _BATCH):
        query = sa.select(announcements.c.study_ref, announcements.c.payload).where(
            announcements.c.recipient == recipient, announcements.c.study_ref.in_(refs[start : start + _BATCH])
        )
        found |= {str(ref): bytes(payload) for ref, payload in connection.execute(query)}
    return [(ref, found[ref]) for ref in refs if ref in found]


def outside_window(connection: Connection, before: float) -> list[int]:
    """Studies that are announced to somebody although nothing came for them since ``before``."""
    query = (
        sa.select(announcements.c.study_id)
        .join(studies, studies.c.id == announcements.c.study_id)
        .where(studies.c.last_arrival_at < before)
        .distinct()
    )
    return sorted(int(row.study_id) for row in connection.execute(query))


def sealed_for_past_epochs(connection: Connection) -> list[int]:
    """Studies announced under an epoch that is not their recipient's current one."""
    current = sa.select(epochs.c.reference, sa.func.max(epochs.c.epoch).label("epoch")).group_by(epochs.c.reference)
    latest = current.subquery()
    query = (
        sa.select(announcements.c.study_id)
        .join(latest, latest.c.reference == announcements.c.recipient)
        .where(announcements.c.epoch != latest.c.epoch)
        .distinct()
    )
    return sorted(int(row.study_id) for row in connection.execute(query))


def follow_signer(connection: Connection, key_id: bytes) -> bool:
    """Every announcement is made again if the kept ones are signed by another key; whether that is so.

    Asked by whoever begins to sign, so that nothing stays that a process before it signed in the meantime.
    """
    signer = int.from_bytes(key_id[:_SIGNER_BYTES], "big")
    if get(connection, _SIGNER) == signer:
        return False
    put(connection, _SIGNER, signer)
    connection.execute(sa.update(announcements).values(epoch=0))
    return True


def may_fetch(connection: Connection, recipient: str, object_id: str) -> bool:
    """Whether the object belongs to a study that is announced to the recipient."""
    query = (
        sa.select(sa.literal(1))
        .select_from(objects.join(announcements, announcements.c.study_id == objects.c.study_id))
        .where(objects.c.object == object_id, announcements.c.recipient == recipient)
        .limit(1)
    )
    return connection.execute(query).first() is not None


# ── heads and receipts ────────────────────────────────────────────────────────────────────────────────────────────


def next_head(connection: Connection, recipient: str) -> int:
    """The next sequence of a recipient's head."""
    grown = sa.update(heads).where(heads.c.recipient == recipient).values(sequence=heads.c.sequence + 1)
    if not connection.execute(grown).rowcount:
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


@dataclass(frozen=True, slots=True)
class Noted:
    """A receipt of a device of ``recipient``; ``at`` in POSIX seconds."""

    recipient: str
    layer: Layer
    event: Literal["received", "opened"]
    at: float


def receipts_of(connection: Connection, study_id: int, limit: int) -> list[Noted]:
    """The first receipt of each kind that somebody's devices gave for a study, the latest first."""
    refs = references_of(connection, study_id)
    at = sa.func.min(receipts.c.at).label("at")
    query = (
        sa.select(devices.c.reference, receipts.c.layer, receipts.c.event, at)
        .join(devices, devices.c.device == receipts.c.device)
        .where(receipts.c.study_ref.in_(refs))
        .group_by(devices.c.reference, receipts.c.layer, receipts.c.event)
        .order_by(at.desc())
        .limit(limit)
    )
    return [Noted(row.reference, row.layer, row.event, float(row.at)) for row in connection.execute(query)]
