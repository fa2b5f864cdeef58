"""The gateway's keys: files of mode 0600 in the state folder, made once."""

import errno
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.config import ConfigError
from wire import hpke, keyset, names, sign, topics
from wire.keyset import KeySet, OnlineKey

_ONLINE_DAYS = 365
_MS = 1000


def write_private(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600, whole or not at all, and make it survive a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Vault:
    """All keys of one gateway. ``reference_key`` hides identities in topics; ``password`` is its broker login."""

    root: Ed25519PrivateKey
    online: Ed25519PrivateKey
    exchange: EllipticCurvePrivateKey
    reference_key: bytes
    gateway: str
    password: str

    @classmethod
    def create(cls, folder: Path) -> None:
        """Make all keys or none; FileExistsError if there are any, since replacing them cuts off every device."""
        if folder.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
        new = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)  # of a start that was cut
        new.mkdir(mode=0o700, parents=True)
        scalar = generate_ec_key(SECP256R1()).private_numbers().private_value
        write_private(new / "root.key", Ed25519PrivateKey.generate().private_bytes_raw())
        write_private(new / "online.key", Ed25519PrivateKey.generate().private_bytes_raw())
        write_private(new / "exchange.key", scalar.to_bytes(32, "big"))
        write_private(new / "reference.key", os.urandom(32))
        write_private(new / "gateway.id", os.urandom(16))
        write_private(new / "broker.password", os.urandom(32).hex().encode())
        new.rename(folder)
        sync_folder(folder.parent)

    @classmethod
    def load(cls, folder: Path) -> "Vault":
        """Read all keys; OSError if one is missing, ConfigError if one is damaged."""
        try:
            return cls._load(folder)
        except ValueError:  # its text may quote the key
            raise ConfigError(f"{folder} holds a damaged key: restore the folder from a copy") from None

    @classmethod
    def _load(cls, folder: Path) -> "Vault":
        scalar = int.from_bytes((folder / "exchange.key").read_bytes(), "big")
        return cls(
            root=Ed25519PrivateKey.from_private_bytes((folder / "root.key").read_bytes()),
            online=Ed25519PrivateKey.from_private_bytes((folder / "online.key").read_bytes()),
            exchange=derive_private_key(scalar, SECP256R1()),
            reference_key=(folder / "reference.key").read_bytes(),
            gateway=names.encode_reference((folder / "gateway.id").read_bytes()),
            password=(folder / "broker.password").read_text(),
        )

    @property
    def root_digest(self) -> bytes:
        """What enrolment links pin."""
        return keyset.root_digest(sign.raw_public(self.root))

    def key_set(self, site: str) -> bytes:
        """The signed key set, as published on ``gateway/keys``; issued now."""
        now_ms = int(time.time() * _MS)
        online = OnlineKey(
            gateway=names.decode_reference(self.gateway),
            public=sign.raw_public(self.online),
            expires=now_ms + _ONLINE_DAYS * 86400 * _MS,
        )
        contents = KeySet(
            sequence=now_ms,
            issued=now_ms,
            suite=hpke.SUITE,
            exchange=hpke.raw_public(self.exchange),
            online=[online],
        )
        link = keyset.link(self.root, site, sign.raw_public(self.root))
        return keyset.pack(self.root, topics.gateway_keys(site), [link], contents)
