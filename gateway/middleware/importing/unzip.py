"""ZIPs from strangers: one entry at a time, into a temporary file, within bounds.

An entry's name is never used as a path: what is unpacked lies under a random name, so none can lead elsewhere. Sizes in
the archive's directory are not believed: the bytes are counted as they are inflated.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.middleware.spool import Spool

_STEP_BYTES = 1 << 20
_TAIL_BYTES = 22 + 65535 + 20
"""End of central directory record with the longest comment, and the ZIP64 locator in front (APPNOTE 4.3.15, 4.3.16)."""
_ENCRYPTED = 0x1
_TAKEN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """Bounds on one archive, nested ones included."""

    directory_bytes: int = 32 << 20
    """The central directory, which has to be held in memory: about 300,000 entries."""
    entries: int = 100_000
    ratio: int = 200
    """Inflated by deflated bytes. Images of one colour exceed it, so it counts only past ``free_bytes``."""
    free_bytes: int = 64 << 20
    depth: int = 2
    """A ZIP in a ZIP is opened; one in that is not."""


class ZipRefusedError(Exception):
    """The archive, or one entry, is not taken; the text says why, without a name from the archive."""


@contextmanager
def opened(path: Path, limits: ZipLimits) -> Iterator[zipfile.ZipFile]:
    """The archive, once its directory is known to be small enough to be read. Raises ZipRefusedError, OSError."""
    with path.open("rb") as file:
        if _directory_bytes(file) > limits.directory_bytes:
            raise ZipRefusedError("its directory is too large")
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
            raise ZipRefusedError("it is damaged, or no ZIP") from error
        with archive:
            if len(archive.filelist) > limits.entries:
                raise ZipRefusedError(f"more than {limits.entries} entries")
            yield archive


@dataclass(slots=True)
class Allowance:
    """How many bytes an archive may still inflate to, over all its entries: some would share their deflated bytes."""

    left_bytes: int

    @classmethod
    def of(cls, path: Path, limits: ZipLimits) -> Allowance:
        """For the archive at ``path``. Raises OSError."""
        return cls(limits.free_bytes + limits.ratio * path.stat().st_size)


def unpack(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    make_spool: Callable[[], Spool],
    limits: ZipLimits,
    allowance: Allowance,
) -> Spool:
    """One entry as a temporary file, which is the caller's to discard.

    Raises:
        ZipRefusedError: encrypted, damaged, or a bomb.
        OSError: no room, or larger than any object may be.
    """
    if info.flag_bits & _ENCRYPTED:
        raise ZipRefusedError("it is encrypted: unpack it with its password first")
    if info.compress_type not in _TAKEN:
        raise ZipRefusedError("its compression is neither stored nor deflated")
    most = min(limits.free_bytes + limits.ratio * max(info.compress_size, 0), allowance.left_bytes)
    spool = make_spool()
    try:
        total = 0
        with archive.open(info) as entry:
            while piece := entry.read(_STEP_BYTES):
                total += len(piece)
                if total > most:
                    raise ZipRefusedError("it inflates beyond all measure")
                spool.write(piece)
                if spool.error is not None:
                    raise spool.error
        allowance.left_bytes -= total
        return spool
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        spool.discard()
        raise ZipRefusedError("it is damaged") from error
    except OSError as error:
        spool.discard()
        if error.errno == errno.EINVAL:  # an offset outside of the file
            raise ZipRefusedError("it is damaged") from error
        raise
    except BaseException:
        spool.discard()
        raise


def _directory_bytes(file: BinaryIO) -> int:
    """What the end record says of the central directory's size; 0 where there is no such record."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 16:
        return 0
    said = int.from_bytes(tail[at + 12 : at + 16], "little")
    locator = tail[at - 20 : at] if at >= 20 else b""
    if locator[:4] != b"PK\x06\x07":
        return said
    file.seek(min(int.from_bytes(locator[8:16], "little"), size))
    record = file.read(48)
    file.seek(0)
    return int.from_bytes(record[40:48], "little") if record[:4] == b"PK\x06\x06" else said
