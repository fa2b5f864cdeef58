"""What the vectors are made with: fixed keys, names and times, and sealing whose randomness is derived.

Nothing here is secret and nothing here may be used anywhere else. Sealing twice with one salt or ephemeral key is the
one thing that a real sender never does; vectors need it, so that making them again gives the same bytes.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ec import ECDH, SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from wire import hpke, seal, sign
from wire.names import encode_reference

SITE = "st-vector"
NOW = 1_780_000_000_000
"""Milliseconds: 2026-05-28."""


def digest(*parts: bytes | str) -> bytes:
    """32 bytes that follow from the parts."""
    joined = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(b"mpacs vectors\0" + joined).digest()


def raw(name: str) -> bytes:
    """16 bytes for the reference called ``name``."""
    return digest("reference", name)[:16]


def ref(name: str) -> str:
    """The reference called ``name``, as topics spell it."""
    return encode_reference(raw(name))


def signer(name: str) -> Ed25519PrivateKey:
    """The signing key called ``name``."""
    return Ed25519PrivateKey.from_private_bytes(digest("ed25519", name))


def public(name: str) -> bytes:
    """The public half of ``signer``."""
    return sign.raw_public(signer(name))


def scalar(name: str) -> int:
    """The private scalar of the exchange key called ``name``: 248 bits, so that it is below the order of P-256."""
    return int.from_bytes(digest("p256", name)[:31], "big")


def exchange(name: str) -> EllipticCurvePrivateKey:
    """The HPKE key called ``name``."""
    return derive_private_key(scalar(name), SECP256R1())


def point(name: str) -> bytes:
    """The public half of ``exchange``."""
    return hpke.raw_public(exchange(name))


def pattern(size: int) -> bytes:
    """``size`` bytes in which each 16 KiB chunk differs: byte i is (i + i // 251 + i // 16384) mod 256."""
    return bytes((i + i // 251 + i // 16384) & 0xFF for i in range(size))


# ── sealing without randomness ────────────────────────────────────────────────────────────────────────────────────

_KEM = b"KEM" + (0x0010).to_bytes(2, "big")
_HPKE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x0010, 0x0001, 0x0002))


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return HKDF.extract(SHA256(), salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return HKDFExpand(SHA256(), size, labelled).derive(secret)


def hpke_seal(public_key: bytes, context: bytes, plaintext: bytes) -> bytes:
    """As wire.hpke.seal, with an ephemeral key that follows from the arguments (RFC 9180 sections 4.1 and 5.1)."""
    seed = hashlib.sha256(plaintext).hexdigest()
    ephemeral = exchange(f"ephemeral {public_key.hex()} {context.hex()} {seed}")
    encapsulated = hpke.raw_public(ephemeral)
    shared = ephemeral.exchange(ECDH(), hpke.load_public(public_key))
    prk = _extract(_KEM, b"", b"eae_prk", shared)
    secret = _expand(_KEM, prk, b"shared_secret", encapsulated + public_key, 32)
    schedule = bytes([0]) + _extract(_HPKE, b"", b"psk_id_hash", b"") + _extract(_HPKE, b"", b"info_hash", context)
    master = _extract(_HPKE, secret, b"secret", b"")
    key = _expand(_HPKE, master, b"key", schedule, 32)
    nonce = _expand(_HPKE, master, b"base_nonce", schedule, 12)
    return encapsulated + AESGCM(key).encrypt(nonce, plaintext, None)


def _sealer(original: Callable[..., bytes]) -> Callable[..., bytes]:
    def fixed(key: bytes, bound_to: bytes, plaintext: bytes, salt: bytes | None = None) -> bytes:
        return original(key, bound_to, plaintext, salt or digest("salt", key, bound_to, plaintext)[: seal.SALT_BYTES])

    return fixed


@contextlib.contextmanager
def without_randomness() -> Iterator[None]:
    """Within, everything that the wire packs comes out the same each time."""
    with mock.patch.object(hpke, "seal", hpke_seal), mock.patch.object(seal, "seal", _sealer(seal.seal)):
        yield
