"""One upload on its way in: ciphertext at its offsets in a file, each part checked before it is kept.

What is on the disk says itself what is there: each segment is believed because of its digest, so a restart at any
moment costs nothing but reading the file again. All of it blocks on the disk.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from wire import manifest, seal
from wire.errors import WireError
from wire.limits import CHUNKS_PER_SEGMENT, DIGEST_BYTES, PAGE_DIGESTS, SEAL_HEADER_BYTES, SEALED_CHUNK_BYTES

_MOST_RANGES = 64


class Receiving:
    """Files ``NAME.part`` and ``NAME.mN`` in a folder. Not for several threads at once."""

    def __init__(self, folder: Path, name: str, size: int, announced: bytes) -> None:
        """``size`` of the plaintext; ``announced`` is the manifest's digest. What is there already is checked."""
        self.size = size
        self._path = folder / f"{name}.part"
        self._announced = announced
        self._segments = seal.segment_count(size)
        self._pages: dict[int, bytes] = {}
        self.lacking = set(range(self._segments))
        folder.mkdir(mode=0o700, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for page in range(manifest.page_count(self._segments)):
            with contextlib.suppress(OSError, WireError):
                self._take_page(page, self._page_path(page).read_bytes())

    def _page_path(self, page: int) -> Path:
        return self._path.with_suffix(f".m{page}")

    @property
    def lacking_pages(self) -> list[int]:
        """Pages that are not here."""
        return [page for page in range(manifest.page_count(self._segments)) if page not in self._pages]

    def wanted(self, most: int) -> list[tuple[int, int]]:
        """Ranges of so many segments that lack, of pages that are here."""
        ranges: list[tuple[int, int]] = []
        for index in sorted(one for one in self.lacking if one // PAGE_DIGESTS in self._pages)[:most]:
            if ranges and ranges[-1][1] == index - 1:
                ranges[-1] = (ranges[-1][0], index)
            elif len(ranges) < _MOST_RANGES:
                ranges.append((index, index))
        return ranges

    def take_page(self, page: int, payload: bytes) -> None:
        """Keep a page of the manifest; WireError if it is none of this upload."""
        if page not in self._pages:
            self._take_page(page, payload)
            self._page_path(page).write_bytes(payload)

    def _take_page(self, page: int, payload: bytes) -> None:
        self._pages[page] = manifest.check_page(self._announced, page, self._segments, payload)
        first = page * PAGE_DIGESTS
        for index in range(first, first + len(self._pages[page]) // DIGEST_BYTES):
            offset, length = seal.segment_span(index, self.size)
            if self._fits(index, os.pread(self._file, length, offset)):
                self.lacking.discard(index)

    def _fits(self, index: int, segment: bytes) -> bool:
        page, place = divmod(index, PAGE_DIGESTS)
        digest = self._pages[page][place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        return manifest.segment_digest(segment) == digest

    def take_segment(self, index: int, segment: bytes) -> bool:
        """Keep a segment; False if it is not wanted, or not the one that was announced."""
        if index not in self.lacking or index // PAGE_DIGESTS not in self._pages or not self._fits(index, segment):
            return False
        os.pwrite(self._file, segment, seal.segment_span(index, self.size)[0])
        self.lacking.discard(index)
        return True

    def open_into(self, key: bytes, bound_to: bytes, path: Path) -> None:
        """Write the plaintext to ``path``, chunk by chunk; SealBroken if it does not open."""
        cipher = seal.ChunkCipher.from_header(key, os.pread(self._file, SEAL_HEADER_BYTES, 0), bound_to)
        step = SEALED_CHUNK_BYTES * CHUNKS_PER_SEGMENT
        with open(path, "wb", opener=_private) as plain:  # Path.open has no opener
            for first in range(0, seal.chunk_count(self.size), CHUNKS_PER_SEGMENT):
                piece = os.pread(self._file, step, SEAL_HEADER_BYTES + first * SEALED_CHUNK_BYTES)
                for place, at in enumerate(range(0, len(piece), SEALED_CHUNK_BYTES)):
                    plain.write(cipher.decrypt_chunk(first + place, piece[at : at + SEALED_CHUNK_BYTES]))

    def close(self) -> None:
        """What is here stays for another time."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """It is not needed any more."""
        self.close()
        for path in self._path.parent.glob(f"{self._path.stem}.*"):
            path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
