"""Counters of the index that only grow, such as versions and sequences."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import counters


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
