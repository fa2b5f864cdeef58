"""What the broker reads: its configuration and its access file, written whole and atomically."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.engine import Engine

from gateway.config import Config
from gateway.management.index import people
from gateway.management.vault import Vault, write_private
from wire.enrolment import CodeKeys

ACCESS_FILE = "access.json"
CONFIG_FILE = "broker.yaml"


def write_config(folder: Path, config: Config, tls_folder: Path) -> Path:
    """The embedded broker's configuration, from the gateway's own; returns its path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    listeners: dict[str, Any] = {"tcp": {"host": "127.0.0.1", "port": config.local_port}}
    if config.tls:
        listeners["tls"] = {
            "host": config.host,
            "port": config.mqtt.port,
            "certificate": str((tls_folder / "server.pem").absolute()),
            "key": str((tls_folder / "server.key").absolute()),
        }
    contents = {"site": config.site, "access": ACCESS_FILE, "listeners": listeners}
    path = folder / CONFIG_FILE
    write_private(path, yaml.safe_dump(contents, sort_keys=False).encode())
    return path


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
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder):
        data = _access(site, engine, vault)
        path = folder / ACCESS_FILE
        if path.exists() and path.read_bytes() == data:
            return False
        write_private(path, data)
        return True


def _access(site: str, engine: Engine, vault: Vault) -> bytes:
    with engine.connect() as connection:
        profiles = {p.reference: p for p in people.all_profiles(connection)}
        devices = people.all_devices(connection, with_revoked=False)
        invites = people.invites_with_login(connection, time.time())
    users: dict[str, Any] = {vault.gateway: _user(_sha256(vault.password), "gateway")}
    for device in devices:
        tree = f"{profiles[device.reference].kind}/{device.reference}"
        users[device.device] = _user(device.password_sha256, "device", [tree])
    for invite in invites:
        password = CodeKeys.derive(invite.code, invite.enrolment).password
        users[invite.enrolment] = _user(_sha256(password), "enrol")
    contents = {"version": 1, "site": site, "users": dict(sorted(users.items()))}
    return json.dumps(contents, indent=1).encode()


def _user(digest: str, role: str, recipients: list[str] | None = None) -> dict[str, Any]:
    return {"sha256": digest, "role": role, "recipients": recipients or []}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
