"""Sealed objects on disk: ciphertext at fixed offsets and its segment digests, written whole or not at all."""

import os
import threading
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from wire import envelope, seal
from wire.limits import DIGEST_BYTES
from wire.manifest import Manifest, segment_digest
from wire.messages import Layer
from wire.names import check_reference, decode_reference, encode_reference

_RESERVE_BYTES = 8 * 1024 * 1024
"""For the index and the archive, which share the disk."""


class ObjectMissing(Exception):
    """The object was evicted, or never was."""


@dataclass(frozen=True, slots=True)
class Written:
    """What an announcement says of an object: id, key, plaintext bytes, manifest digest."""

    object: str
    key: bytes
    size: int
    manifest: bytes


class ObjectStore:
    """A folder of sealed objects; file names are their opaque ids."""

    def __init__(self, root: Path, site: str) -> None:
        """``site`` is bound into every seal."""
        self._root = root
        self._site = site
        self._counting = threading.Lock()
        self.used_bytes = 0
        """What the files take: counted by ``sweep``, then kept up with every write and removal."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def root(self) -> Path:
        """The folder: whatever is to become an object lies on the same disk before."""
        return self._root

    def _path(self, object_id: str, suffix: str) -> Path:
        return self._root / check_reference(object_id)[:2] / f"{object_id}.{suffix}"

    def write(self, layer: Layer, header: bytes, parts: Iterable[bytes]) -> Written:
        """Seal ``header`` and ``parts`` under a fresh key and id; on return the files would survive a power cut.

        Raises OSError (a full disk, say); nothing is left behind then.
        """
        object_id = encode_reference(os.urandom(16))
        key = os.urandom(seal.KEY_BYTES)
        size = 0

        def count(piece: bytes) -> bytes:
            nonlocal size
            size += len(piece)
            return piece

        context = envelope.object_context(self._site, decode_reference(object_id), layer)
        pieces = (count(piece) for piece in chain([header], parts))
        digests = bytearray()
        target, digest_file = self._path(object_id, "sealed"), self._path(object_id, "digests")
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            self._sync_folder(self._root)
        temporary = [path.with_suffix(path.suffix + ".tmp") for path in (target, digest_file)]
        try:
            with temporary[0].open("wb") as file:
                for segment in seal.seal_stream(key, context, pieces):
                    digests += segment_digest(segment)
                    file.write(segment)
                _sync(file.fileno(), file.flush)
            with temporary[1].open("wb") as file:
                file.write(digests)
                _sync(file.fileno(), file.flush)
            temporary[1].rename(digest_file)
            temporary[0].rename(target)
            self._sync_folder(target.parent)
        except BaseException:
            for path in (*temporary, digest_file, target):
                path.unlink(missing_ok=True)
            raise
        self._count(_taken(size))
        return Written(object_id, key, size, Manifest(bytes(digests)).digest())

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def segment(self, object_id: str, index: int, size: int) -> bytes:
        """One segment's ciphertext: one read. ``size`` is the plaintext's; ObjectMissing if the file is gone."""
        offset, length = seal.segment_span(index, size)
        try:
            with self._path(object_id, "sealed").open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), length, offset)
        except FileNotFoundError:
            raise ObjectMissing(object_id) from None
        if len(data) != length:
            raise ObjectMissing(object_id)
        return data

    def page(self, object_id: str, page: int) -> bytes:
        """One page message of the object's manifest."""
        try:
            digests = self._path(object_id, "digests").read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(object_id) from None
        if len(digests) % DIGEST_BYTES:
            raise ObjectMissing(object_id)
        return Manifest(digests).page_message(page)

    def _count(self, change: int) -> None:
        with self._counting:
            self.used_bytes += change

    def remove(self, object_id: str) -> int:
        """Remove an object that the index has forgotten, or notes as evicted; the bytes that it took."""
        freed = 0
        for suffix in ("sealed", "digests"):
            path = self._path(object_id, suffix)
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                path.unlink()
                freed += size
        self._count(-freed)
        return freed

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more and a reserve fit the disk: nothing is rendered only to be thrown away."""
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize >= size_bytes + _RESERVE_BYTES

    def lacking(self, sizes: Mapping[str, int]) -> list[str]:
        """Which of these objects, given with their plaintext sizes, are not here whole."""
        return [object_id for object_id, size in sizes.items() if not self._is_whole(object_id, size)]

    def _is_whole(self, object_id: str, size: int) -> bool:
        count = seal.segment_count(size)
        offset, length = seal.segment_span(count - 1, size)
        try:
            sealed, digests = (self._path(object_id, suffix).stat().st_size for suffix in ("sealed", "digests"))
        except FileNotFoundError:
            return False
        return sealed == offset + length and digests == count * DIGEST_BYTES

    def sweep(self, known: Container[str]) -> int:
        """Remove what a cut left: temporary files and objects that are not in the index. Returns how many.

        For a start, before anything is written: what stays is counted.
        """
        swept = used = 0
        for path in self._root.glob("*/*"):
            if path.suffix == ".tmp" or path.name.partition(".")[0] not in known:
                path.unlink(missing_ok=True)
                swept += 1
            else:
                used += path.stat().st_size
        self.used_bytes = used
        return swept


def _taken(size: int) -> int:
    """Bytes on the disk of an object of ``size`` bytes of plaintext."""
    return seal.sealed_size(size) + seal.segment_count(size) * DIGEST_BYTES


def _sync(descriptor: int, flush: object) -> None:
    assert callable(flush)
    flush()
    os.fsync(descriptor)
