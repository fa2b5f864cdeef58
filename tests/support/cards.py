"""Cards as a device sees them: loop-mounted ext4 whose power can be cut, and small RAM disks. Needs root."""

import contextlib
import fcntl
import os
import struct
import subprocess
from pathlib import Path
from typing import Self

import pytest

# linux/fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32); EXT4_GOING_FLAGS_NOLOGFLUSH drops what the journal
# has not written, as a power cut does.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NOLOGFLUSH = 2


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"


def need_mounts(tmp_path: Path) -> None:
    """Skip, by name, where nothing can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting a card needs root")
    probe = tmp_path / "probe"
    probe.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(probe)], capture_output=True).returncode:
        pytest.skip("this machine does not let tests mount")
    _run("umount", str(probe))


class RamCard:
    """A tmpfs of a given size."""

    def __init__(self, path: Path, megabytes: int) -> None:
        """Mounted by entering it."""
        self.path = path
        self._size = megabytes

    def __enter__(self) -> Self:
        self.path.mkdir(exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._size}m", "none", str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True)

    def fill(self) -> Path:
        """Somebody else's file takes all that is left."""
        filler = self.path / "filler"
        with filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size):
                        pass
        return filler

    def remount(self, how: str) -> None:
        """``ro`` or ``rw``. Read-only also where files are open for writing, as a card that fails becomes."""
        _run("mount", "-o", f"remount,{how}", str(self.path))


class LoopCard:
    """An ext4 file system in a file."""

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        """Made; mounted by entering it."""
        self.path = folder / "card"
        self._image = folder / "card.img"
        with self._image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._image))

    def __enter__(self) -> Self:
        self.path.mkdir(exist_ok=True)
        try:
            _run("mount", "-o", "loop", str(self._image), str(self.path))
        except AssertionError as error:
            pytest.skip(f"this machine has no loop devices to mount: {error}")
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", str(self.path))

    def cut(self) -> None:
        """The power fails: nothing that is not on the medium gets there any more. Unmount it next."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(descriptor)
