"""Which layer of which instance is over: made whole, or refused for a reason. Functions take a Connection.

``display`` and ``video`` keep their progress in the instance's own state; every other layer is noted here, so that
what one of them cannot make is neither tried for ever nor a failure of the others.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.arrivals_rows import InstanceRow
from gateway.management.index.engine import metadata
from gateway.management.index.ordered import is_ordered
from gateway.management.rendering.syntaxes import VIDEO
from wire.messages import Layer

layers_over = sa.Table(
    "layers_over",
    metadata,
    sa.Column("instance_id", sa.Integer, sa.ForeignKey("instances.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("layer", sa.String(16), primary_key=True),
    sa.Column("reason", sa.String(32), nullable=False),
)
"""No row: still to be made. ``reason`` is empty where it was made, else why it was not."""

MISSING: Final = "missing"
"""A reason: the file is not here. It may come again."""
INCOMPLETE: Final = "incomplete"
"""A reason: of what it is about, not all is here. It may come."""

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Need:
    """Which instances a layer is made of, and whether it waits until their study has settled and has its pictures."""

    instances: sa.ColumnElement[bool]
    when_settled: bool
    in_state: bool = False
    """Its progress is the instance's own state, as that of ``display``; nothing is noted here."""


_REPORTS: Final = sa.or_(
    t.instances.c.SOPClassUID.like("1.2.840.10008.5.1.4.1.1.88.%"),
    t.instances.c.SOPClassUID.in_(
        (
            "1.2.840.10008.5.1.4.1.1.79.1",  # Macular Grid Thickness and Volume Report
            "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
            "1.2.840.10008.5.1.4.1.1.104.2",  # Encapsulated CDA
        )
    ),
)
"""Structured reports, key object selections and documents (PS3.4 annex B.5, PS3.6 annex A)."""

_IS_VIDEO: Final = sa.and_(t.instances.c.has_pixels.is_(sa.true()), t.instances.c.TransferSyntaxUID.in_(tuple(VIDEO)))
_HAS_FRAMES: Final = sa.and_(
    t.instances.c.has_pixels.is_(sa.true()), t.instances.c.TransferSyntaxUID.not_in(tuple(VIDEO))
)

PRESENTATION_STATES: Final = tuple(f"1.2.840.10008.5.1.4.1.1.11.{n}" for n in (1, 2, 5))
"""Greyscale, colour, XA and XRF greyscale softcopy: those that are applied here (PS3.4 annex B.5)."""

Stage = Layer | Literal["presentation"]
"""A layer, or ``presentation``: pictures of the layer ``display`` that presentation states ask for, made behind it."""

NEEDS: Final[dict[Stage, Need]] = {
    "presentation": Need(t.instances.c.SOPClassUID.in_(PRESENTATION_STATES), when_settled=True),
    "diagnostic": Need(_HAS_FRAMES, when_settled=True),
    "report": Need(_REPORTS, when_settled=False),
    "video": Need(sa.and_(_IS_VIDEO, t.instances.c.state == "received"), when_settled=False, in_state=True),
    "original": Need(is_ordered("original"), when_settled=True),
}
"""The layers beside ``display`` and ``thumbnail``."""

lacks_pictures: Final = sa.exists().where(
    t.instances.c.study_id == t.studies.c.id, t.instances.c.state == "received", _HAS_FRAMES
)
"""A condition on studies: ``display`` is still to be made of one of their instances."""


def due(layer: Stage) -> sa.ColumnElement[bool]:
    """A condition on instances: this layer is still to be made of them."""
    over = sa.exists().where(layers_over.c.instance_id == t.instances.c.id, layers_over.c.layer == layer)
    return sa.and_(NEEDS[layer].instances, t.instances.c.state != "evicted", sa.not_(over))


def lacks(layer: Stage) -> sa.ColumnElement[bool]:
    """A condition on studies: whether this layer is still to be made of one of their instances now."""
    lacking = sa.exists().where(t.instances.c.study_id == t.studies.c.id, due(layer))
    if NEEDS[layer].when_settled:
        return sa.and_(t.studies.c.settled.is_(sa.true()), sa.not_(lacks_pictures), lacking)
    return lacking


def due_of(connection: Connection, study_id: int, layer: Stage) -> list[InstanceRow]:
    """A study's instances of which this layer is still to be made, by series and InstanceNumber."""
    query = sa.select(t.instances).where(t.instances.c.study_id == study_id, due(layer))
    order = (t.instances.c.series_id, t.instances.c.InstanceNumber.is_(None), t.instances.c.InstanceNumber)
    return [InstanceRow(**row._mapping) for row in connection.execute(query.order_by(*order, t.instances.c.id))]


def close(connection: Connection, layer: Stage, instance_ids: Collection[int], reason: str = "") -> None:
    """The layer is over for these instances: made whole, or refused for ``reason``."""
    reopen(connection, instance_ids, layer)
    rows: list[dict[str, Any]] = [{"instance_id": one, "layer": layer, "reason": reason[:32]} for one in instance_ids]
    if rows:
        connection.execute(sa.insert(layers_over), rows)


def reopen(connection: Connection, instance_ids: Collection[int], layer: Stage) -> None:
    """The layer is to be made of these instances again."""
    ids = sorted(instance_ids)
    for start in range(0, len(ids), _BATCH):
        those = layers_over.c.instance_id.in_(ids[start : start + _BATCH])
        connection.execute(sa.delete(layers_over).where(those, layers_over.c.layer == layer))


def over(connection: Connection, instance_id: int) -> dict[str, str]:
    """Of one instance each layer that is over: ``made``, or the reason why not."""
    query = sa.select(layers_over.c.layer, layers_over.c.reason).where(layers_over.c.instance_id == instance_id)
    return {
        str(row.layer): str(row.reason) or "made" for row in connection.execute(query.order_by(layers_over.c.layer))
    }


def reasons(connection: Connection, study_id: int, layer: Stage) -> dict[int, str]:
    """For each instance of a study of which the layer is over: empty, or why it was refused."""
    query = sa.select(layers_over.c.instance_id, layers_over.c.reason).join(
        t.instances, t.instances.c.id == layers_over.c.instance_id
    )
    rows = connection.execute(query.where(t.instances.c.study_id == study_id, layers_over.c.layer == layer))
    return {int(row.instance_id): str(row.reason) for row in rows}


def series_of_reports(connection: Connection, study_id: int) -> set[int]:
    """Those of a study's series that hold nothing but reports."""
    query = sa.select(t.instances.c.series_id, sa.func.min(sa.case((_REPORTS, 1), else_=0))).where(
        t.instances.c.study_id == study_id
    )
    rows = connection.execute(query.group_by(t.instances.c.series_id))
    return {int(series_id) for series_id, only_reports in rows if only_reports}


def reopen_incomplete(connection: Connection, study_id: int, layer: Stage) -> None:
    """The layer is to be made again of those instances of the study of which something was not here."""
    those = sa.select(t.instances.c.id).where(t.instances.c.study_id == study_id)
    lacking = sa.and_(layers_over.c.layer == layer, layers_over.c.reason == INCOMPLETE)
    connection.execute(sa.delete(layers_over).where(lacking, layers_over.c.instance_id.in_(those)))
