"""What PACS were asked to keep, and what they answered. Functions take a Connection."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import metadata

PENDING, KEPT, FAILED = "pending", "kept", "failed"

commitments = sa.Table(
    "commitments",
    metadata,
    sa.Column("transaction_uid", sa.String(64), primary_key=True),
    sa.Column("SOPInstanceUID", sa.String(64), primary_key=True),
    sa.Column("pacs", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Integer, nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Index("ix_commitments_instance", "SOPInstanceUID"),
)
"""``reason``: FailureReason (PS3.3 section C.14), 0 unless failed."""


def ask(connection: Connection, transaction: str, pacs: str, SOPInstanceUIDs: Sequence[str], at: float) -> None:
    """A PACS is asked to keep these."""
    rows = [
        {
            "transaction_uid": transaction,
            "SOPInstanceUID": uid,
            "pacs": pacs,
            "state": PENDING,
            "reason": 0,
            "asked_at": at,
        }
        for uid in dict.fromkeys(SOPInstanceUIDs)
    ]
    connection.execute(sa.insert(commitments), rows)


def answer(connection: Connection, transaction: str, kept: Sequence[str], failed: Sequence[tuple[str, int]]) -> bool:
    """Note what was answered of a transaction; False, and nothing, where nobody had asked."""
    known = sa.select(sa.literal(1)).where(commitments.c.transaction_uid == transaction).limit(1)
    if connection.execute(known).first() is None:
        return False
    for uid in kept:
        _set(connection, transaction, uid, KEPT, 0)
    for uid, reason in failed:
        _set(connection, transaction, uid, FAILED, reason)
    return True


def _set(connection: Connection, transaction: str, uid: str, state: str, reason: int) -> None:
    row = (commitments.c.transaction_uid == transaction, commitments.c.SOPInstanceUID == uid)
    connection.execute(sa.update(commitments).where(*row).values(state=state, reason=reason))


def states(connection: Connection, transaction: str) -> dict[str, tuple[str, int]]:
    """SOPInstanceUID to its state and reason, of a transaction."""
    query = sa.select(commitments).where(commitments.c.transaction_uid == transaction)
    return {str(row.SOPInstanceUID): (str(row.state), int(row.reason)) for row in connection.execute(query)}


def forget(connection: Connection, transaction: str) -> None:
    """The transaction is over."""
    connection.execute(sa.delete(commitments).where(commitments.c.transaction_uid == transaction))
