"""Objects as received: ciphertext at fixed offsets, a bitmap of what is there, and the manifest pages that came.

Order is what makes a power cut harmless: data, fsync, bitmap, fsync. So no bit ever stands without its data; data
without its bit is found again by its digest when the object is opened, as long as its manifest page is here.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from device_client.store.files import FILE_MODE, remove, sync_folder
from wire import limits, manifest, seal
from wire.bits import Bitmap
from wire.errors import Malformed, WireError

_COUNTER_BYTES = 8


class DiskCalls(NamedTuple):
    """The calls whose order matters, so that a test can record it or a fault can be put in."""

    pwrite: Callable[[int, bytes, int], int] = os.pwrite
    fsync: Callable[[int], None] = os.fsync


class Progress(NamedTuple):
    """What is durable of one object."""

    segments: int
    received: int
    refetched: int


class Blob:
    """One object on the disk. ``have`` is shared with the receiver, which sets its bits."""

    def __init__(
        self, folder: Path, object_id: str, size_bytes: int, disk: DiskCalls | None = None, write: bool = True
    ) -> None:
        """Open the files of ``object_id``, an object of ``size_bytes`` of plaintext; make them only to ``write``."""
        self.size_bytes = size_bytes
        self.segments = seal.segment_count(size_bytes)
        self.refetched = 0
        self._folder = folder
        self._object_id = object_id
        self._disk = disk or DiskCalls()
        flags = (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY) | os.O_CLOEXEC
        self._data = os.open(folder / f"{object_id}.data", flags, FILE_MODE)
        try:
            self._map = os.open(folder / f"{object_id}.map", flags, FILE_MODE)
        except OSError:
            os.close(self._data)
            raise
        self._named = False
        self.have = self._read_map()

    def _read_map(self) -> Bitmap:
        width = -(-self.segments // 8)
        stored = os.pread(self._map, width + _COUNTER_BYTES, 0)
        try:
            have = Bitmap(self.segments, stored[:width]) if stored else Bitmap(self.segments)
        except Malformed:
            # A map of another size or with stray bits: nothing is believed, recovery looks at the data itself.
            return Bitmap(self.segments)
        self.refetched = int.from_bytes(stored[width:], "little")
        # A set bit of a data file that was cut (by a repair of the file system, say) would be a lie.
        if os.fstat(self._data).st_size < self._end_of(have):
            return Bitmap(self.segments)
        return have

    def _end_of(self, have: Bitmap) -> int:
        """Where the last segment of ``have`` ends in the data file."""
        for index in range(have.size - 1, -1, -1):
            if index in have:
                return sum(seal.segment_span(index, self.size_bytes))
        return 0

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, index: int, ciphertext: bytes) -> None:
        """Put a verified segment in its place. Not durable until the next ``commit``."""
        offset, length = seal.segment_span(index, self.size_bytes)
        if len(ciphertext) != length:
            raise Malformed("a segment of another length than its place")
        written = self._disk.pwrite(self._data, ciphertext, offset)
        if written != length:
            raise OSError(errno.ENOSPC, "a segment was not written whole")

    def snapshot(self) -> bytes:
        """The bitmap as ``commit`` shall keep it: taken after the writes that it speaks of."""
        return self.have.to_bytes() + self.refetched.to_bytes(_COUNTER_BYTES, "little")

    def commit(self, snapshot: bytes) -> None:
        """Data, fsync, bitmap, fsync; blocking."""
        if not self._named:
            sync_folder(self._folder)
            self._named = True
        self._disk.fsync(self._data)
        self._disk.pwrite(self._map, snapshot, 0)
        self._disk.fsync(self._map)

    def close(self) -> None:
        """Give the descriptors back; what was not committed is found again by ``recover``."""
        os.close(self._data)
        os.close(self._map)

    # ── manifest pages ────────────────────────────────────────────────────────────────────────────────────────────

    def _page_path(self, page: int) -> Path:
        return self._folder / f"{self._object_id}.page{page}"

    def save_page(self, page: int, payload: bytes) -> None:
        """Keep a page for the next opening. It is checked again then, so it needs no fsync of its own."""
        path = self._page_path(page)
        temporary = path.with_name(path.name + ".new")
        temporary.write_bytes(payload)
        temporary.chmod(FILE_MODE)
        temporary.replace(path)

    def pages(self, announced: bytes) -> dict[int, bytes]:
        """The kept pages that belong to the announced manifest."""
        found = {}
        for page in range(manifest.page_count(self.segments)):
            try:
                payload = self._page_path(page).read_bytes()
                manifest.check_page(announced, page, self.segments, payload)
            except (FileNotFoundError, WireError):
                continue
            found[page] = payload
        return found

    # ── finding again ─────────────────────────────────────────────────────────────────────────────────────────────

    def recover(self, pages: dict[int, bytes]) -> int:
        """Set the bits of segments that were written but not recorded; how many there were."""
        found = 0
        for index in list(self.have.missing()):
            payload = pages.get(index // limits.PAGE_DIGESTS)
            if payload is not None and self._is_written(index) and self._fits(index, payload):
                self.have.add(index)
                found += 1
        return found

    def check(self, pages: dict[int, bytes]) -> int:
        """Believe nothing: set exactly the bits whose data fit their digests. How many bits fell."""
        before = self.have.count
        self.have = Bitmap(self.segments)
        self.recover(pages)
        return before - self.have.count

    def _is_written(self, index: int) -> bool:
        offset, length = seal.segment_span(index, self.size_bytes)
        try:
            return os.lseek(self._data, offset, os.SEEK_DATA) < offset + length
        except OSError:
            return False

    def _fits(self, index: int, page: bytes) -> bool:
        digests = page[manifest.page_count(self.segments) * limits.DIGEST_BYTES :]
        start = index % limits.PAGE_DIGESTS * limits.DIGEST_BYTES
        offset, length = seal.segment_span(index, self.size_bytes)
        digest = hashlib.sha256(os.pread(self._data, length, offset)).digest()
        return digest == digests[start : start + limits.DIGEST_BYTES]

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, offset: int, length: int) -> bytes:
        """Ciphertext from ``offset`` on; the caller has looked at ``have``."""
        return os.pread(self._data, length, offset)


class Blobs:
    """The folder of all objects."""

    def __init__(self, folder: Path, disk: DiskCalls | None = None) -> None:
        """``folder`` exists."""
        self._folder = folder
        self._disk = disk

    def open(self, object_id: str, size_bytes: int) -> Blob:
        """The object's files, made if they are missing."""
        return Blob(self._folder, object_id, size_bytes, self._disk)

    def read_only(self, object_id: str, size_bytes: int) -> Blob:
        """The object's files as they are; FileNotFoundError if there are none."""
        return Blob(self._folder, object_id, size_bytes, self._disk, write=False)

    def progress(self, object_id: str, size_bytes: int) -> Progress:
        """What the bitmap says, without making anything."""
        segments = seal.segment_count(size_bytes)
        width = -(-segments // 8)
        try:
            stored = (self._folder / f"{object_id}.map").read_bytes()
            received = Bitmap(segments, stored[:width]).count if stored else 0
        except (FileNotFoundError, Malformed):
            return Progress(segments, 0, 0)
        return Progress(segments, received, int.from_bytes(stored[width : width + _COUNTER_BYTES], "little"))

    def remove(self, object_ids: list[str]) -> None:
        """Delete objects; the bitmap first, so that a crash in between leaves data without bits."""
        for object_id in object_ids:
            pages = self._folder.glob(f"{object_id}.page*")
            remove([self._folder / f"{object_id}.map", self._folder / f"{object_id}.data", *pages])

    def held(self) -> set[str]:
        """The ids of all objects of which there is something."""
        return {path.name.partition(".")[0] for path in self._folder.iterdir()}
