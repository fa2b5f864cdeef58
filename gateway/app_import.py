"""Wires an import: the door, the index and the core's socket, for the command line and for the intake process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.control import Client

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.app import State
    from gateway.management.entrance import Entrance
    from gateway.middleware.admission import Admission


@contextmanager
def doorway(state: State, opened: Engine) -> Iterator[tuple[Admission, Entrance]]:
    """The door of a gateway, which need not run: index and archive are shared with the one that does."""
    from gateway.middleware.intake import import_light, keep_identities_out_of_logs

    import_light()
    keep_identities_out_of_logs()
    from gateway.management.entrance import Entrance  # after import_light
    from gateway.middleware.admission import Admission  # after import_light
    from gateway.middleware.archive import Archive  # after import_light

    client = Client(state.socket)
    entrance = Entrance(opened, client.wake)
    archive = Archive(state.archive)
    try:
        yield Admission(archive, entrance.on_arrival, entrance.on_refused), entrance
    finally:
        client.close()
