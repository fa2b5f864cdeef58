"""The gateway's keys: files of mode 0600 in the state folder, made once."""

import errno
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.config import ConfigError
from gateway.management.files import sync_folder, write_private
from wire import hpke, keyset, names, sign, topics
from wire.keyset import KeySet, OnlineKey

_ONLINE_DAYS = 365
_MS = 1000


_CHAIN = "roots.chain"
_LINK_BYTES = 96


class NoMoreRoots(Exception):
    """The chain of roots is full: devices must be enrolled anew."""


@dataclass(frozen=True, slots=True)
class Vault:
    """All keys of one gateway. ``reference_key`` hides identities in topics; ``password`` is its broker login."""

    root: Ed25519PrivateKey
    online: Ed25519PrivateKey
    exchange: EllipticCurvePrivateKey
    reference_key: bytes
    gateway: str
    password: str
    roots: bytes = b""
    """The chain's links (docs/protocol.md, key set); empty as long as there was only one root."""

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
        def read(name: str, length: int) -> bytes:
            data = (folder / name).read_bytes()
            if len(data) != length:
                raise ValueError(name)
            return data

        scalar = int.from_bytes(read("exchange.key", 32), "big")
        return cls(
            root=Ed25519PrivateKey.from_private_bytes(read("root.key", 32)),
            online=Ed25519PrivateKey.from_private_bytes(read("online.key", 32)),
            exchange=derive_private_key(scalar, SECP256R1()),
            reference_key=read("reference.key", 32),
            gateway=names.encode_reference(read("gateway.id", 16)),
            password=read("broker.password", 64).decode("ascii"),
            roots=chain.read_bytes() if (chain := folder / _CHAIN).exists() else b"",
        )

    # ── new keys ──────────────────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def renew(cls, folder: Path, site: str, root: bool) -> "Vault":
        """New keys for signing and for requests, and with ``root`` a new root that the one before signs.

        Each file is replaced whole, and a cut between two of them leaves keys that work. NoMoreRoots at the 64th.
        """
        vault = cls.load(folder)
        if root:
            links, new = vault._links(site), Ed25519PrivateKey.generate()
            if len(links) >= keyset.MAX_ROOTS:
                raise NoMoreRoots
            # The chain first: what follows the root that is there is not looked at.
            write_private(folder / _CHAIN, b"".join([*links, keyset.link(vault.root, site, sign.raw_public(new))]))
            write_private(folder / "root.key", new.private_bytes_raw())
        scalar = generate_ec_key(SECP256R1()).private_numbers().private_value
        write_private(folder / "exchange.key", scalar.to_bytes(32, "big"))
        write_private(folder / "online.key", Ed25519PrivateKey.generate().private_bytes_raw())
        return cls.load(folder)

    def _links(self, site: str) -> list[bytes]:
        """The chain up to the present root."""
        public = sign.raw_public(self.root)
        kept = [self.roots[at : at + _LINK_BYTES] for at in range(0, len(self.roots), _LINK_BYTES)]
        ends = [number for number, link in enumerate(kept, 1) if link[:32] == public]
        return kept[: ends[0]] if ends else [keyset.link(self.root, site, public)]

    def was_replaced(self, folder: Path) -> bool:
        """Whether the key that signs is another one on the disk now; the last file that ``renew`` writes."""
        try:
            return (folder / "online.key").read_bytes() != self.online.private_bytes_raw()
        except OSError:
            return False

    def public(self, site: str) -> dict[str, object]:
        """For operators: digests and ids, nothing secret."""
        return {
            "root": self.root_digest.hex(),
            "roots": len(self._links(site)),
            "online": self.signer.hex(),
            "exchange": hashlib.sha256(hpke.raw_public(self.exchange)).hexdigest()[:16],
            "gateway": self.gateway,
        }

    @property
    def signer(self) -> bytes:
        """The id of the key that signs."""
        return sign.key_id(sign.raw_public(self.online))

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
        return keyset.pack(self.root, topics.gateway_keys(site), self._links(site), contents)
