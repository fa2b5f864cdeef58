"""Requests that were carried out: none is a second time, not after a restart either. Functions take a Connection.

A row for each connection of a device (its boot id): the counter grows within it, so the last one stands for all before.
Rows are bounded: of those that are dropped a device's floor remembers the latest time of issue, and nothing that was
issued up to then is taken from a boot that is not known.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import metadata

requests_seen = sa.Table(
    "requests_seen",
    metadata,
    sa.Column("device", sa.String(26), primary_key=True),
    sa.Column("boot", sa.LargeBinary(16), primary_key=True),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("issued", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=True),
)
"""Times in milliseconds; ``issued`` is the latest of the boot, ``answer`` that to the last counter, if it was kept."""

request_floors = sa.Table(
    "request_floors",
    metadata,
    sa.Column("device", sa.String(26), primary_key=True),
    sa.Column("issued", sa.BigInteger, nullable=False),
)

MOST_BOOTS = 256
KEPT_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Seen:
    """The request was carried out before; ``answer`` is what was answered, if that was kept."""

    answer: bytes | None


def enter(connection: Connection, device: str, boot: bytes, counter: int, issued: int, now: int) -> Seen | bool:
    """True if the request is new, which it then never is again; False if nobody can tell; else what is known of it."""
    mine = sa.and_(requests_seen.c.device == device, requests_seen.c.boot == boot)
    row = connection.execute(sa.select(requests_seen).where(mine)).first()
    if row is not None:
        if counter <= row.counter:
            return Seen(bytes(row.answer) if counter == row.counter and row.answer is not None else None)
        values = {"counter": counter, "issued": max(issued, row.issued), "at": now, "answer": None}
        connection.execute(sa.update(requests_seen).where(mine).values(values))
        return True
    if issued <= _floor(connection, device):
        return False
    connection.execute(
        sa.insert(requests_seen).values(device=device, boot=boot, counter=counter, issued=issued, at=now, answer=None)
    )
    _drop_oldest(connection, device)
    return True


def _floor(connection: Connection, device: str) -> int:
    query = sa.select(request_floors.c.issued).where(request_floors.c.device == device)
    return int(connection.execute(query).scalar() or 0)


def _drop_oldest(connection: Connection, device: str) -> None:
    """Beyond the bound the boots go whose last request was issued first: so the floor is as low as can be."""
    query = sa.select(requests_seen.c.boot, requests_seen.c.issued).where(requests_seen.c.device == device)
    rows = connection.execute(query.order_by(requests_seen.c.issued.desc()).offset(MOST_BOOTS)).all()
    if rows:
        floor = max(_floor(connection, device), *(int(row.issued) for row in rows))
        connection.execute(sa.delete(request_floors).where(request_floors.c.device == device))
        connection.execute(sa.insert(request_floors).values(device=device, issued=floor))
        boots = [bytes(row.boot) for row in rows]
        connection.execute(
            sa.delete(requests_seen).where(requests_seen.c.device == device, requests_seen.c.boot.in_(boots))
        )


def keep_answer(connection: Connection, device: str, boot: bytes, counter: int, answer: bytes) -> None:
    """What was answered to the last request of a boot."""
    connection.execute(
        sa.update(requests_seen)
        .where(requests_seen.c.device == device, requests_seen.c.boot == boot, requests_seen.c.counter == counter)
        .values(answer=answer)
    )


def sweep(connection: Connection, now: int) -> None:
    """Forget what could not be taken again anyway, because it was issued too long ago."""
    before = now - KEPT_MS
    connection.execute(sa.delete(requests_seen).where(requests_seen.c.issued < before, requests_seen.c.at < before))
    connection.execute(sa.delete(request_floors).where(request_floors.c.issued < before))
