"""Names that may stand in a topic: sites, opaque references, kinds. None of them carries an identity."""

import base64
import hashlib
import hmac
import re
from typing import Literal, get_args

from wire.errors import NameInvalid

Kind = Literal["patient", "doctor", "ward"]
KINDS: tuple[Kind, ...] = get_args(Kind)

REFERENCE_BYTES = 16
REFERENCE_CHARACTERS = 26

_SITE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_REFERENCE = re.compile(r"[a-z2-7]{26}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,8}")


def check_site(site: str) -> str:
    """Return ``site`` if it is a slug of 1 to 32 characters, else raise NameInvalid."""
    if not _SITE.fullmatch(site):
        raise NameInvalid("a site is 1 to 32 characters of a-z, 0-9 and inner hyphens")
    return site


def check_kind(kind: str) -> Kind:
    """Return ``kind`` if it names a kind of recipient, else raise NameInvalid."""
    for known in KINDS:
        if kind == known:
            return known
    raise NameInvalid(f"a recipient is one of {', '.join(KINDS)}")


def encode_reference(raw: bytes) -> str:
    """16 bytes as 26 characters of base32 (RFC 4648 section 6), lower case, without padding."""
    if len(raw) != REFERENCE_BYTES:
        raise NameInvalid(f"a reference has {REFERENCE_BYTES} bytes, not {len(raw)}")
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def decode_reference(text: str) -> bytes:
    """The 16 bytes of a reference; NameInvalid if it is not the one legal spelling of them."""
    if not _REFERENCE.fullmatch(text):
        raise NameInvalid("a reference is 26 characters of a-z and 2-7")
    raw = base64.b32decode(text.upper() + "======")
    # 26 characters carry 130 bits: without this check four spellings would name the same thing.
    if encode_reference(raw) != text:
        raise NameInvalid("a reference ends in unused bits that are not zero")
    return raw


def check_reference(text: str) -> str:
    """Return ``text`` if it is a reference, else raise NameInvalid."""
    decode_reference(text)
    return text


def parse_decimal(text: str) -> int:
    """An integer below 10^9 as topics spell it: decimal, without sign or padding."""
    if not _DECIMAL.fullmatch(text):
        raise NameInvalid("an integer in a topic is decimal, unpadded and below 10^9")
    return int(text)


def recipient_reference(key: bytes, kind: Kind, identifier: str, issuer: str = "") -> str:
    """The opaque reference of a recipient: a keyed hash (HMAC-SHA256, first 16 bytes) of kind, issuer and identifier.

    ``key`` is the site's reference key (32 bytes); without it nobody can test a guessed identifier against a topic.
    Each part is preceded by its length (4 bytes, big-endian), so no two different triples hash the same bytes.
    """
    if len(key) != 32:
        raise NameInvalid("a reference key has 32 bytes")
    mac = hmac.new(key, b"mpacs/1 recipient", hashlib.sha256)
    for part in (kind, issuer, identifier):
        encoded = part.encode("utf-8", "surrogatepass")
        mac.update(len(encoded).to_bytes(4, "big") + encoded)
    return encode_reference(mac.digest()[:REFERENCE_BYTES])
