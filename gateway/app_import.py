"""Wires an import: the door, the index and the core's socket, for the command line and for the intake process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.control import Client

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.app import State
    from gateway.config import Import
    from gateway.management.entrance import Entrance
    from gateway.middleware.admission import Admission
    from gateway.middleware.importing.importer import Importer
    from gateway.middleware.importing.sidecar import Sidecar


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


def watch_folder(
    settings: Import, state: State, opened: Engine, admission: Admission, entrance: Entrance, stop: threading.Event
) -> threading.Thread | None:
    """Look after the import folder on a thread of its own until ``stop`` is set; None where there is none."""
    if not settings.folder:
        return None
    from gateway.management.subjects import SubjectRefusedError, find_subject
    from gateway.middleware.importing.drop_folder import DropFolder
    from gateway.middleware.importing.importer import Importer
    from gateway.middleware.importing.sidecar import SidecarError
    from gateway.middleware.importing.subject import Wishes, WishRefusedError

    def make_importer(said: Sidecar | None) -> Importer:
        if said is None:
            return Importer(admission, entrance.is_known, "folder")
        try:
            with opened.connect() as connection:
                subject = find_subject(
                    connection, said.PatientID, said.StudyInstanceUID, said.PatientName, said.IssuerOfPatientID
                )
            wishes = Wishes(said.SeriesDescription, said.Modality, said.BurnedInAnnotation == "NO")
        except (SubjectRefusedError, WishRefusedError) as error:
            raise SidecarError(str(error)) from None
        return Importer(admission, entrance.is_known, "folder", subject, wishes)

    folder = Path(state.root / settings.folder)  # an absolute one stays as it is
    watched = DropFolder(folder, make_importer, entrance.settle, settings.keep_days)
    thread = threading.Thread(target=watched.run, args=(stop,), daemon=True, name="import folder")
    thread.start()
    return thread
