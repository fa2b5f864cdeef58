"""The content store: DICOM files, written whole or not at all, named by the SHA-256 of their bytes.

    ROOT/spool/          temporary files; swept at start
    ROOT/archive/ab/     <sha256>.dcm
    ROOT/quarantine/ab/  what was refused, for an operator
    ROOT/locks/          held while a file is placed and indexed, or evicted: two processes do that

No name comes from a data set, so no UID and no PatientID can reach a path.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.middleware.spool import Spool, sweep

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_STRIPES = 64
DEFAULT_OBJECT_LIMIT_BYTES = 16 << 30


@dataclass(frozen=True, slots=True)
class Kept:
    """A file under its final name."""

    digest: str
    data_digest: str
    size_bytes: int
    path: str
    """Relative to the archive's root."""
    fresh: bool
    """False when the same bytes were already there."""


class Archive:
    """Owns ROOT. Several processes may share it; each instance serves many threads."""

    def __init__(self, root: Path, object_limit_bytes: int = DEFAULT_OBJECT_LIMIT_BYTES) -> None:
        self.root = root
        self.object_limit_bytes = object_limit_bytes
        self._spool = root / "spool"
        self._locks = tuple(_Stripe(root / "locks" / f"{number:02x}") for number in range(_STRIPES))
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in ("spool", "archive", "quarantine", "locks"):
            (root / folder).mkdir(exist_ok=True, mode=0o700)
        # All shards at once: made one by one, each would cost the first arrivals a further fsync.
        for folder in ("archive", "quarantine"):
            for shard in range(256):
                (root / folder / f"{shard:02x}").mkdir(exist_ok=True, mode=0o700)
            _sync_folder(root / folder)
        _sync_folder(root)

    def spool(self) -> Spool:
        """A fresh temporary file. Raises nothing: a full disk shows in ``Spool.error``."""
        return Spool(self._spool, self.object_limit_bytes)

    def keep(self, spool: Spool) -> Kept:
        """Put a spooled file into the archive; when this returns, a power cut does not lose it.

        Raises:
            OSError: no room, or the disk failed; nothing of the file stays.
        """
        return self._place(spool, "archive")

    def quarantine(self, spool: Spool) -> Kept:
        """Keep a refused file apart. Raises OSError as ``keep`` does."""
        return self._place(spool, "quarantine")

    def _place(self, spool: Spool, folder: str) -> Kept:
        spool.sync()
        relative = _relative(folder, spool.digest)
        target = self.root / relative
        try:
            fresh = not (target.exists() and target.stat().st_size == spool.size_bytes)
            if fresh:
                spool.move_to(target)
            # Also when it was there: whoever renamed it may not have come to its fsync yet.
            _sync_folder(target.parent)
        finally:
            spool.discard()
        return Kept(spool.digest, spool.data_digest, spool.size_bytes, relative, fresh)

    @contextmanager
    def holding(self, *digests: str) -> Iterator[None]:
        """Held while files are placed, indexed and perhaps removed again, so that two of us do not disagree.

        Whoever holds several takes them in one call, which takes them in one order.
        """
        with ExitStack() as held:
            for stripe in sorted({int(digest[:8], 16) % _STRIPES for digest in digests}):
                held.enter_context(self._locks[stripe])
            yield

    def path(self, digest: str) -> Path:
        """Where the file with this digest lies, there or not. Raises ValueError on anything but a digest."""
        return self.root / _relative("archive", digest)

    def quarantine_path(self, digest: str) -> Path:
        """The same for a quarantined file."""
        return self.root / _relative("quarantine", digest)

    def open(self, digest: str) -> BinaryIO:
        """The file's bytes as received. Raises FileNotFoundError when it was evicted."""
        return self.path(digest).open("rb")

    def remove(self, digest: str) -> None:
        """Evict a file; nothing happens when it is not there."""
        self.path(digest).unlink(missing_ok=True)

    def drop_quarantined(self, digest: str) -> None:
        """Remove a quarantined file; nothing happens when it is not there."""
        self.quarantine_path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """Digests of all files in the archive, in no order.

        A cut between rename and commit leaves a whole file that the index does not know, and whose sender was
        never told success; comparing this with the index finds it.
        """
        for path in (self.root / "archive").glob("??/*.dcm"):
            if _DIGEST.match(path.stem):
                yield path.stem

    def quarantined(self) -> Iterator[tuple[str, float]]:
        """Digests of all files in quarantine, each with the POSIX seconds of its last change, in no order."""
        for path in (self.root / "quarantine").glob("??/*.dcm"):
            with suppress(FileNotFoundError):
                if _DIGEST.match(path.stem):
                    yield path.stem, path.stat().st_mtime

    def used_bytes(self) -> int:
        """What the archive's files take, by their sizes."""
        return sum(path.stat().st_size for path in (self.root / "archive").glob("??/*.dcm"))

    def sweep(self) -> int:
        """Remove temporary files that a cut left; those of living processes stay. Returns how many went."""
        return sweep(self._spool)


class _Stripe:
    """A lock among threads, and with its file among processes; a process that dies lets go of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._fd = -1

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._lock.release()


def _relative(folder: str, digest: str) -> str:
    if not _DIGEST.match(digest):
        raise ValueError("expected 64 hexadecimal digits")
    return f"{folder}/{digest[:2]}/{digest}.dcm"


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
