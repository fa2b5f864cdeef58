"""Epochs: the key under which a recipient's announcements and heads are sealed, and its successors."""

import os

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index.engine import metadata

EPOCH_KEY_BYTES = 32

epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("reference", sa.String(26), primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("key", sa.LargeBinary, nullable=False),
)


def current_epoch(connection: Connection, reference: str) -> tuple[int, bytes] | None:
    """The latest epoch of a recipient and its key."""
    query = (
        sa.select(epochs.c.epoch, epochs.c.key)
        .where(epochs.c.reference == reference)
        .order_by(epochs.c.epoch.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return (int(row.epoch), bytes(row.key)) if row else None


def start_epoch(connection: Connection, reference: str) -> tuple[int, bytes]:
    """A new epoch for a recipient, under a fresh key; returns its number and the key."""
    current = current_epoch(connection, reference)
    number, key = (current[0] if current else 0) + 1, os.urandom(EPOCH_KEY_BYTES)
    connection.execute(sa.insert(epochs).values(reference=reference, epoch=number, key=key))
    return number, key


def current_or_first(connection: Connection, reference: str) -> tuple[int, bytes]:
    """The current epoch, begun if there is none yet; in the caller's writing transaction."""
    return current_epoch(connection, reference) or start_epoch(connection, reference)
