"""Sealing: C2SP chunked-encryption (https://c2sp.org/chunked-encryption), HKDF-SHA512 with AES-256-GCM.

salt (24) | commitment (32) | chunks of 16 KiB + tag, the last one always shorter. Segment 0 is the first 56 bytes and
four chunks, each further segment four chunks: fixed offsets, so that a segment is one read at the gateway, and random
access for the reader.
"""

import hmac
import os
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from wire.errors import Malformed, SealBroken, TooLarge
from wire.limits import (
    CHUNK_BYTES,
    CHUNKS_PER_SEGMENT,
    MAX_OBJECT_BYTES,
    SEAL_HEADER_BYTES,
    SEALED_CHUNK_BYTES,
    SEGMENT_BYTES,
    TAG_BYTES,
)

KEY_BYTES = 32
SALT_BYTES = 24
_NONCE_BYTES = 12
_INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"


def context(purpose: str, *parts: bytes) -> bytes:
    """A context string: a label, then each part after its length (2 bytes, big-endian)."""
    return b"mpacs/1 " + purpose.encode() + b"\0" + b"".join(len(p).to_bytes(2, "big") + p for p in parts)


class ChunkCipher:
    """The derived key, base nonce and commitment of one message."""

    def __init__(self, key: bytes, salt: bytes, bound_to: bytes) -> None:
        """Derive from the input ``key`` (32 bytes), the message's ``salt`` (24 bytes) and its context."""
        if len(key) != KEY_BYTES or len(salt) != SALT_BYTES:
            raise Malformed("a key has 32 bytes and a salt 24")
        derived = HKDFExpand(SHA512(), KEY_BYTES + _NONCE_BYTES + 32, _INFO + salt + bound_to).derive(key)
        self._aead = AESGCM(derived[:KEY_BYTES])
        self._base_nonce = int.from_bytes(derived[KEY_BYTES : KEY_BYTES + _NONCE_BYTES], "big")
        self._commitment = derived[KEY_BYTES + _NONCE_BYTES :]
        self.header = salt + self._commitment

    @classmethod
    def from_header(cls, key: bytes, header: bytes, bound_to: bytes) -> "ChunkCipher":
        """The cipher of a received message; SealBroken unless the commitment fits key and context."""
        if len(header) < SEAL_HEADER_BYTES:
            raise SealBroken("cut short in salt and commitment")
        cipher = cls(key, header[:SALT_BYTES], bound_to)
        if not hmac.compare_digest(cipher.header, header[:SEAL_HEADER_BYTES]):
            raise SealBroken("the commitment does not fit key and context")
        return cipher

    def _nonce(self, index: int) -> bytes:
        return (self._base_nonce ^ index).to_bytes(_NONCE_BYTES, "big")

    def encrypt_chunk(self, index: int, plaintext: bytes | memoryview) -> bytes:
        """Chunk ``index``; each index is used once with one key."""
        return self._aead.encrypt(self._nonce(index), plaintext, None)

    def decrypt_chunk(self, index: int, ciphertext: bytes | memoryview) -> bytes:
        """The plaintext of chunk ``index``, at most 16 KiB."""
        try:
            return self._aead.decrypt(self._nonce(index), ciphertext, None)
        except (InvalidTag, ValueError):
            raise SealBroken(f"chunk {index} was changed, moved or belongs elsewhere") from None


def chunk_count(size_bytes: int) -> int:
    """Chunks of a plaintext of ``size_bytes``: the last is always shorter than 16 KiB, and may be empty."""
    return size_bytes // CHUNK_BYTES + 1


def sealed_size(size_bytes: int) -> int:
    """Bytes of ciphertext of a plaintext of ``size_bytes``."""
    return SEAL_HEADER_BYTES + size_bytes + TAG_BYTES * chunk_count(size_bytes)


def segment_count(size_bytes: int) -> int:
    """Segments of a plaintext of ``size_bytes``."""
    return -(-chunk_count(size_bytes) // CHUNKS_PER_SEGMENT)


def segment_span(index: int, size_bytes: int) -> tuple[int, int]:
    """``(offset, length)`` of segment ``index`` in the ciphertext of a plaintext of ``size_bytes``."""
    if not 0 <= index < segment_count(size_bytes):
        raise Malformed("there is no such segment")
    start = 0 if index == 0 else SEAL_HEADER_BYTES + index * SEGMENT_BYTES
    end = min(SEAL_HEADER_BYTES + (index + 1) * SEGMENT_BYTES, sealed_size(size_bytes))
    return start, end - start


def segments_of(start: int, end: int) -> range:
    """The segments that hold the plaintext bytes ``start`` to ``end`` (exclusive)."""
    per_segment = CHUNKS_PER_SEGMENT * CHUNK_BYTES
    return range(start // per_segment, max(end - 1, start) // per_segment + 1)


def seal_stream(key: bytes, bound_to: bytes, pieces: Iterable[bytes], salt: bytes | None = None) -> Iterator[bytes]:
    """Yield the segments of the message whose plaintext is the concatenation of ``pieces``, in bounded memory.

    ``salt`` is random unless given, which only test vectors do.
    """
    cipher = ChunkCipher(key, os.urandom(SALT_BYTES) if salt is None else salt, bound_to)
    segment = [cipher.header]
    for index, plaintext in enumerate(_chunks(pieces)):
        segment.append(cipher.encrypt_chunk(index, plaintext))
        if index % CHUNKS_PER_SEGMENT == CHUNKS_PER_SEGMENT - 1:
            yield b"".join(segment)
            segment = []
    if segment:
        yield b"".join(segment)


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """16 KiB at a time, and in the end what is left: less than 16 KiB, perhaps nothing. Pieces are not copied."""
    rest = b""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > MAX_OBJECT_BYTES:
            raise TooLarge("an object larger than the contract allows")
        start = 0
        if rest:
            start = CHUNK_BYTES - len(rest)
            rest += piece[:start]
            if len(rest) < CHUNK_BYTES:
                continue
            yield rest
        whole = start + (len(piece) - start) // CHUNK_BYTES * CHUNK_BYTES
        view = memoryview(piece)
        for position in range(start, whole, CHUNK_BYTES):
            yield view[position : position + CHUNK_BYTES]
        rest = bytes(view[whole:])
    yield rest


def seal(key: bytes, bound_to: bytes, plaintext: bytes, salt: bytes | None = None) -> bytes:
    """The whole sealed message."""
    return b"".join(seal_stream(key, bound_to, [plaintext], salt))


def open_whole(key: bytes, bound_to: bytes, sealed: bytes) -> bytes:
    """The plaintext of a whole message; SealBroken unless every byte is as it was sealed."""
    cipher = ChunkCipher.from_header(key, sealed, bound_to)
    view = memoryview(sealed)[SEAL_HEADER_BYTES:]
    body = len(view)
    last = body // SEALED_CHUNK_BYTES
    if body - last * SEALED_CHUNK_BYTES < TAG_BYTES:
        raise SealBroken("cut short: the last chunk is missing or has no tag")
    return b"".join(
        cipher.decrypt_chunk(index, view[index * SEALED_CHUNK_BYTES : (index + 1) * SEALED_CHUNK_BYTES])
        for index in range(last + 1)
    )
