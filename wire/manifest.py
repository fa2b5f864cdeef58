"""The manifest of an object: SHA-256 of each segment, in pages of 1,024.

A page message is ``page digests | segment digests of this page``. The announced digest covers the page digests, a
page digest covers its segment digests: so one page is checked alone, and then each of its segments alone.
"""

import hashlib
from dataclasses import dataclass

from wire.errors import DigestMismatch, Malformed
from wire.limits import DIGEST_BYTES, PAGE_DIGESTS

_LABEL = b"mpacs/1 manifest\0"


def page_count(segments: int) -> int:
    """Pages of an object of ``segments`` segments."""
    return -(-segments // PAGE_DIGESTS)


def _page_segments(page: int, segments: int) -> int:
    return min(PAGE_DIGESTS, segments - page * PAGE_DIGESTS)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All segment digests of an object, one after the other."""

    digests: bytes

    def _page(self, page: int) -> bytes:
        size = PAGE_DIGESTS * DIGEST_BYTES
        return self.digests[page * size : (page + 1) * size]

    def _page_digests(self) -> bytes:
        pages = page_count(len(self.digests) // DIGEST_BYTES)
        return b"".join(hashlib.sha256(self._page(page)).digest() for page in range(pages))

    def digest(self) -> bytes:
        """What the announcement holds."""
        return hashlib.sha256(_LABEL + self._page_digests()).digest()

    def page_message(self, page: int) -> bytes:
        """The payload of topic ``m{page}``."""
        segments = self._page(page)
        if not segments:
            raise Malformed("there is no such page")
        return self._page_digests() + segments


def segment_digest(segment: bytes) -> bytes:
    """What the manifest holds of one segment's ciphertext."""
    return hashlib.sha256(segment).digest()


def check_page(announced: bytes, page: int, segments: int, payload: bytes) -> bytes:
    """The segment digests of ``page``, once they are shown to belong to the ``announced`` manifest digest."""
    pages = page_count(segments)
    if not 0 <= page < pages:
        raise Malformed("there is no such page")
    split = pages * DIGEST_BYTES
    page_digests, digests = payload[:split], payload[split:]
    if len(digests) != _page_segments(page, segments) * DIGEST_BYTES:
        raise Malformed("a manifest page of the wrong length")
    if hashlib.sha256(_LABEL + page_digests).digest() != announced:
        raise DigestMismatch("not a page of the announced manifest")
    if hashlib.sha256(digests).digest() != page_digests[page * DIGEST_BYTES : (page + 1) * DIGEST_BYTES]:
        raise DigestMismatch("not this page of the announced manifest")
    return digests
