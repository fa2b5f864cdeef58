"""Complete studies as ordinary files, for displays that only show a folder: ``at_rest: plain``.

The folder is made equal to what is current, again and again: a study appears whole or not at all, and goes with the
head that no longer names it, with the lease, and with the device. What a crash left is put right by the next round.
"""

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from device_client.desk import StudyView, view
from device_client.errors import DeviceError
from device_client.events import Event, Events
from device_client.export import Export, ExportOptions
from device_client.shut_out import notice
from device_client.store import storage
from device_client.store.state import State, Store
from wire.errors import WireError

EVERY_S = 60.0
WARNING = (
    "pictures and what is known of the patients lie as ordinary files in {folder}: whoever takes the card or stick can "
    "read them, and what is removed may be found again on it"
)
_TRIGGERS = ("complete", "gone", "revoked", "evicted", "connected", "refused")
_LOCKING = ("lease-ended", "wiping")
_VERSION = ".version"
_NEW = ".new-"

log = logging.getLogger("mpacs.device")


class Plain:
    """Follows a running agent. ``store`` gives its open store, None without a lease."""

    def __init__(self, state: State, store: Callable[[], Store | None], events: Events) -> None:
        """Nothing is written yet."""
        self._folder = storage.root(state.folder, state.storage) / storage.PICTURES
        self._state = state
        self._store = store
        self._changed = asyncio.Event()
        self._locked = False
        # Whoever is very likely revoked may read on until the lease ends, but no more as ordinary files.
        self._shut_out = notice(state.folder) is not None
        self._writing = threading.Lock()
        events.listen(self._take)

    def _take(self, event: Event) -> None:
        if event["event"] in _LOCKING:
            # A store that is merely closed, as at the process's end, is no reason to remove anything.
            self._locked = True
        if event["event"] in ("connected", "refused"):
            self._shut_out = bool(event.get("shut_out"))
        if event["event"] in (*_TRIGGERS, *_LOCKING):
            self._changed.set()

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            store = self._store()
            if store is not None:
                self._locked = False
            if store is not None or self._locked:
                views = current(store) if store is not None and not self._shut_out else []
                await asyncio.to_thread(self._mirror, store, views)
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def finish(self) -> None:
        """The last round, once the agent has ended; blocking."""
        try:
            store = self._state.unlock()
        except (DeviceError, OSError):
            self._mirror(None, [])
            return
        self._mirror(store, [] if self._shut_out else current(store))

    def _mirror(self, store: Store | None, views: list[StudyView]) -> None:
        try:
            with self._writing:
                mirror(self._folder, store, views)
        except OSError as error:
            log.warning("the pictures cannot be written as files: %s", error.strerror)


def current(store: Store) -> list[StudyView]:
    """The studies that heads name, of recipients that the device still serves. On the thread that owns the ledger."""
    shelves = store.ledger.shelves
    return [
        one
        for one in view(store)
        if not any(
            shelves[held.recipient].revoked or held.study in shelves[held.recipient].unlisted for held in one.parts
        )
    ]


def mirror(folder: Path, store: Store | None, views: list[StudyView]) -> None:
    """Make ``folder`` hold the complete ones of ``views``, and nothing else. Blocks on the disk."""
    wanted = {one.references[0]: one for one in views}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name not in wanted:
            shutil.rmtree(path)
    for name, study in wanted.items():
        version = " ".join(str(sequence) for sequence in sorted(held.announcement.sequence for held in study.parts))
        if store is not None and _read(folder / name / _VERSION) != version:
            _write(folder, name, version, store, study)


def _write(folder: Path, name: str, version: str, store: Store, study: StudyView) -> None:
    new = folder / f"{_NEW}{name}"
    shutil.rmtree(new, ignore_errors=True)
    try:
        Export(store, study.study_attributes(), study.objects(), ExportOptions(new, "display")).run(lambda *_: None)
        (new / _VERSION).write_text(version)
    except (DeviceError, WireError):
        shutil.rmtree(new, ignore_errors=True)  # not here as a whole: an earlier state of it stays
        return
    shutil.rmtree(folder / name, ignore_errors=True)
    new.rename(folder / name)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
