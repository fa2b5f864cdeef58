"""HPKE (RFC 9180), base mode, single shot: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.

P-256, because browsers keep such keys non-extractable and give them back. There is no additional data in WebCrypto's
libraries, so the context goes into ``info``.
"""

from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wire.errors import Malformed, SealBroken

SUITE = 1
"""The number that signed messages carry; another suite gets another number."""

PUBLIC_KEY_BYTES = 65
OVERHEAD_BYTES = PUBLIC_KEY_BYTES + 16

Purpose = Literal["epoch", "request", "answer", "enrolment"]

_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def info(purpose: Purpose, *parts: bytes) -> bytes:
    """The context string: a label, then each part after its length (2 bytes, big-endian)."""
    return b"mpacs/1 hpke " + purpose.encode() + b"\0" + b"".join(len(p).to_bytes(2, "big") + p for p in parts)


def raw_public(private_key: EllipticCurvePrivateKey) -> bytes:
    """The public key as an uncompressed point, 65 bytes (SEC 1 section 2.3.3)."""
    return private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def load_public(raw: bytes) -> EllipticCurvePublicKey:
    """The public key of an uncompressed point; Malformed if it is not on the curve."""
    if len(raw) != PUBLIC_KEY_BYTES or raw[0] != 4:
        raise Malformed("not an uncompressed point of P-256")
    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), raw)
    except ValueError:
        raise Malformed("not a point of P-256") from None


def seal(public_key: bytes, context: bytes, plaintext: bytes) -> bytes:
    """Encapsulated key (65 bytes) and ciphertext for the holder of ``public_key``."""
    return _SUITE.encrypt(plaintext, load_public(public_key), context)


def open_sealed(private_key: EllipticCurvePrivateKey, context: bytes, sealed: bytes) -> bytes:
    """The plaintext; SealBroken for a wrong key, context or changed bytes."""
    if len(sealed) < OVERHEAD_BYTES:
        raise Malformed("shorter than an encapsulated key and a tag")
    try:
        return _SUITE.decrypt(sealed, private_key, context)
    except (InvalidTag, ValueError):
        raise SealBroken("wrong key or context, or changed bytes") from None
