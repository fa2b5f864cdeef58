"""A file on its way to the archive: hashed while it is written, locked while its writer lives."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from pathlib import Path

SUFFIX = ".part"


class Spool:
    """One temporary file. Not for several threads at once.

    ``write`` never raises on a full or broken disk: it is called by the thread that reads an association, and
    what follows on the wire must still be drained so that the sender can be answered. The error is kept, the
    file is removed at once so that the room is free again, and ``sync`` raises it.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.path = folder
        self.size_bytes = 0
        self.error: OSError | None = None
        self._limit_bytes = limit_bytes
        self._file = hashlib.sha256()
        self._data = hashlib.sha256()
        self._fd = -1
        try:
            self._fd, self.path = _create(folder)
        except OSError as error:
            self.error = error

    @property
    def digest(self) -> str:
        """Hex SHA-256 of all that was written."""
        return self._file.hexdigest()

    @property
    def data_digest(self) -> str:
        """Hex SHA-256 of the transfer syntax and the data set."""
        return self._data.hexdigest()

    def write_meta(self, preamble_and_meta: bytes, TransferSyntaxUID: str) -> None:
        """Write preamble, prefix and file meta group (PS3.10 section 7.1); they do not count for ``data_digest``."""
        self._data.update(TransferSyntaxUID.encode("ascii", "replace") + b"\0")
        self._append(preamble_and_meta)

    def write(self, data: bytes) -> int:
        """Append bytes of the data set; returns how many were given, as a file would."""
        if self.error is None:
            self._data.update(data)
            self._append(data)
        return len(data)

    def _append(self, data: bytes) -> None:
        if self.error is not None:
            return
        if self.size_bytes + len(data) > self._limit_bytes:
            self._fail(OSError(errno.EFBIG, "larger than the site's limit"))
            return
        self._file.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._fail(error)
            return
        self.size_bytes += len(data)

    def _fail(self, error: OSError) -> None:
        self.error = error
        self.discard()

    @property
    def is_open(self) -> bool:
        """Whether the temporary file is still there."""
        return self._fd >= 0

    def sync(self) -> None:
        """Return once all bytes are on the disk.

        Raises:
            OSError: what ``write`` or fsync met; the file is gone then.
        """
        if self.error is None:
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._fail(error)
        if self.error is not None:
            raise self.error

    def move_to(self, target: Path) -> None:
        """Give the file its final name and let go of it. Raises OSError."""
        self.path.rename(target)
        self._close()

    def discard(self) -> None:
        """Remove the file if it is still a temporary one; safe to call again."""
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)


def _create(folder: Path) -> tuple[int, Path]:
    while True:
        path = folder / (secrets.token_hex(16) + SUFFIX)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # A sweep may have taken the file between its creation and the lock.
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)


def sweep(folder: Path) -> int:
    """Remove the temporary files that no living process holds; returns how many."""
    removed = 0
    for path in folder.glob("*" + SUFFIX):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            removed += 1
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
    return removed
