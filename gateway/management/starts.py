"""What a start of the gateway sees to, and what the audit trail keeps of it: starts, ends, another configuration."""

import hashlib

from sqlalchemy.engine import Engine

from gateway.audit import Event
from gateway.management.index import told, trail

_DIGEST_CHARACTERS = 16


def note_start(engine: Engine, configuration: bytes, signer: bytes) -> None:
    """The core starts. A configuration of other bytes than at the last start is an entry of its own.

    ``signer`` is the id of the key that signs from now on: what another one signed is announced anew.
    """
    digest = hashlib.sha256(configuration).hexdigest()[:_DIGEST_CHARACTERS]
    with engine.begin() as connection:
        before = trail.latest_of(connection, "application-started")
        events = [Event("application-started", "gateway", what=digest)]
        if before is not None and before.event.get("what") != digest:
            events.append(Event("configuration-changed", "gateway", what=digest, reason="gateway.yaml has other bytes"))
        trail.record(connection, *events)
        told.follow_signer(connection, signer)


def note_stop(engine: Engine) -> None:
    """The core ends as it was asked to; after a crash this entry is missing."""
    with engine.begin() as connection:
        trail.record(connection, Event("application-stopped", "gateway"))
