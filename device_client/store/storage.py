"""Where received objects lie, how much of the disk they may take, and whether their pictures also lie there as files.

What opens them (keys, announcements) stays in the state folder, wherever the objects are: a card that is taken away is
ciphertext. A marker on the card tells it from the empty folder on which it would be mounted.
"""

import errno
import os
import shutil
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from device_client.errors import StoreBroken
from device_client.store import files

FILE = "storage.json"
MARKER = "mpacs-store"
OBJECTS = "objects"
PICTURES = "pictures"
AtRest = Literal["sealed", "plain"]
Trouble = Literal["", "gone", "read-only", "full"]

_LEAST_RESERVE = 16 * 1024 * 1024
_MOST_RESERVE = 256 * 1024 * 1024
_RESERVE_SHARE = 50
"""A fiftieth of the disk is left free: what says that all is current must always find room."""
_SMALL_DISK = 8
"""Of a disk so small that the least reserve is more than an eighth of it, an eighth."""
_BLOCK = 512


class Storage(Struct, frozen=True, forbid_unknown_fields=True):
    """``path`` empty: in the state folder. ``quota_bytes`` 0: as much as the disk has beside its reserve."""

    path: str = ""
    at_rest: AtRest = "sealed"
    quota_bytes: Annotated[int, Meta(ge=0, lt=2**53)] = 0


def load(folder: Path) -> Storage:
    """What was chosen; StoreBroken if the file is not what was written."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Storage)
    except FileNotFoundError:
        return Storage()
    except msgspec.DecodeError:
        raise StoreBroken(f"{FILE} is damaged: choose again with --store") from None


def choose(folder: Path, path: str | None, at_rest: AtRest | None, quota_bytes: int | None) -> Storage:
    """Keep a choice, None: as it was. Another place begins empty; what lay in the old one is removed if it is there."""
    before = load(folder)
    chosen = Storage(
        path=before.path if path is None else path,
        at_rest=before.at_rest if at_rest is None else at_rest,
        quota_bytes=before.quota_bytes if quota_bytes is None else quota_bytes,
    )
    if chosen.path != before.path:
        for name in (OBJECTS, PICTURES):
            shutil.rmtree(root(folder, before) / name, ignore_errors=True)
        if chosen.path:
            _mark(Path(chosen.path))
    if chosen != before:
        files.write_atomic(folder / FILE, msgspec.json.encode(chosen))
    return chosen


def _mark(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path / MARKER, b"objects of a device; what opens them is not here\n")


def root(folder: Path, storage: Storage) -> Path:
    """The folder that holds the objects' folder."""
    return Path(storage.path) if storage.path else folder


def objects_folder(folder: Path, storage: Storage) -> Path:
    """Made if it is missing; OSError (ENOMEDIUM) where the card is not there."""
    place = root(folder, storage)
    if storage.path and not (place / MARKER).exists():
        raise OSError(errno.ENOMEDIUM, "the card or stick with the store is not there", str(place))
    return files.make_folder(place / OBJECTS)


def trouble(folder: Path, storage: Storage) -> Trouble:
    """What is wrong with the disks: the state folder's, or the objects'. Blocks, shortly."""
    place = root(folder, storage)
    try:
        if storage.path and not (place / MARKER).exists():
            return "gone"
        for path in (folder, place):
            found = os.statvfs(path)
            if found.f_flag & os.ST_RDONLY:
                return "read-only"
            if found.f_bavail * found.f_frsize < _reserve(found) // 4:
                return "full"
    except OSError:
        return "gone"
    return ""


def budget_bytes(folder: Path, storage: Storage) -> int:
    """How much objects may take in all: the quota, and never the disk's reserve. OSError where there is no disk."""
    place = root(folder, storage)
    found = os.statvfs(place)
    available = found.f_bavail * found.f_frsize - _reserve(found) + held_bytes(place / OBJECTS)
    return max(0, min(available, storage.quota_bytes or available))


def _reserve(found: os.statvfs_result) -> int:
    size = found.f_blocks * found.f_frsize
    return min(max(size // _RESERVE_SHARE, _LEAST_RESERVE), _MOST_RESERVE, max(size // _SMALL_DISK, 1))


def held_bytes(objects: Path) -> int:
    """What objects take on the disk; files that are not whole yet take what has come."""
    try:
        with os.scandir(objects) as entries:
            return sum(entry.stat().st_blocks * _BLOCK for entry in entries)
    except FileNotFoundError:
        return 0


def erase(folder: Path) -> None:
    """What was received goes, wherever it lies."""
    place = root(folder, load(folder))
    for name in (OBJECTS, PICTURES):
        shutil.rmtree(place / name, ignore_errors=True)
