"""The key set: which keys speak for the site, from a root that a device pinned at its enrolment.

``count (1) | roots: (public key (32) | signature by the root before (64)) each | signed message``. The first root
signs itself. The chain has fixed widths, so it is walked before anything is parsed; the signed message inside is by
the last root, and lists the online keys that sign everything else and the key that requests are sealed to.
"""

import hashlib
from collections.abc import Callable
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta, Struct

from wire import hpke, limits, messages, sign
from wire.errors import Malformed, TooLarge, Untrusted
from wire.messages import Epoch, Key, Point, Ref, Sequence, Time

_LINK_BYTES = 32 + 64
MAX_ROOTS = 64


class OnlineKey(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A gateway's reference, its Ed25519 key, and until when it may sign."""

    gateway: Ref
    public: Key
    expires: Time


class KeySet(Struct, frozen=True, forbid_unknown_fields=True):
    """What the current root vouches for. ``exchange`` is the HPKE key that all gateways of the site share."""

    sequence: Sequence
    issued: Time
    suite: Epoch
    exchange: Point
    online: Annotated[list[OnlineKey], Meta(min_length=1, max_length=64)]

    def find_key(self, now_ms: int) -> Callable[[bytes], bytes | None]:
        """The ``find_key`` of wire.sign over the online keys that have not expired."""
        trusted = {sign.key_id(key.public): key.public for key in self.online if key.expires > now_ms}
        return trusted.get


def root_digest(public_key: bytes) -> bytes:
    """What a device pins: SHA-256 of the raw root key."""
    return hashlib.sha256(public_key).digest()


def link(signer: Ed25519PrivateKey, site: str, public_key: bytes) -> bytes:
    """One link of the chain: ``public_key`` and the signature of the root before it (the first signs itself)."""
    signer_id = sign.key_id(sign.raw_public(signer))
    return public_key + signer.sign(sign.message("root", site, signer_id, public_key))


def pack(root: Ed25519PrivateKey, topic: str, links: list[bytes], key_set: KeySet) -> bytes:
    """The bytes of topic ``gateway/keys``; ``root`` is the private key of the last link."""
    if not 1 <= len(links) <= MAX_ROOTS:
        raise Malformed(f"a chain has 1 to {MAX_ROOTS} roots")
    if links[-1][:32] != sign.raw_public(root):
        raise Malformed("the last root of the chain is not the one that signs")
    return bytes([len(links)]) + b"".join(links) + sign.sign(root, "key-set", topic, messages.encode(key_set))


def unpack(pinned: bytes, site: str, topic: str, data: bytes) -> tuple[bytes, KeySet]:
    """``(digest of the current root, key set)``, trusted from the ``pinned`` root digest; Untrusted without a chain.

    The returned digest is what to pin from now on.
    """
    if len(data) > limits.MAX_MESSAGE_BYTES:
        raise TooLarge("a key set larger than the contract allows")
    count = data[0] if data else 0
    end = 1 + count * _LINK_BYTES
    if not 1 <= count <= MAX_ROOTS or len(data) <= end:
        raise Malformed("not a chain of roots")
    links = [data[position : position + _LINK_BYTES] for position in range(1, end, _LINK_BYTES)]
    if all(root_digest(entry[:32]) != pinned for entry in links):
        raise Untrusted("the pinned root is not in the chain")
    # Trust comes from the links after the pinned one. Those before it are checked too, so that a chain is either
    # whole or refused, whichever of its roots a device has pinned.
    current = links[0][:32]
    for entry in links:
        public, signature = entry[:32], entry[32:]
        sign.verify(current, signature, sign.message("root", site, sign.key_id(current), public))
        current = public
    key_set = messages.decode(sign.open_signed(sign.only(current), "key-set", topic, data[end:]), KeySet)
    if key_set.suite != hpke.SUITE:
        raise Malformed("a suite that this version does not know")
    hpke.load_public(key_set.exchange)
    return root_digest(current), key_set
