"""Plaintext of an object on the disk: random access by chunk, and only of what is here and opens."""

from device_client.store.blobs import Blob
from wire import objects, seal
from wire.envelope import object_context
from wire.errors import Missing
from wire.limits import CHUNK_BYTES, SEAL_HEADER_BYTES, SEALED_CHUNK_BYTES
from wire.messages import ObjectEntry
from wire.objects import Header


class ObjectReader:
    """Reads one object. SealBroken means that what is on the disk is not what was received."""

    def __init__(self, site: str, entry: ObjectEntry, blob: Blob) -> None:
        """Missing if the first segment, which holds salt and commitment, is not here."""
        self._entry = entry
        self._blob = blob
        self._need(0, 1)
        start = blob.read(0, SEAL_HEADER_BYTES)
        self._cipher = seal.ChunkCipher.from_header(entry.key, start, object_context(site, entry.object, entry.layer))
        self._header: tuple[Header, int] | None = None

    def _need(self, start: int, end: int) -> None:
        for index in seal.segments_of(start, end):
            if index not in self._blob.have:
                raise Missing("a part of the object that is not here yet")

    def read(self, start: int, end: int) -> bytes:
        """Plaintext bytes ``start`` to ``end`` (exclusive)."""
        end = min(end, self._entry.size)
        if start >= end:
            return b""
        self._need(start, end)
        first, last = start // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
        sealed_end = min((last + 1) * SEALED_CHUNK_BYTES + SEAL_HEADER_BYTES, seal.sealed_size(self._entry.size))
        offset = SEAL_HEADER_BYTES + first * SEALED_CHUNK_BYTES
        sealed = self._blob.read(offset, sealed_end - offset)
        plain = bytearray()
        for index in range(first, last + 1):
            position = (index - first) * SEALED_CHUNK_BYTES
            plain += self._cipher.decrypt_chunk(index, sealed[position : position + SEALED_CHUNK_BYTES])
        return bytes(plain[start - first * CHUNK_BYTES : end - first * CHUNK_BYTES])

    def header(self) -> tuple[Header, int]:
        """The table of contents and where it ends; Malformed if it is not what the announcement says."""
        if self._header is None:
            end = objects.header_end(self.read(0, objects.LENGTH_BYTES))
            header = objects.parse_header(self.read(0, end), self._entry.layer, self._entry.size)
            self._header = (header, end)
        return self._header
