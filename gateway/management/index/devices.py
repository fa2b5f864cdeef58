"""Devices that are to be wiped, and enrolments that wait for an operator. Functions take a Connection.

Tables of their own, beside ``people``: most sites have no row in them.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import metadata
from gateway.management.index.people import bump, invites, profiles

wipes = sa.Table(
    "wipes",
    metadata,
    sa.Column("device", sa.String(26), primary_key=True),
    sa.Column("ordered_at", sa.Float, nullable=False),
    sa.Column("wiped_at", sa.Float, nullable=True),
)
"""A device that is to be wiped is revoked, but keeps its broker login until it has said that it is wiped."""

waiting = sa.Table(
    "enrolments_waiting",
    metadata,
    sa.Column("enrolment", sa.String(26), primary_key=True),
    sa.Column("fingerprint", sa.String(16), nullable=False, index=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("confirmed_at", sa.Float, nullable=True),
)
"""Requests that came with a code and wait for an operator's word, or were confirmed and wait for being answered."""


@dataclass(frozen=True, slots=True)
class Wiping:
    """When a device was ordered to erase itself, and when it said that it had; POSIX seconds."""

    ordered_at: float
    wiped_at: float | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An enrolment that waits. ``fingerprint`` is the key id of the device's signing key, in hex."""

    enrolment: str
    fingerprint: str
    name: str
    request: bytes
    asked_at: float
    confirmed_at: float | None


# ── wiping ────────────────────────────────────────────────────────────────────────────────────────────────────────


def order_wipe(connection: Connection, device: str, at: float) -> None:
    """The device is to erase itself; once more is no error."""
    known = sa.select(wipes.c.device).where(wipes.c.device == device)
    if connection.execute(known).first() is None:
        connection.execute(sa.insert(wipes).values(device=device, ordered_at=at, wiped_at=None))
        bump(connection)


def note_wiped(connection: Connection, device: str, at: float) -> bool:
    """The device says that it has; False if it was not ordered to, or had said so before."""
    pending = sa.and_(wipes.c.device == device, wipes.c.wiped_at.is_(None))
    if not connection.execute(sa.update(wipes).where(pending).values(wiped_at=at)).rowcount:
        return False
    bump(connection)
    return True


def all_wipes(connection: Connection) -> dict[str, Wiping]:
    """By device."""
    return {str(row.device): Wiping(row.ordered_at, row.wiped_at) for row in connection.execute(sa.select(wipes))}


def to_be_wiped(connection: Connection) -> set[str]:
    """Devices that were ordered to and did not say yet that they have."""
    return {device for device, wiping in all_wipes(connection).items() if wiping.wiped_at is None}


# ── waiting for an operator ───────────────────────────────────────────────────────────────────────────────────────


def put_waiting(connection: Connection, one: Waiting) -> None:
    """Enter an enrolment; what else waits under the same code stays, and this one is passed over."""
    if waiting_by_enrolment(connection, one.enrolment) is None:
        values = {name: getattr(one, name) for name in Waiting.__slots__}
        connection.execute(sa.insert(waiting).values(**values))


def waiting_by_enrolment(connection: Connection, enrolment: str) -> Waiting | None:
    """What waits under a code."""
    row = connection.execute(sa.select(waiting).where(waiting.c.enrolment == enrolment)).first()
    return Waiting(**row._mapping) if row else None


def all_waiting(connection: Connection, now: float) -> list[tuple[Waiting, str, str]]:
    """``(enrolment, kind, identifier)`` of all that wait for a word and have not expired, the longest waiting first."""
    query = (
        sa.select(waiting, profiles.c.kind.label("kind_"), profiles.c.identifier.label("identifier_"))
        .join(invites, invites.c.enrolment == waiting.c.enrolment)
        .join(profiles, profiles.c.reference == invites.c.reference)
        .where(waiting.c.confirmed_at.is_(None), invites.c.expires_at > now, invites.c.used_at.is_(None))
        .order_by(waiting.c.asked_at, waiting.c.enrolment)
    )
    found = []
    for row in connection.execute(query):
        values = dict(row._mapping)
        kind, identifier = str(values.pop("kind_")), str(values.pop("identifier_"))
        found.append((Waiting(**values), kind, identifier))
    return found


def confirm(connection: Connection, enrolment: str, at: float) -> None:
    """An operator says that it is the right device."""
    connection.execute(sa.update(waiting).where(waiting.c.enrolment == enrolment).values(confirmed_at=at))


def confirmed(connection: Connection) -> list[Waiting]:
    """What is to be answered."""
    rows = connection.execute(sa.select(waiting).where(waiting.c.confirmed_at.is_not(None)))
    return [Waiting(**row._mapping) for row in rows]


def remove_waiting(connection: Connection, enrolment: str) -> None:
    """It was answered, rejected, or its code has died."""
    connection.execute(sa.delete(waiting).where(waiting.c.enrolment == enrolment))


def sweep_waiting(connection: Connection) -> None:
    """Remove those whose invitation is no more."""
    known = sa.select(invites.c.enrolment).where(invites.c.enrolment == waiting.c.enrolment)
    connection.execute(sa.delete(waiting).where(sa.not_(known.exists())))
