"""Studies that somebody has beyond what rules and profiles say: shared by another, or fetched on request.

Functions take a Connection and leave the transaction to the caller, as in ``arrivals``. Who changes a grant touches the
study, so that it is announced anew.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import deliveries
from gateway.management.index.engine import metadata

grants = sa.Table(
    "grants",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("recipient", sa.String(26), primary_key=True),
    sa.Column("giver", sa.String(26), primary_key=True),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""References of profiles. ``until`` and ``at`` in milliseconds, 0: without an end. Who gives to itself has fetched the
study: that is no right, but keeps it announced beyond the window of days."""

MOST_OF_STUDY = 256


@dataclass(frozen=True, slots=True)
class Grant:
    """``recipient`` has the study by ``giver``; ``is_own``: it asked for it itself."""

    recipient: str
    giver: str
    until: int

    @property
    def is_own(self) -> bool:
        """Whether it was fetched, not shared."""
        return self.recipient == self.giver


def of_study(connection: Connection, study_id: int, now: int) -> list[Grant]:
    """Those that have not ended at ``now`` (milliseconds)."""
    query = sa.select(grants.c.recipient, grants.c.giver, grants.c.until).where(
        grants.c.study_id == study_id, sa.or_(grants.c.until == 0, grants.c.until > now)
    )
    return [Grant(str(r), str(g), int(u)) for r, g, u in connection.execute(query)]


def by_study(connection: Connection, now: int) -> dict[int, list[Grant]]:
    """All that have not ended."""
    query = sa.select(grants.c.study_id, grants.c.recipient, grants.c.giver, grants.c.until)
    found: dict[int, list[Grant]] = {}
    for study, recipient, giver, until in connection.execute(
        query.where(sa.or_(grants.c.until == 0, grants.c.until > now))
    ):
        found.setdefault(int(study), []).append(Grant(str(recipient), str(giver), int(until)))
    return found


def put(connection: Connection, study_id: int, recipient: str, giver: str, until: int, now: int) -> bool:
    """Give, or give until another time; False if the study has too many."""
    mine = _mine(study_id, recipient, giver)
    if not connection.execute(sa.update(grants).where(mine).values(until=until, at=now)).rowcount:
        count = sa.select(sa.func.count()).select_from(grants).where(grants.c.study_id == study_id)
        if int(connection.execute(count).scalar_one()) >= MOST_OF_STUDY:
            return False
        connection.execute(
            sa.insert(grants).values(study_id=study_id, recipient=recipient, giver=giver, until=until, at=now)
        )
    deliveries.touch(connection, study_id)
    return True


def remove(connection: Connection, study_id: int, recipient: str, giver: str) -> bool:
    """Take back; False if nothing was given."""
    if not connection.execute(sa.delete(grants).where(_mine(study_id, recipient, giver))).rowcount:
        return False
    deliveries.touch(connection, study_id)
    return True


def ended(connection: Connection, now: int) -> bool:
    """Whether one has ended that is still kept."""
    query = sa.select(sa.literal(1)).where(grants.c.until > 0, grants.c.until <= now).limit(1)
    return connection.execute(query).first() is not None


def sweep(connection: Connection, now: int) -> None:
    """Remove what has ended, and have the studies announced anew."""
    over = sa.and_(grants.c.until > 0, grants.c.until <= now)
    studies = {int(row.study_id) for row in connection.execute(sa.select(grants.c.study_id).where(over))}
    connection.execute(sa.delete(grants).where(over))
    for study_id in sorted(studies):
        deliveries.touch(connection, study_id)


def _mine(study_id: int, recipient: str, giver: str) -> sa.ColumnElement[bool]:
    return sa.and_(grants.c.study_id == study_id, grants.c.recipient == recipient, grants.c.giver == giver)
