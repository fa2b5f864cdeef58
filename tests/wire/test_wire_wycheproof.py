"""The primitives and the chunked encryption against the vectors of the Wycheproof project, where they are at hand."""

import base64
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import ECDH, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from wire import hpke, limits, seal, sign
from wire.errors import Malformed, SealBroken, SignatureInvalid

pytestmark = pytest.mark.vectors


def _cases(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """``(group, test)`` of every test of the file; skips without MPACS_VECTORS."""
    folder = os.environ.get("MPACS_VECTORS")
    if not folder:
        pytest.skip("MPACS_VECTORS is not set")
    content = json.loads((Path(folder) / "wycheproof" / name).read_text())
    cases = [(group, test) for group in content["testGroups"] for test in group["tests"]]
    assert len(cases) == content["numberOfTests"]
    return cases


def test_chunked_encryption() -> None:
    """All of them, and valid ones also by random access: each segment opened alone."""
    seen = {"valid": 0, "invalid": 0}
    for _, test in _cases("c2sp_chunked_encryption_aes_256_gcm_test.json"):
        key, context = bytes.fromhex(test["key"]), bytes.fromhex(test["ctx"])
        sealed = zlib.decompress(bytes.fromhex(test["ct"]))
        seen[test["result"]] += 1
        if test["result"] == "invalid":
            with pytest.raises((SealBroken, Malformed)):
                seal.open_whole(key, context, sealed)
            continue
        plaintext = seal.open_whole(key, context, sealed)
        assert len(plaintext) == test["msgLength"]
        assert hashlib.sha512(plaintext).hexdigest() == test["msgSha512"]
        assert seal.seal(key, context, plaintext, sealed[: seal.SALT_BYTES]) == sealed
        assert _opened_by_segments(key, context, sealed, len(plaintext)) == plaintext
    assert min(seen.values()) > 0


def _opened_by_segments(key: bytes, context: bytes, sealed: bytes, size: int) -> bytes:
    cipher = seal.ChunkCipher.from_header(key, sealed, context)
    step, plaintext = limits.SEALED_CHUNK_BYTES, bytearray()
    for index in range(seal.segment_count(size)):
        start, length = seal.segment_span(index, size)
        body = sealed[start : start + length][limits.SEAL_HEADER_BYTES if index == 0 else 0 :]
        for position in range(-(-len(body) // step)):
            chunk = body[position * step : (position + 1) * step]
            plaintext += cipher.decrypt_chunk(index * limits.CHUNKS_PER_SEGMENT + position, chunk)
    return bytes(plaintext)


def test_aes_256_gcm() -> None:
    """With the nonces of 96 bits and tags of 128 that sealing uses."""
    count = 0
    for group, test in _cases("aes_gcm_test.json"):
        if group["keySize"] != 256 or group["ivSize"] != 96 or group["tagSize"] != 128:
            continue
        count += 1
        key, nonce, aad, plaintext, ciphertext, tag = (
            bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        if test["result"] == "valid":
            assert AESGCM(key).encrypt(nonce, plaintext, aad) == ciphertext + tag
            assert AESGCM(key).decrypt(nonce, ciphertext + tag, aad) == plaintext
        else:
            with pytest.raises(InvalidTag):
                AESGCM(key).decrypt(nonce, ciphertext + tag, aad)
    assert count > 50


def test_ed25519() -> None:
    """Each signature by ``sign.verify``, which knows one error."""
    results = set()
    for group, test in _cases("ed25519_test.json"):
        arguments = (bytes.fromhex(group["publicKey"]["pk"]), bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
        results.add(test["result"])
        if test["result"] == "valid":
            sign.verify(*arguments)
        else:
            with pytest.raises(SignatureInvalid):
                sign.verify(*arguments)
    assert results == {"valid", "invalid"}


def _coordinate(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_ecdh_p256() -> None:
    """Points go through ``hpke.load_public``: what is on no curve is refused there."""
    agreed = refused = 0
    for _, test in _cases("ecdh_secp256r1_webcrypto_test.json"):
        if not {"x", "y"} <= test["public"].keys() or test["public"].get("crv") != "P-256":
            continue
        point = b"\4" + _coordinate(test["public"]["x"]) + _coordinate(test["public"]["y"])
        scalar = int.from_bytes(_coordinate(test["private"]["d"]), "big")
        if test["result"] == "invalid":
            with pytest.raises((Malformed, ValueError)):
                derive_private_key(scalar, SECP256R1()).exchange(ECDH(), hpke.load_public(point))
            refused += 1
        else:
            shared = derive_private_key(scalar, SECP256R1()).exchange(ECDH(), hpke.load_public(point))
            assert shared.hex() == test["shared"]
            agreed += 1
    assert agreed > 100
    assert refused > 0


@pytest.mark.parametrize(
    ("name", "algorithm"), [("hkdf_sha256_test.json", SHA256()), ("hkdf_sha512_test.json", SHA512())]
)
def test_hkdf(name: str, algorithm: SHA256 | SHA512) -> None:
    """Whole, as enrolment derives, and in its second half alone, as sealing does; no more than 255 blocks."""
    results = set()
    for _, test in _cases(name):
        ikm, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
        results.add(test["result"])
        if test["result"] == "valid":
            assert HKDF(algorithm, test["size"], salt, info).derive(ikm).hex() == test["okm"]
            extracted = HKDF.extract(algorithm, salt or None, ikm)
            assert HKDFExpand(algorithm, test["size"], info).derive(extracted).hex() == test["okm"]
        else:
            with pytest.raises(ValueError, match="larger"):
                HKDF(algorithm, test["size"], salt, info)
    assert results == {"valid", "invalid"}
