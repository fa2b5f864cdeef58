"""What devices sent up and where it went: the instance that it became, and whether the PACS has it for good.

Functions take a Connection and leave the transaction to the caller, as in ``arrivals``.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.engine import metadata

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("device", sa.String(26), primary_key=True),
    sa.Column("object", sa.String(26), primary_key=True),
    sa.Column("StudyInstanceUID", sa.String(64), nullable=False),
    sa.Column("SOPInstanceUID", sa.String(64), nullable=False, index=True),
    sa.Column("stored_at", sa.Float, nullable=False),
    sa.Column("pacs", sa.String(32), nullable=False),
    sa.Column("tried_at", sa.Float, nullable=False),
    sa.Column("sent_at", sa.Float, nullable=True),
    sa.Column("transaction_uid", sa.String(64), nullable=False),
    sa.Column("confirmed_at", sa.Float, nullable=True),
    sa.Column("reason", sa.String(256), nullable=False),
)
"""Times in POSIX seconds. ``pacs`` is where it is to go, empty for nowhere; ``transaction_uid`` that of the storage
commitment that was asked for, empty before; ``reason`` why it is not there yet."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """One row; ``is_pending``: its file is kept until the PACS confirms."""

    device: str
    object: str
    StudyInstanceUID: str
    SOPInstanceUID: str
    stored_at: float
    pacs: str
    tried_at: float
    sent_at: float | None
    transaction_uid: str
    confirmed_at: float | None
    reason: str

    @property
    def is_pending(self) -> bool:
        """Whether the PACS does not have it for good yet."""
        return bool(self.pacs) and self.confirmed_at is None


_pending = sa.and_(uploads.c.pacs != "", uploads.c.confirmed_at.is_(None))


def find(connection: Connection, device: str, object_id: str) -> Uploaded | None:
    """What became of an upload."""
    row = connection.execute(sa.select(uploads).where(_key(device, object_id))).first()
    return None if row is None else Uploaded(**row._mapping)


def add(connection: Connection, uploaded: Uploaded) -> None:
    """It is stored."""
    connection.execute(sa.insert(uploads).values(**{name: getattr(uploaded, name) for name in Uploaded.__slots__}))


def pending(connection: Connection, tried_before: float, limit: int = 20) -> list[Uploaded]:
    """What is still to be sent or confirmed, and was not tried since; the oldest first."""
    query = sa.select(uploads).where(_pending, uploads.c.tried_at < tried_before).order_by(uploads.c.stored_at)
    return [Uploaded(**row._mapping) for row in connection.execute(query.limit(limit))]


def listed(connection: Connection, limit: int = 1000) -> list[Uploaded]:
    """All, the latest first."""
    query = sa.select(uploads).order_by(uploads.c.stored_at.desc()).limit(limit)
    return [Uploaded(**row._mapping) for row in connection.execute(query)]


def note(connection: Connection, device: str, object_id: str, **values: float | str | None) -> None:
    """Change ``tried_at``, ``sent_at``, ``transaction_uid``, ``confirmed_at`` or ``reason``."""
    connection.execute(sa.update(uploads).where(_key(device, object_id)).values(**values))


def is_held() -> sa.ColumnElement[bool]:
    """A condition on instances: the only safe copy may be this one."""
    return sa.exists().where(uploads.c.SOPInstanceUID == t.instances.c.SOPInstanceUID, _pending)


def _key(device: str, object_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(uploads.c.device == device, uploads.c.object == object_id)
