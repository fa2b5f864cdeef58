"""What the audit trail keeps of the gateway itself: its starts and ends, and that its configuration changed."""

import hashlib
from typing import TYPE_CHECKING

from gateway import config as configuration
from gateway.audit import Event

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.app import State

_DIGEST_CHARACTERS = 16


def note_start(opened: "Engine", state: "State") -> None:
    """The core starts. A configuration of other bytes than at the last start is an entry of its own."""
    from gateway.management.index import trail

    data = (state.root / configuration.FILE_NAME).read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:_DIGEST_CHARACTERS]
    with opened.begin() as connection:
        before = next(
            (e.event for e in trail.latest_first(connection) if e.event["event"] == "application-started"), None
        )
        events = [Event("application-started", "gateway", what=digest)]
        if before is not None and before.get("what") != digest:
            events.append(Event("configuration-changed", "gateway", what=digest, reason="gateway.yaml has other bytes"))
        trail.record(connection, *events)


def note_stop(opened: "Engine") -> None:
    """The core ends as it was asked to; after a crash this entry is missing."""
    from gateway.management.index import trail

    with opened.begin() as connection:
        trail.record(connection, Event("application-stopped", "gateway"))
