"""The audit trail: entries in one chain, each linked to all before it. Functions take a Connection.

``link = SHA-256(label, link before, sequence, time, entry)``. An entry is written in the transaction of what it
records: there is no act without its entry, nor an entry without its act.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.audit import Event
from gateway.management.index.counting import increment
from gateway.management.index.engine import metadata

entries = sa.Table(
    "audit",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("entry", sa.Text, nullable=False),
    sa.Column("link", sa.LargeBinary(32), nullable=False),
)

FIRST_LINK = bytes(32)
_LABEL = b"mpacs/1 audit\0"
_COUNTER = "audit"
_PAGE = 1000
_SPOILT = {"event": "spoilt", "who": "unknown", "reason": "this entry was changed: `audit verify` says more"}
"""What stands for an entry that does not read: one spoilt line must not hide the others."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line; ``entry`` is the event as JSON, byte for byte as it was linked."""

    sequence: int
    at_ms: int
    entry: str
    link: bytes

    @property
    def event(self) -> dict[str, str]:
        """What happened, see ``audit.Event``."""
        try:
            found = json.loads(self.entry)
        except (ValueError, TypeError, RecursionError):
            found = None
        return found if isinstance(found, dict) and isinstance(found.get("event"), str) else dict(_SPOILT)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the chain stands: its last sequence (0 before the first) and link."""

    sequence: int
    link: bytes


def linked(before: bytes, sequence: int, at_ms: int, entry: str) -> bytes:
    """The link of an entry."""
    numbers = sequence.to_bytes(8, "big") + at_ms.to_bytes(8, "big")
    return hashlib.sha256(_LABEL + before + numbers + entry.encode()).digest()


def record(connection: Connection, *events: Event) -> None:
    """Add to the chain, inside the caller's writing transaction; entries become visible in their order."""
    for event in events:
        # The counter's row is locked until the commit: nobody else adds in between.
        sequence = increment(connection, _COUNTER)
        before = standing(connection)
        at_ms = int(time.time() * 1000)
        entry = json.dumps(event.plain(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        link = linked(before.link, sequence, at_ms, entry)
        connection.execute(sa.insert(entries).values(sequence=sequence, at_ms=at_ms, entry=entry, link=link))


def standing(connection: Connection) -> Standing:
    """Where the chain stands now."""
    query = sa.select(entries.c.sequence, entries.c.link).order_by(entries.c.sequence.desc()).limit(1)
    row = connection.execute(query).first()
    return Standing(int(row.sequence), bytes(row.link)) if row else Standing(0, FIRST_LINK)


def last_before(connection: Connection, at_ms: int) -> Standing | None:
    """The last entry from before a time; never the latest of all, from which the chain goes on."""
    query = sa.select(entries.c.sequence, entries.c.link).where(
        entries.c.at_ms < at_ms, entries.c.sequence < standing(connection).sequence
    )
    row = connection.execute(query.order_by(entries.c.sequence.desc()).limit(1)).first()
    return Standing(int(row.sequence), bytes(row.link)) if row else None


def remove_until(connection: Connection, sequence: int) -> None:
    """Remove entries up to this one. Without a checkpoint of it they count as deleted."""
    connection.execute(sa.delete(entries).where(entries.c.sequence <= sequence))


def latest_of(connection: Connection, event: str) -> Entry | None:
    """The last entry of a kind."""
    query = sa.select(entries).where(entries.c.entry.contains(f'"event":"{event}"', autoescape=True))
    row = connection.execute(query.order_by(entries.c.sequence.desc()).limit(1)).first()
    return Entry(int(row.sequence), int(row.at_ms), str(row.entry), bytes(row.link)) if row else None


def counted(connection: Connection) -> int:
    """How many entries were ever added, as the index's own counter has it."""
    from gateway.management.index.counting import get

    return get(connection, _COUNTER)


def oldest_first(connection: Connection) -> Iterator[Entry]:
    """All entries, in bounded memory."""
    after = 0
    while True:
        query = sa.select(entries).where(entries.c.sequence > after).order_by(entries.c.sequence).limit(_PAGE)
        rows = connection.execute(query).all()
        for row in rows:
            yield Entry(int(row.sequence), int(row.at_ms), str(row.entry), bytes(row.link))
        if not rows:
            return
        after = int(rows[-1].sequence)


def latest_first(connection: Connection) -> Iterator[Entry]:
    """The same, backwards."""
    before: int | None = None
    while True:
        query = sa.select(entries).order_by(entries.c.sequence.desc()).limit(_PAGE)
        if before is not None:
            query = query.where(entries.c.sequence < before)
        rows = connection.execute(query).all()
        for row in rows:
            yield Entry(int(row.sequence), int(row.at_ms), str(row.entry), bytes(row.link))
        if not rows:
            return
        before = int(rows[-1].sequence)
