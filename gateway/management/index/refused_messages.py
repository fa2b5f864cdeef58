"""HL7 messages that were not taken, kept for an operator. Functions take a Connection, as in ``arrivals``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import metadata

refused_messages = sa.Table(
    "refused_messages",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("name", sa.String(32), nullable=False),
    sa.Column("reason", sa.String(256), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
)

MOST = 2_000
"""The longest untouched goes where there are more: a sender that repeats itself for ever must not fill the disk."""


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """One of them; ``data`` is the message as it came, ``name`` its type and event."""

    digest: str
    data: bytes
    name: str
    reason: str
    at: float
    times: int


def keep(connection: Connection, data: bytes, name: str, reason: str, at: float) -> bool:
    """Keep a message; the same bytes again raise its count. Returns whether another had to go for it."""
    digest = hashlib.sha256(data).hexdigest()
    values = {"name": name[:32], "reason": reason[:256], "at": at}
    again = (
        sa.update(refused_messages)
        .where(refused_messages.c.digest == digest)
        .values(times=refused_messages.c.times + 1, **values)
    )
    if connection.execute(again).rowcount:
        return False
    connection.execute(sa.insert(refused_messages).values(digest=digest, data=data, times=1, **values))
    count = connection.execute(sa.select(sa.func.count()).select_from(refused_messages)).scalar_one()
    if count <= MOST:
        return False
    order = (refused_messages.c.at, refused_messages.c.digest)
    oldest = connection.execute(sa.select(refused_messages.c.digest).order_by(*order).limit(1)).scalar_one()
    drop(connection, oldest)
    return True


def all_kept(connection: Connection) -> list[RefusedMessage]:
    """All of them, the latest first."""
    query = sa.select(refused_messages).order_by(refused_messages.c.at.desc(), refused_messages.c.digest)
    return [RefusedMessage(**row._mapping) for row in connection.execute(query)]


def get(connection: Connection, digest: str) -> RefusedMessage | None:
    """One of them."""
    row = connection.execute(sa.select(refused_messages).where(refused_messages.c.digest == digest)).first()
    return RefusedMessage(**row._mapping) if row else None


def drop(connection: Connection, digest: str) -> None:
    """Forget one."""
    connection.execute(sa.delete(refused_messages).where(refused_messages.c.digest == digest))
