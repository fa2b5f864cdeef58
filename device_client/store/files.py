"""Files of the state folder: for their owner alone, and written whole or not at all."""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from device_client.errors import Busy

FILE_MODE = 0o600
FOLDER_MODE = 0o700
TEMPORARY = ".new"


def make_folder(path: Path) -> Path:
    """The folder, made with mode 0700 if it is missing, and set to it if it is not."""
    path.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    # mkdir's mode passes through the umask, and an older folder may be open to others.
    path.chmod(FOLDER_MODE)
    return path


def sync_folder(path: Path) -> None:
    """Make renames and removals in the folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + TEMPORARY)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_atomic(path: Path, data: bytes) -> None:
    """After a crash at any point ``path`` holds the old bytes or the new ones."""
    write_all([(path, data)])


def write_all(writes: Iterable[tuple[Path, bytes]]) -> None:
    """Each file whole or not at all, in this order; one fsync of each folder for all of them."""
    folders: dict[Path, None] = {}
    for path, data in writes:
        _replace(path, data)
        folders[path.parent] = None
    for folder in folders:
        sync_folder(folder)


def remove(paths: Iterable[Path]) -> None:
    """Remove what is there, durably."""
    folders: dict[Path, None] = {}
    for path in paths:
        path.unlink(missing_ok=True)
        folders[path.parent] = None
    for folder in folders:
        sync_folder(folder)


def erase(path: Path) -> None:
    """Overwrite, then remove. On flash the old cells may survive; what they hold opens nothing by itself."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    remove([path])


def sweep(folder: Path) -> None:
    """Remove the temporary files that a crash left."""
    for path in folder.glob("*" + TEMPORARY):
        path.unlink(missing_ok=True)


class FolderLock:
    """One process owns the folder; the lock falls with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock, or raise Busy at once."""
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise Busy from None

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)

    def __enter__(self) -> "FolderLock":
        """The lock is held from its making on."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release."""
        self.release()
