"""Signed bytes: version, key id, Ed25519 signature (RFC 8032), body.

``0x01 | key id (8) | signature (64) | body``. The signature covers a domain label, the topic, the key id and the body
as received, and is checked before a byte of the body is parsed.
"""

import hashlib
from collections.abc import Callable
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from wire.errors import Malformed, SignatureInvalid

VERSION = 1
KEY_ID_BYTES = 8
_OVERHEAD = 1 + KEY_ID_BYTES + 64

Label = Literal["announcement", "head", "keys", "key-set", "request", "answer", "enrolment", "enrol-proof", "root"]


def key_id(public_key: bytes) -> bytes:
    """The first 8 bytes of SHA-256 of a raw public key."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def message(label: Label, topic: str, signer: bytes, body: bytes) -> bytes:
    """The bytes that a signature covers. Lengths stand before what varies, so no two splits give the same bytes."""
    name = topic.encode()
    return b"mpacs/1 " + label.encode() + b"\0" + len(name).to_bytes(2, "big") + name + signer + body


def raw_public(private_key: Ed25519PrivateKey) -> bytes:
    """The 32 raw bytes of the public key."""
    return private_key.public_key().public_bytes_raw()


def sign(private_key: Ed25519PrivateKey, label: Label, topic: str, body: bytes) -> bytes:
    """The signed message for ``topic``."""
    signer = key_id(raw_public(private_key))
    return bytes([VERSION]) + signer + private_key.sign(message(label, topic, signer, body)) + body


def verify(public_key: bytes, signature: bytes, covered: bytes) -> None:
    """Raise SignatureInvalid unless ``signature`` (64 bytes) over ``covered`` is of ``public_key`` (32 raw bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, covered)
    except (InvalidSignature, ValueError):
        raise SignatureInvalid("the signature does not fit bytes, topic and key") from None


def open_signed(find_key: Callable[[bytes], bytes | None], label: Label, topic: str, data: bytes) -> bytes:
    """The body of ``data``, once its signature has been checked.

    ``find_key`` maps a key id (8 bytes) to a raw public key, or to None if the key is not trusted for this label.
    """
    if len(data) < _OVERHEAD or data[0] != VERSION:
        raise Malformed("not a signed message of version 1")
    signer = data[1 : 1 + KEY_ID_BYTES]
    public_key = find_key(signer)
    if public_key is None:
        raise SignatureInvalid("signed with a key that is not trusted here")
    body = data[_OVERHEAD:]
    verify(public_key, data[1 + KEY_ID_BYTES : _OVERHEAD], message(label, topic, signer, body))
    return body


def only(public_key: bytes) -> Callable[[bytes], bytes | None]:
    """A ``find_key`` that trusts one key."""
    return lambda signer: public_key if signer == key_id(public_key) else None
