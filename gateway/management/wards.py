"""What the site lays down for its wards' displays: under which mask they show a study, and when they must hide it.

What was told under other settings is told anew: a digest of the settings is kept in the index for that.
"""

import hashlib

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.config import Wards
from gateway.management.index import counting
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.people import profiles
from gateway.management.index.told import announcements
from gateway.management.masking import mask_study
from gateway.management.private_block import BLANK_AFTER, with_elements

_DIGEST_BYTES = 6


def for_ward(study: StudyRow, settings: Wards) -> StudyRow:
    """The study as a ward is told of it."""
    masked = mask_study(study, settings.names)
    if settings.blank_after_s is None:
        return masked
    return with_elements(masked, {BLANK_AFTER: {"vr": "IS", "Value": [settings.blank_after_s]}})


def told_otherwise(connection: Connection, settings: Wards) -> list[int]:
    """The studies that wards know of, if they may have been told under other settings than these."""
    if counting.get(connection, counting.WARD_SETTINGS) == _digest(settings):
        return []
    query = (
        sa.select(announcements.c.study_id)
        .join(profiles, profiles.c.reference == announcements.c.recipient)
        .where(profiles.c.kind == "ward")
        .distinct()
    )
    return sorted(int(study_id) for study_id in connection.execute(query).scalars())


def all_told(connection: Connection, settings: Wards) -> None:
    """Nothing that wards know of was told under other settings any more."""
    digest = _digest(settings)
    if counting.get(connection, counting.WARD_SETTINGS) != digest:  # asked at each change of people: mostly it is so
        counting.put(connection, counting.WARD_SETTINGS, digest)


def _digest(settings: Wards) -> int:
    return int.from_bytes(hashlib.sha256(msgspec.json.encode(settings)).digest()[:_DIGEST_BYTES])
