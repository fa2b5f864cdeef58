"""What the audit trail keeps of the gateway itself: its starts and ends, and that its configuration changed."""

import hashlib

from sqlalchemy.engine import Engine

from gateway.audit import Event
from gateway.management.index import trail

_DIGEST_CHARACTERS = 16


def note_start(engine: Engine, configuration: bytes) -> None:
    """The core starts. A configuration of other bytes than at the last start is an entry of its own."""
    digest = hashlib.sha256(configuration).hexdigest()[:_DIGEST_CHARACTERS]
    with engine.begin() as connection:
        starts = (e.event for e in trail.latest_first(connection) if e.event["event"] == "application-started")
        before = next(starts, None)
        events = [Event("application-started", "gateway", what=digest)]
        if before is not None and before.get("what") != digest:
            events.append(Event("configuration-changed", "gateway", what=digest, reason="gateway.yaml has other bytes"))
        trail.record(connection, *events)


def note_stop(engine: Engine) -> None:
    """The core ends as it was asked to; after a crash this entry is missing."""
    with engine.begin() as connection:
        trail.record(connection, Event("application-stopped", "gateway"))
