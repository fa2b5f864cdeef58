"""The people's half of the index: profiles, devices, invitations.

Functions take a Connection and leave the transaction to the caller, as in ``arrivals``.
"""

import json
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.counting import increment
from gateway.management.index.engine import counters, metadata
from gateway.management.index.epochs import current_epoch, start_epoch
from gateway.management.index.terms import Term
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

MAX_FAILURES = 3
ANSWER_KEPT_S = 60.0
"""How long a used invitation's broker credential lives on, for an answer that was lost."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Somebody, or some ward, that studies are for.

    ``attends`` holds PatientIDs, or ``*`` for all; ``terms`` whom it attends for a time, if the reader asked for that.
    """

    reference: str
    kind: Kind
    identifier: str
    name: str
    attends: tuple[str, ...]
    terms: tuple[Term, ...] = ()


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
        return self.is_open(now) or (self.answer is not None and now < self.login_ends_at)

    @property
    def login_ends_at(self) -> float:
        """When its broker credential ends by itself, in POSIX seconds."""
        return self.expires_at if self.used_at is None else self.used_at + ANSWER_KEPT_S


_PEOPLE = "people"
_PROFILES = "profiles"


def bump(connection: Connection, *names: str) -> None:
    """Note that profiles, devices or invitations changed; ``names`` are further counters that grow with it."""
    for name in (_PEOPLE, *names):
        increment(connection, name)


def version(connection: Connection) -> tuple[int, int]:
    """Two numbers: the first grows with every change, the second with those of profiles alone.

    A profile's change asks for every study to be judged anew; an invitation or a device does not.
    """
    rows = connection.execute(sa.select(counters.c.name, counters.c.value)).all()
    found = {str(row.name): int(row.value) for row in rows}
    return found.get(_PEOPLE, 0), found.get(_PROFILES, 0)


# ── profiles ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _profile(row: sa.Row[tuple[object, ...]]) -> Profile:
    values = row._mapping
    attends = tuple(json.loads(values["attends"]))
    return Profile(values["reference"], check_kind(values["kind"]), values["identifier"], values["name"], attends)


def put_profile(connection: Connection, profile: Profile) -> bool:
    """Add a profile, or change name and attends of the one that is there; True if it is new."""
    known = profile_by_reference(connection, profile.reference)
    if known == profile:
        return False
    values = {"name": profile.name, "attends": json.dumps(profile.attends)}
    if known is not None:
        connection.execute(sa.update(profiles).where(profiles.c.reference == profile.reference).values(values))
    else:
        connection.execute(
            sa.insert(profiles).values(
                reference=profile.reference, kind=profile.kind, identifier=profile.identifier, **values
            )
        )
    bump(connection, _PROFILES)
    return known is None


def remove_profile(connection: Connection, reference: str) -> bool:
    """Remove a profile with its devices and invitations; False if there is none.

    Epochs stay: should the profile come again, a device of its former life must not hold the key of its new one.
    """
    for table in (devices, invites):
        connection.execute(sa.delete(table).where(table.c.reference == reference))
    removed = connection.execute(sa.delete(profiles).where(profiles.c.reference == reference)).rowcount
    if removed and current_epoch(connection, reference) is not None:
        start_epoch(connection, reference)
    bump(connection, _PROFILES)
    return bool(removed)


def all_profiles(connection: Connection, kind: Kind | None = None) -> list[Profile]:
    """All profiles, or those of one kind, by kind and identifier."""
    query = sa.select(profiles).order_by(profiles.c.kind, profiles.c.identifier)
    if kind is not None:
        query = query.where(profiles.c.kind == kind)
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


def devices_of(connection: Connection, reference: str) -> list[Device]:
    """The active devices of one recipient, the latest enrolled first."""
    query = sa.select(devices).where(devices.c.reference == reference, devices.c.revoked_at.is_(None))
    return [_device(row) for row in connection.execute(query.order_by(devices.c.enrolled_at.desc(), devices.c.device))]


def device_by_reference(connection: Connection, device: str) -> Device | None:
    """One device."""
    row = connection.execute(sa.select(devices).where(devices.c.device == device)).first()
    return _device(row) if row else None


def mark_seen(connection: Connection, device: str, at: float) -> None:
    """The device sent a request."""
    connection.execute(sa.update(devices).where(devices.c.device == device).values(seen_at=at))


def revoke_device(connection: Connection, device: str, at: float) -> bool:
    """No lease, no login, no key any more; False if there is no such device or it was revoked before.

    With it begins a new epoch of its recipient, so there is no moment at which one holds without the other.
    """
    revoked = connection.execute(
        sa.update(devices)
        .where(devices.c.device == device, devices.c.revoked_at.is_(None))
        .values(revoked_at=at, lease_secret=None)
    ).rowcount
    if not revoked:
        return False
    reference = connection.execute(sa.select(devices.c.reference).where(devices.c.device == device)).scalar_one()
    start_epoch(connection, reference)
    bump(connection)
    return True


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


def kill_invite(connection: Connection, enrolment: str) -> None:
    """Nobody may use it any more."""
    connection.execute(sa.update(invites).where(invites.c.enrolment == enrolment).values(failures=MAX_FAILURES))
    bump(connection)


def end_login(connection: Connection, enrolment: str) -> None:
    """A used invitation's answer is not given again, and its broker credential ends."""
    connection.execute(sa.update(invites).where(invites.c.enrolment == enrolment).values(answer=None))
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
