"""What was ordered and is not made yet. Functions take a Connection and leave the transaction to the caller."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.engine import metadata
from wire.messages import Layer

ordered = sa.Table(
    "ordered",
    metadata,
    sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("layer", sa.String(16), primary_key=True),
    sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
)
"""A row lives from the order until all of the series is made, so that an order survives a restart."""


def is_ordered(layer: Layer) -> sa.ColumnElement[bool]:
    """A condition on instances: their series is ordered in this layer."""
    return sa.exists().where(ordered.c.series_id == t.instances.c.series_id, ordered.c.layer == layer)


def count(connection: Connection) -> int:
    """How many series wait, over all studies."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(ordered)).scalar() or 0)


def _waiting(connection: Connection, study_id: int, layer: Layer) -> set[int]:
    query = sa.select(ordered.c.series_id).where(ordered.c.study_id == study_id, ordered.c.layer == layer)
    return {int(row.series_id) for row in connection.execute(query)}


def holds(connection: Connection, study_id: int, series_ids: Collection[int], layer: Layer) -> bool:
    """Whether all of these series are ordered."""
    return _waiting(connection, study_id, layer).issuperset(series_ids)


def put(connection: Connection, study_id: int, series_ids: Collection[int], layer: Layer, at: float) -> None:
    """Order these series; those that are ordered already stay as they are."""
    fresh = sorted(set(series_ids) - _waiting(connection, study_id, layer))
    rows = [{"series_id": one, "layer": layer, "study_id": study_id, "at": at} for one in fresh]
    if rows:
        connection.execute(sa.insert(ordered), rows)


def close(connection: Connection, study_id: int, layer: Layer) -> None:
    """Nothing of the study waits any more in this layer."""
    connection.execute(sa.delete(ordered).where(ordered.c.study_id == study_id, ordered.c.layer == layer))
