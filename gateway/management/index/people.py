"""The people's half of the index: profiles, devices, invitations, epochs.

Functions take a Connection and leave the transaction to the caller, as in ``arrivals``.
"""

import json
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import counters, metadata
from wire.names import Kind, check_kind

profiles = sa.Table(
    "profiles",
    metadata,
    sa.Column("reference", sa.String(26), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("identifier", sa.String(256), nullable=False),
    sa.Column("name", sa.String(256), nullable=False),
    sa.Column("attends", sa.Text, nullable=False),
    sa.UniqueConstraint("kind", "identifier"),
)

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("device", sa.String(26), primary_key=True),
    sa.Column("reference", sa.String(26), sa.ForeignKey("profiles.reference"), nullable=False, index=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("sign_key", sa.LargeBinary, nullable=False),
    sa.Column("exchange_key", sa.LargeBinary, nullable=False),
    sa.Column("password_sha256", sa.String(64), nullable=False),
    sa.Column("lease_secret", sa.LargeBinary, nullable=True),
    sa.Column("enrolled_at", sa.Float, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Column("revoked_at", sa.Float, nullable=True),
)

invites = sa.Table(
    "invites",
    metadata,
    sa.Column("enrolment", sa.String(26), primary_key=True),
    sa.Column("reference", sa.String(26), sa.ForeignKey("profiles.reference"), nullable=False),
    sa.Column("code", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("used_at", sa.Float, nullable=True),
    sa.Column("request_sha256", sa.LargeBinary, nullable=True),
    sa.Column("answer", sa.LargeBinary, nullable=True),
)

epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("reference", sa.String(26), primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("key", sa.LargeBinary, nullable=False),
)

MAX_FAILURES = 3
ANSWER_KEPT_S = 60.0
"""How long a used invitation's broker credential lives on, for an answer that was lost."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Somebody, or some ward, that studies are for. ``attends`` holds PatientIDs, or ``*`` for all."""

    reference: str
    kind: Kind
    identifier: str
    name: str
    attends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """An enrolled device; ``sign_key`` and ``exchange_key`` are raw public keys."""

    device: str
    reference: str
    name: str
    sign_key: bytes
    exchange_key: bytes
    password_sha256: str
    lease_secret: bytes | None
    enrolled_at: float
    seen_at: float
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class Invite:
    """A one-time invitation."""

    enrolment: str
    reference: str
    code: bytes
    expires_at: float
    failures: int
    used_at: float | None
    request_sha256: bytes | None
    answer: bytes | None

    def is_open(self, now: float) -> bool:
        """Whether it may still be used for a first time."""
        return self.used_at is None and self.failures < MAX_FAILURES and now < self.expires_at

    def has_login(self, now: float) -> bool:
        """Whether its broker credential stands: while open, and a moment longer for an answer that was lost."""
        return self.is_open(now) or (self.used_at is not None and now - self.used_at < ANSWER_KEPT_S)


def bump(connection: Connection) -> None:
    """Note that profiles, devices or invitations changed."""
    updated = connection.execute(
        sa.update(counters).where(counters.c.name == "people").values(value=counters.c.value + 1)
    )
    if updated.rowcount == 0:
        connection.execute(sa.insert(counters).values(name="people", value=1))


def version(connection: Connection) -> int:
    """Grows with every ``bump``."""
    found = connection.execute(sa.select(counters.c.value).where(counters.c.name == "people")).scalar()
    return int(found or 0)


# ── profiles ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _profile(row: sa.Row[tuple[object, ...]]) -> Profile:
    values = row._mapping
    attends = tuple(json.loads(values["attends"]))
    return Profile(values["reference"], check_kind(values["kind"]), values["identifier"], values["name"], attends)


def put_profile(connection: Connection, profile: Profile) -> bool:
    """Add a profile, or change name and attends of the one that is there; True if it is new."""
    values = {"name": profile.name, "attends": json.dumps(profile.attends)}
    updated = connection.execute(
        sa.update(profiles).where(profiles.c.reference == profile.reference).values(values)
    ).rowcount
    if not updated:
        connection.execute(
            sa.insert(profiles).values(
                reference=profile.reference, kind=profile.kind, identifier=profile.identifier, **values
            )
        )
    bump(connection)
    return not updated


def remove_profile(connection: Connection, reference: str) -> bool:
    """Remove a profile with its devices and invitations; False if there is none."""
    for table in (devices, invites, epochs):
        connection.execute(sa.delete(table).where(table.c.reference == reference))
    removed = connection.execute(sa.delete(profiles).where(profiles.c.reference == reference)).rowcount
    bump(connection)
    return bool(removed)


def all_profiles(connection: Connection) -> list[Profile]:
    """All profiles, by kind and identifier."""
    query = sa.select(profiles).order_by(profiles.c.kind, profiles.c.identifier)
    return [_profile(row) for row in connection.execute(query)]


def profile_by_reference(connection: Connection, reference: str) -> Profile | None:
    """One profile."""
    row = connection.execute(sa.select(profiles).where(profiles.c.reference == reference)).first()
    return _profile(row) if row else None


# ── devices ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _device(row: sa.Row[tuple[object, ...]]) -> Device:
    return Device(**row._mapping)


def add_device(connection: Connection, device: Device) -> None:
    """Enter an enrolled device."""
    connection.execute(sa.insert(devices).values(**{name: getattr(device, name) for name in Device.__slots__}))
    bump(connection)


def all_devices(connection: Connection, with_revoked: bool = True) -> list[Device]:
    """All devices, the latest enrolled first."""
    query = sa.select(devices).order_by(devices.c.enrolled_at.desc(), devices.c.device)
    if not with_revoked:
        query = query.where(devices.c.revoked_at.is_(None))
    return [_device(row) for row in connection.execute(query)]


def device_by_reference(connection: Connection, device: str) -> Device | None:
    """One device."""
    row = connection.execute(sa.select(devices).where(devices.c.device == device)).first()
    return _device(row) if row else None


def mark_seen(connection: Connection, device: str, at: float) -> None:
    """The device sent a request."""
    connection.execute(sa.update(devices).where(devices.c.device == device).values(seen_at=at))


def revoke_device(connection: Connection, device: str, at: float) -> bool:
    """No lease, no login, no key any more; False if there is no such device or it was revoked before."""
    revoked = connection.execute(
        sa.update(devices)
        .where(devices.c.device == device, devices.c.revoked_at.is_(None))
        .values(revoked_at=at, lease_secret=None)
    ).rowcount
    bump(connection)
    return bool(revoked)


# ── invitations ───────────────────────────────────────────────────────────────────────────────────────────────────


def add_invite(connection: Connection, invite: Invite) -> None:
    """Enter an invitation."""
    connection.execute(sa.insert(invites).values(**{name: getattr(invite, name) for name in Invite.__slots__}))
    bump(connection)


def invite_by_reference(connection: Connection, enrolment: str) -> Invite | None:
    """One invitation."""
    row = connection.execute(sa.select(invites).where(invites.c.enrolment == enrolment)).first()
    return Invite(**row._mapping) if row else None


def invites_with_login(connection: Connection, now: float) -> list[Invite]:
    """The invitations whose broker credential stands; those that are long over are removed by ``sweep_invites``."""
    rows = connection.execute(sa.select(invites).order_by(invites.c.enrolment))
    return [invite for invite in (Invite(**row._mapping) for row in rows) if invite.has_login(now)]


def fail_invite(connection: Connection, enrolment: str) -> None:
    """Count a failed attempt."""
    connection.execute(
        sa.update(invites).where(invites.c.enrolment == enrolment).values(failures=invites.c.failures + 1)
    )
    bump(connection)


def use_invite(connection: Connection, enrolment: str, request_sha256: bytes, answer: bytes, at: float) -> bool:
    """Use the invitation up; False if somebody did before. The answer is kept for a repeat of the same request."""
    used = connection.execute(
        sa.update(invites)
        .where(invites.c.enrolment == enrolment, invites.c.used_at.is_(None))
        .values(used_at=at, request_sha256=request_sha256, answer=answer)
    ).rowcount
    bump(connection)
    return bool(used)


def sweep_invites(connection: Connection, now: float) -> int:
    """Remove invitations that are of no use any more; returns how many."""
    rows = connection.execute(sa.select(invites))
    over = [i.enrolment for i in (Invite(**row._mapping) for row in rows) if not i.has_login(now)]
    for enrolment in over:
        connection.execute(sa.delete(invites).where(invites.c.enrolment == enrolment))
    return len(over)


# ── epochs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def current_epoch(connection: Connection, reference: str) -> tuple[int, bytes] | None:
    """The latest epoch of a recipient and its key."""
    query = (
        sa.select(epochs.c.epoch, epochs.c.key)
        .where(epochs.c.reference == reference)
        .order_by(epochs.c.epoch.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return (int(row.epoch), bytes(row.key)) if row else None


def start_epoch(connection: Connection, reference: str, key: bytes) -> int:
    """A new epoch for a recipient; returns its number."""
    current = current_epoch(connection, reference)
    number = (current[0] if current else 0) + 1
    connection.execute(sa.insert(epochs).values(reference=reference, epoch=number, key=key))
    return number
