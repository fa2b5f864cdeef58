"""The broker's access file: who may log in, written whole and atomically."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from gateway.management.broker_config import ACCESS_FILE
from gateway.management.files import write_private
from gateway.management.index import people
from gateway.management.index.devices import to_be_wiped
from gateway.management.vault import Vault
from wire.enrolment import CodeKeys


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time: the core and the command line both write the access file."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_access(folder: Path, site: str, engine: Engine, vault: Vault) -> bool:
    """Who may log in now, and as what; True if the file changed. The broker follows within a second."""
    return AccessFile(folder, site, engine, vault).write()


class AccessFile:
    """Keeps the access file equal to the index; a look costs one small query while nothing changed."""

    def __init__(self, folder: Path, site: str, engine: Engine, vault: Vault) -> None:
        """``folder`` is the broker's, made if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._site = site
        self._engine = engine
        self._vault = vault
        self._version = (-1, -1)
        self._holds_until = 0.0

    def keep(self) -> bool:
        """Write the file if people changed or an invitation's time is over; True if it was."""
        with self._engine.connect() as connection:
            version = people.version(connection)
        if version == self._version and time.time() < self._holds_until:
            return False
        return self.write()

    def write(self) -> bool:
        """Write the file unless it says the same already."""
        with _locked(self._folder):
            data, version, holds_until = self._contents()
            path = self._folder / ACCESS_FILE
            changed = not path.exists() or path.read_bytes() != data
            if changed:
                write_private(path, data)
        self._version, self._holds_until = version, holds_until
        return changed

    def _contents(self) -> tuple[bytes, tuple[int, int], float]:
        with self._engine.connect() as connection:
            version = people.version(connection)
            profiles = {p.reference: p for p in people.all_profiles(connection)}
            wiping = to_be_wiped(connection)
            # A device that is to be wiped must come in to hear of it; what it had a key for is sealed anew by then.
            devices = [d for d in people.all_devices(connection) if d.revoked_at is None or d.device in wiping]
            invites = people.invites_with_login(connection, time.time())
        users: dict[str, Any] = {self._vault.gateway: _user(_sha256(self._vault.password), "gateway")}
        for device in devices:
            # On PostgreSQL a profile may be removed between the two queries; its device goes with it.
            if (profile := profiles.get(device.reference)) is not None:
                users[device.device] = _user(device.password_sha256, "device", [f"{profile.kind}/{profile.reference}"])
        for invite in invites:
            password = CodeKeys.derive(invite.code, invite.enrolment).password
            users[invite.enrolment] = _user(_sha256(password), "enrol")
        contents = {"version": 1, "site": self._site, "users": dict(sorted(users.items()))}
        holds_until = min((invite.login_ends_at for invite in invites), default=float("inf"))
        return json.dumps(contents, indent=1).encode(), version, holds_until


def _user(digest: str, role: str, recipients: list[str] | None = None) -> dict[str, Any]:
    return {"sha256": digest, "role": role, "recipients": recipients or []}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
