"""Which series may have somebody's name in their pixels. Functions take a Connection.

What an instance says of itself (BurnedInAnnotation, PS3.3 C.7.6.1.1) has a row; most say nothing, and have none.
"""

import json

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_tables as t
from gateway.management.index.engine import metadata
from gateway.management.index.layers import PRESENTATION_STATES
from gateway.management.rendering.burned_in import may_show_identity

burned_in = sa.Table(
    "burned_in",
    metadata,
    sa.Column("instance_id", sa.Integer, sa.ForeignKey("instances.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("stated", sa.String(16), nullable=False),
)

_TAG = "00280301"


def note(connection: Connection, instance_id: int, attributes: bytes) -> None:
    """Keep what an instance's own series attributes (DICOM JSON) say of it."""
    if _TAG.encode() not in attributes:
        return
    values = json.loads(attributes).get(_TAG, {}).get("Value", [])
    if values:
        connection.execute(sa.insert(burned_in).values(instance_id=instance_id, stated=str(values[0])[:16]))


def series_with_names(connection: Connection, study_id: int) -> set[int]:
    """Those of a study's series of which one picture at least may show who the patient is.

    Pictures of presentation states may: a reader writes free text into them, and they show images of other series.
    """
    states = t.instances.c.SOPClassUID.in_(PRESENTATION_STATES)
    query = (
        sa.select(t.series.c.id, t.series.c.Modality, t.instances.c.SOPClassUID, burned_in.c.stated)
        .select_from(t.instances.join(t.series).outerjoin(burned_in))
        .where(t.instances.c.study_id == study_id, sa.or_(t.instances.c.has_pixels.is_(sa.true()), states))
        .distinct()
    )
    return {
        int(row.id)
        for row in connection.execute(query)
        if row.SOPClassUID in PRESENTATION_STATES
        or may_show_identity(
            modality=row.Modality, sop_class_uid=row.SOPClassUID, burned_in_annotation=row.stated or ""
        )
    }
