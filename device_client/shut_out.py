"""A device that its broker does not let in any more: what it says, and keeps for commands while no process runs."""

import time
from pathlib import Path

from device_client.disk import DiskThread
from device_client.errors import LinkRefused
from device_client.store import files

_MARK = "shut-out"


class ShutOut:
    """Part of the agent."""

    def __init__(self, folder: Path, disk: DiskThread, once: bool) -> None:
        """``once``: being shut out ends the process."""
        self._mark = folder / _MARK
        self._disk = disk
        self._once = once

    async def taken(self) -> None:
        """The broker let it in."""
        if self._mark.exists():
            await self._disk.run(lambda: files.remove([self._mark]))

    async def refused(self, error: LinkRefused, for_good: bool, lease_ends_ms: int | None) -> str:
        """What to say of it; LinkRefused where it ends the process. ``lease_ends_ms`` is None without a lease."""
        if not for_good:
            return str(error)
        if not self._mark.exists():
            await self._disk.run(lambda: files.write_atomic(self._mark, str(int(time.time())).encode()))
        reason = f"{error}: {_words(lease_ends_ms)}"
        if self._once:
            raise LinkRefused(reason)
        return f"{reason} (it is tried again now and then, until this process is ended)"


def _words(lease_ends_ms: int | None) -> str:
    if lease_ends_ms is None:
        left = "what it received is locked"
    else:
        left = f"what it received stays readable here until {_local(lease_ends_ms / 1000)}, and is locked then"
    return f"it was very likely revoked; {left}; to receive again, ask for a new enrolment link"


def _local(posix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(posix_s))


def notice(folder: Path) -> str | None:
    """What a command says of a device that was shut out; None if it was not."""
    try:
        since = int((folder / _MARK).read_bytes())
    except (OSError, ValueError):
        return None
    return (
        f"this device was shut out on {_local(since)}, very likely revoked: nothing new comes, and what is here is "
        "locked when its lease ends; to receive again, ask for a new enrolment link"
    )
