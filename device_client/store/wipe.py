"""Erasing a device: what it received first, its own keys last, and a note that outlives a crash in between."""

import shutil
from pathlib import Path

from device_client.store import files, storage

_NOTE = "wiping"
_OPENING = ("lease", "vault")
"""Without these nothing that is in the folder opens; the rest is removed after them."""
_RECEIVED = ("objects", "announcements", "heads")
_OWN = ("sign.key", "exchange.key", "device.key", "identity.json")
"""The identity last: its presence says that the folder holds a device."""


def is_ordered(folder: Path) -> bool:
    """Whether this device is being wiped."""
    return (folder / _NOTE).exists()


def note(folder: Path) -> None:
    """From here on there is no way back."""
    files.write_atomic(folder / _NOTE, b"")


def erase_received(folder: Path) -> None:
    """Everything that came from the gateway; keys and identity stay, so that the device can say so."""
    for name in _OPENING:
        files.erase(folder / name)
    storage.erase(folder)
    for name in _RECEIVED:
        shutil.rmtree(folder / name, ignore_errors=True)
    files.remove(folder.glob("catalogue*"))


def erase_all(folder: Path) -> None:
    """All of it but the lock, which its owner holds; the note goes last."""
    erase_received(folder)
    for name in _OWN:
        files.erase(folder / name)
    forget(folder)


def forget(folder: Path) -> None:
    """Remove what an enrolment left: its identity first, the lock and the local socket stay."""
    for name in ("identity.json", "lease"):
        files.erase(folder / name)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == _NOTE):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock" and path.is_file():
            files.erase(path)
