"""How much the stores may take: from the configuration, or by shares of the disk. Pure but for one look at the disk."""

import os
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Store

_GB = 1_000_000_000
_ARCHIVE_SHARE = 0.45
_OBJECTS_SHARE = 0.30
_RESERVE_SHARE = 0.05
_QUARANTINE_SHARE = 0.05
_MOST_QUARANTINE_BYTES = 5 * _GB
_RESERVE_BYTES = (256 * 1024 * 1024, 8 * _GB)
"""Bounds of the reserve where it follows from the disk. Sealed pictures of the layers that are made by themselves take
less than the files they are made of; the rest of the disk is the system's and the index's."""
LOW_WATER = 0.95
"""Evicting goes on until so much of a quota is used, so that it is not done file by file."""


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes."""

    archive: int
    objects: int
    reserve: int
    quarantine: int = 1 << 30


def limits_of(settings: Store, folder: Path) -> Limits:
    """The limits for stores in ``folder``. OSError where its disk cannot be looked at."""
    status = os.statvfs(folder)
    disk = status.f_blocks * status.f_frsize

    def bytes_of(gigabytes: float | None, share: float) -> int:
        return int(gigabytes * _GB) if gigabytes is not None else int(disk * share)

    least, most = _RESERVE_BYTES
    reserve = min(max(int(disk * _RESERVE_SHARE), least), most)
    return Limits(
        archive=bytes_of(settings.archive_gb, _ARCHIVE_SHARE),
        objects=bytes_of(settings.objects_gb, _OBJECTS_SHARE),
        quarantine=bytes_of(settings.quarantine_gb, min(_QUARANTINE_SHARE, _MOST_QUARANTINE_BYTES / max(disk, 1))),
        reserve=int(settings.reserve_gb * _GB) if settings.reserve_gb is not None else reserve,
    )


def free_bytes(folder: Path) -> int:
    """What the disk has left for us."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
