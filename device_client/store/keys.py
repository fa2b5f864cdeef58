"""Who the device is, and what opens its store.

``identity.json`` holds no identity of a person: opaque references, where the broker is, the pinned root, the key set as
received. Private keys and the device secret stand in files of their own. Whatever names somebody, and every epoch key,
is in ``vault``, sealed under the store key, which is derived from the device secret and the lease secret: when the
lease has ended and its secret is erased, nothing in the folder opens the vault.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from msgspec import Meta, Struct

from device_client.errors import LeaseEnded, NotEnrolled, StoreBroken
from device_client.store import files
from wire import messages, seal
from wire.errors import WireError
from wire.messages import Digest, Epoch, Key, Lease, Time
from wire.names import Kind, decode_reference

SECRET_BYTES = 32
MAX_EPOCHS = 32
"""Epoch keys kept for one recipient: what was announced in an earlier epoch must stay readable."""


class Reader(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipient whose tree the device reads, by its opaque reference."""

    kind: Kind
    recipient: str


class Identity(Struct, frozen=True, forbid_unknown_fields=True):
    """The device as its broker and gateway know it. ``authority`` is PEM, empty without TLS."""

    version: Literal[1]
    site: str
    device: str
    broker: str
    authority: bytes
    password: Key
    root: Digest
    key_set: bytes
    recipients: list[Reader]


class EpochKey(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One epoch key; an empty one says that this epoch holds no key for the device."""

    epoch: Epoch
    key: Annotated[bytes, Meta(max_length=32)]


class Secrets(Struct, frozen=True, forbid_unknown_fields=True):
    """What the vault holds. ``labels``, ``epochs`` and ``first_heads`` run parallel to the identity's recipients.

    ``signers`` are the online keys that were ever trusted: what was verified when it came is opened by them later.
    ``first_heads`` are the head sequences at the enrolment: no older head is ever believed.
    """

    labels: list[str]
    epochs: list[list[EpochKey]]
    signers: Annotated[list[Key], Meta(max_length=256)]
    first_heads: list[int]


class DeviceKeys(msgspec.Struct, frozen=True):
    """The device's own secrets."""

    sign: Ed25519PrivateKey
    exchange: EllipticCurvePrivateKey
    secret: bytes

    @classmethod
    def generate(cls) -> "DeviceKeys":
        """New keys; the private ones never leave the device."""
        return cls(Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()), os.urandom(SECRET_BYTES))

    def store_key(self, lease_secret: bytes) -> bytes:
        """HKDF-SHA256 (RFC 5869) of the device secret, the lease secret as salt."""
        return HKDF(SHA256(), 32, salt=lease_secret, info=b"mpacs/1 device store").derive(self.secret)


class KeyFiles:
    """The files of one state folder that hold keys and the identity."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self._identity = folder / "identity.json"
        self._sign = folder / "sign.key"
        self._exchange = folder / "exchange.key"
        self._secret = folder / "device.key"
        self._lease = folder / "lease"
        self._vault = folder / "vault"

    # ── identity and keys ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def enrolled(self) -> bool:
        """Whether the folder holds a device."""
        return self._identity.exists()

    def create(self, keys: DeviceKeys, identity: Identity, lease: Lease, secrets: Secrets) -> None:
        """Write all; the identity last, because its presence says that the device is enrolled."""
        exchange = keys.exchange.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        files.write_atomic(self._sign, keys.sign.private_bytes_raw())
        files.write_atomic(self._exchange, exchange)
        files.write_atomic(self._secret, keys.secret)
        self.save_lease(lease)
        self.save_secrets(keys.store_key(lease.secret), identity.device, secrets)
        self.save_identity(identity)

    def save_identity(self, identity: Identity) -> None:
        """Replace the identity."""
        files.write_atomic(self._identity, msgspec.json.format(msgspec.json.encode(identity)) + b"\n")

    def load_identity(self) -> Identity:
        """The identity; NotEnrolled if there is none."""
        try:
            return msgspec.json.decode(self._identity.read_bytes(), type=Identity)
        except FileNotFoundError:
            raise NotEnrolled from None
        except msgspec.MsgspecError:
            raise StoreBroken("identity.json is damaged: enrol this device again with --replace") from None

    def load_keys(self) -> DeviceKeys:
        """The private keys."""
        try:
            exchange = load_der_private_key(self._exchange.read_bytes(), None)
            secret = self._secret.read_bytes()
            keys = Ed25519PrivateKey.from_private_bytes(self._sign.read_bytes())
        except (OSError, ValueError):
            raise StoreBroken("a key file is missing or damaged: enrol this device again with --replace") from None
        if not isinstance(exchange, EllipticCurvePrivateKey) or len(secret) != SECRET_BYTES:
            raise StoreBroken("a key file is damaged: enrol this device again with --replace")
        return DeviceKeys(keys, exchange, secret)

    # ── lease ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def save_lease(self, lease: Lease) -> None:
        """Keep a lease as the gateway gave it."""
        files.write_atomic(self._lease, lease.secret + lease.expires.to_bytes(8, "big"))

    def load_lease(self, now_ms: Time) -> Lease:
        """The lease while it runs; once it has ended its secret is erased, and LeaseEnded raised."""
        try:
            data = self._lease.read_bytes()
        except FileNotFoundError:
            raise LeaseEnded from None
        lease = Lease(secret=data[:32], expires=int.from_bytes(data[32:40], "big"))
        if len(data) != 40 or lease.expires <= now_ms:
            self.erase_lease()
            raise LeaseEnded
        return lease

    def erase_lease(self) -> None:
        """Without the secret the store stays shut until the gateway delivers it again."""
        files.erase(self._lease)

    # ── vault ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def _context(device: str) -> bytes:
        return seal.context("device-store", decode_reference(device))

    def save_secrets(self, store_key: bytes, device: str, secrets: Secrets) -> None:
        """Seal and replace the vault."""
        files.write_atomic(self._vault, seal.seal(store_key, self._context(device), messages.encode(secrets)))

    def load_secrets(self, store_key: bytes, device: str) -> Secrets:
        """Open the vault."""
        try:
            data = seal.open_whole(store_key, self._context(device), self._vault.read_bytes())
            return messages.decode(data, Secrets)
        except (OSError, WireError):
            raise StoreBroken("the vault does not open with this lease: enrol again with --replace") from None
