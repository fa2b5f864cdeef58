"""Parts that wait to be sealed: in a file without a name, encrypted under a key that only this process's memory holds.

An object's header says how long every part is, so the last part must be made before the first byte can be sealed; a
study's parts are too many for memory. What stays on the disk when the power goes is noise.
"""

import os
import tempfile
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_TAG_BYTES = 16


class Spool:
    """Put parts in, in any order; take each out any number of times. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is on the disk on which the objects will lie. Raises OSError."""
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # closed by ``close``
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._spans: list[tuple[int, int]] = []
        self.size_bytes = 0
        """On the disk."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gone for ever."""
        self._file.close()

    def put(self, data: bytes) -> int:
        """Keep a part; its number takes it out again. Raises OSError where the disk is full."""
        number = len(self._spans)
        sealed = memoryview(self._cipher.encrypt(_nonce(number), data, None))
        at = self.size_bytes
        while sealed:
            written = os.pwrite(self._file.fileno(), sealed, at)
            sealed, at = sealed[written:], at + written
        self._spans.append((self.size_bytes, at - self.size_bytes))
        self.size_bytes = at
        return number

    def length(self, number: int) -> int:
        """How many bytes the part has."""
        return self._spans[number][1] - _TAG_BYTES

    def take(self, number: int) -> bytes:
        """The part again. Raises ``cryptography.exceptions.InvalidTag`` where the disk gives back something else."""
        offset, length = self._spans[number]
        return self._cipher.decrypt(_nonce(number), os.pread(self._file.fileno(), length, offset), None)


def _nonce(number: int) -> bytes:
    """Each number once under a key that lives as long as this spool."""
    return number.to_bytes(_NONCE_BYTES, "big")
