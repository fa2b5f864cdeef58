"""Counters of the index: versions and sequences, which only grow, and sums."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import counters

QUARANTINE_DROPPED = "quarantine_dropped"
"""How many refused files were dropped for want of room."""
ARCHIVE_BYTES = "archive_bytes"
"""The sum of what the archive's files take: it grows with each arrival, in the arrival's own transaction."""
WARD_SETTINGS = "ward_settings"
"""A digest of the settings under which all that wards know of was told."""


def increment(connection: Connection, name: str) -> int:
    """The next value of a counter, from 1 on, inside the caller's writing transaction; its row stays locked.

    So values become visible in ascending order, and a transaction that is rolled back takes its value with it.
    """
    grown = sa.update(counters).where(counters.c.name == name).values(value=counters.c.value + 1)
    found = connection.execute(grown.returning(counters.c.value)).scalar_one_or_none()
    if found is None:
        connection.execute(sa.insert(counters).values(name=name, value=1))
        return 1
    return int(found)


def add(connection: Connection, name: str, amount: int) -> None:
    """Add to a sum, inside the caller's writing transaction."""
    grown = sa.update(counters).where(counters.c.name == name).values(value=counters.c.value + amount)
    if not connection.execute(grown).rowcount:
        connection.execute(sa.insert(counters).values(name=name, value=amount))


def put(connection: Connection, name: str, value: int) -> None:
    """Set a sum to what was counted."""
    if not connection.execute(sa.update(counters).where(counters.c.name == name).values(value=value)).rowcount:
        connection.execute(sa.insert(counters).values(name=name, value=value))


def get(connection: Connection, name: str) -> int:
    """A counter's value; 0 before the first."""
    return int(connection.execute(sa.select(counters.c.value).where(counters.c.name == name)).scalar() or 0)
