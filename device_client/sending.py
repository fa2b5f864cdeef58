"""A file on its way up: sealed anew for each part that is wanted, so that nothing of it is kept on this device.

Object, key and salt follow from the device's secret and the file: the same file for the same patient is the same object
with the same bytes, so what was cut goes on where it stopped, also after a restart. Reads the file, in threads.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from device_client.errors import DeviceError
from wire import envelope, seal
from wire.asks import Media
from wire.limits import CHUNK_BYTES, CHUNKS_PER_SEGMENT, MAX_UPLOAD_BYTES
from wire.manifest import Manifest, segment_digest

_STEP_BYTES = CHUNK_BYTES * CHUNKS_PER_SEGMENT
_HEAD_BYTES = 132
_MAGIC: tuple[tuple[bytes, Media], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
)


def media_of(path: Path) -> Media:
    """What a file is, by its first bytes; DeviceError where no gateway takes it."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[128:] == b"DICM":
        return "application/dicom"
    for magic, media in _MAGIC:
        if head.startswith(magic):
            return media
    raise DeviceError("only JPEG, PNG, TIFF, PDF and DICOM files can be sent")


@dataclass(frozen=True)
class Parcel:
    """A file, ready to be sent."""

    path: Path
    media: Media
    object: bytes
    key: bytes
    salt: bytes
    size: int
    manifest: Manifest
    taken_ms: int
    bound_to: bytes

    def segment(self, index: int) -> bytes:
        """Segment ``index`` as published. DeviceError if the file has changed."""
        cipher = seal.ChunkCipher(self.key, self.salt, self.bound_to)
        with self.path.open("rb") as file:
            file.seek(index * _STEP_BYTES)
            plain = file.read(_STEP_BYTES)
        first = index * CHUNKS_PER_SEGMENT
        count = min(CHUNKS_PER_SEGMENT, seal.chunk_count(self.size) - first)
        chunks = [
            cipher.encrypt_chunk(first + place, plain[place * CHUNK_BYTES : (place + 1) * CHUNK_BYTES])
            for place in range(count)
        ]
        sealed = b"".join(([cipher.header] if index == 0 else []) + chunks)
        if segment_digest(sealed) != self.manifest.digests[index * 32 : (index + 1) * 32]:
            raise DeviceError("the file was changed while it was sent: send it again")
        return sealed


def pack(path: Path, site: str, secret: bytes, about: tuple[str, ...]) -> Parcel:
    """Read the file twice: for what it is named by, and for its manifest. ``about`` is for whom it is, and so on.

    Raises:
        DeviceError: it is no file that can be sent.
        OSError: it cannot be read.
    """
    media = media_of(path)
    size = path.stat().st_size
    if not 0 < size <= MAX_UPLOAD_BYTES:
        raise DeviceError(f"a file of at most {MAX_UPLOAD_BYTES >> 20} MiB can be sent")
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    # The same key and salt stand for the same plaintext alone: its digest is in what they are made of.
    parts = (digest.digest(), *(text.encode() for text in (site, media, *about)))
    made = HKDF(SHA256(), 16 + 32 + 24, None, seal.context("upload", *parts)).derive(secret)
    object_id, key, salt = made[:16], made[16:48], made[48:]
    bound_to = envelope.object_context(site, object_id, "original")
    digests = b"".join(map(segment_digest, seal.seal_stream(key, bound_to, _pieces(path), salt)))
    if len(digests) != seal.segment_count(size) * 32:
        raise DeviceError("the file was changed while it was read: send it again")
    taken = int(path.stat().st_mtime * 1000)
    return Parcel(path, media, object_id, key, salt, size, Manifest(digests), taken, bound_to)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_STEP_BYTES * 16):
            yield piece
