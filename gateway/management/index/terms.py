"""Whom a profile attends from when to when, beside whom it attends for good. Functions take a Connection.

Nothing is deleted before long: who attended whom at a moment can be told afterwards.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import metadata

Role = Literal["attending", "emergency"]

terms = sa.Table(
    "terms",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("recipient", sa.String(26), nullable=False, index=True),
    sa.Column("patient", sa.String(520), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("begins", sa.Float, nullable=False),
    sa.Column("ends", sa.Float, nullable=True),
    sa.Column("reason", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Term:
    """``patient`` is ``ID`` or ``ID^^^ISSUER``; times are POSIX seconds, ``ends`` None: until it is ended."""

    patient: str
    role: Role
    begins: float
    ends: float | None
    reason: str = ""

    def holds(self, now: float) -> bool:
        """Whether it has begun and not ended."""
        return self.begins <= now and (self.ends is None or now < self.ends)


def put(connection: Connection, recipient: str, term: Term) -> None:
    """Add a term. The caller notes that profiles changed."""
    connection.execute(
        sa.insert(terms).values(
            recipient=recipient,
            patient=term.patient,
            role=term.role,
            begins=term.begins,
            ends=term.ends,
            reason=term.reason,
        )
    )


def end(connection: Connection, recipient: str, patient: str, now: float) -> int:
    """End all terms of the recipient with a patient that hold or are to come; how many. The caller notes the change."""
    open_ = sa.or_(terms.c.ends.is_(None), terms.c.ends > now)
    mine = sa.and_(terms.c.recipient == recipient, terms.c.patient == patient, open_)
    return connection.execute(sa.update(terms).where(mine).values(ends=now)).rowcount


def all_open(connection: Connection, now: float) -> dict[str, list[Term]]:
    """By recipient, those that hold or are to come."""
    query = sa.select(terms).where(sa.or_(terms.c.ends.is_(None), terms.c.ends > now)).order_by(terms.c.id)
    found: defaultdict[str, list[Term]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.recipient].append(Term(row.patient, row.role, row.begins, row.ends, row.reason))
    return dict(found)


def remove_recipient(connection: Connection, recipient: str, now: float) -> None:
    """The profile is gone; should it come again, it attends nobody by these."""
    open_ = sa.or_(terms.c.ends.is_(None), terms.c.ends > now)
    connection.execute(sa.update(terms).where(terms.c.recipient == recipient, open_).values(ends=now))
