"""Real brokers as processes on free loopback ports: the embedded one, amqtt as it ships, and Debian's Mosquitto.

All three are context managers with ``host`` and ``port``, take the same logins, and grant what ``Principal`` grants.
"""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml

from tests.support.broker_process import START_TIMEOUT_S, Process, free_port, wait_until
from wire.names import Kind, encode_reference
from wire.topics import Principal, Role

SITE = "ward-7"


@dataclass(frozen=True)
class Login:
    """A user of a broker; ``name`` is user name and client id at once."""

    principal: Principal
    password: str

    @property
    def name(self) -> str:
        return self.principal.name


def login(role: Role, recipients: Iterable[tuple[Kind, str]] = (), site: str = SITE) -> Login:
    """A new login with a random name and password."""
    name = encode_reference(secrets.token_bytes(16))
    return Login(Principal(site, role, name, tuple(recipients)), secrets.token_urlsafe(32))


def write_access(path: Path, logins: Iterable[Login], site: str = SITE) -> None:
    """Write an access file as the gateway does: whole or not at all."""
    users = {
        one.name: {
            "sha256": hashlib.sha256(one.password.encode()).hexdigest(),
            "role": one.principal.role,
            "recipients": [f"{kind}/{reference}" for kind, reference in one.principal.recipients],
        }
        for one in logins
    }
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"version": 1, "site": site, "users": users}))
    new.replace(path)


@dataclass
class RunningBroker:
    """What the three have in common."""

    folder: Path
    logins: list[Login] = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 0

    # Whether a client's PINGRESP comes after every message that was acknowledged to its publisher before the PINGREQ.
    ordered: ClassVar[bool] = False
    process: Process = field(init=False, repr=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> int:
        return self.process.stop()


@dataclass
class EmbeddedBroker(RunningBroker):
    """``mpacs-broker run``. ``allow`` and ``set_logins`` rewrite its access file while it runs."""

    site: str = SITE
    limits: dict[str, Any] = field(default_factory=dict)
    certificate: Path | None = None
    key: Path | None = None
    arguments: list[str] = field(default_factory=list)
    tls_port: int = 0
    ordered: ClassVar[bool] = True

    @property
    def access(self) -> Path:
        return self.folder / "access.json"

    def start(self) -> None:
        """Start, or start again on the same port, with the logins as they are."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_access(self.access, self.logins, self.site)
        self.start_with_access_as_it_is()

    def start_with_access_as_it_is(self) -> None:
        """Start without writing the access file."""
        listeners: dict[str, Any] = {"tcp": {"host": self.host, "port": self.port}}
        if self.certificate is not None:
            files = {"certificate": str(self.certificate), "key": str(self.key)}
            listeners["tls"] = {"host": self.host, "port": self.tls_port, **files}
        config = {"site": self.site, "access": self.access.name, "listeners": listeners, "limits": self.limits}
        path = self.folder / "broker.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [str(Path(sys.executable).with_name("mpacs-broker")), "run", "--config", str(path), "--json"]
        self.process = Process([*command, *self.arguments])
        ready = json.loads(self.process.ready_line())
        self.port = ready["listeners"]["tcp"]["port"]
        self.tls_port = ready["listeners"].get("tls", {}).get("port", 0)

    def set_logins(self, logins: Iterable[Login]) -> None:
        """Replace the access file; the broker follows within a second."""
        self.logins = list(logins)
        write_access(self.access, self.logins, self.site)

    def allow(self, role: Role, recipients: Iterable[tuple[Kind, str]] = ()) -> Login:
        """Add a login to the access file and return it once the broker lets it in."""
        new = login(role, recipients, self.site)
        self.set_logins([*self.logins, new])
        wait_until(lambda: can_log_in(self, new), 3, "the broker follows its access file")
        return new


_STOCK_PROGRAM = """
import asyncio, json, sys, warnings
warnings.simplefilter("ignore")
from amqtt.broker import Broker

async def main():
    broker = Broker(json.loads(sys.argv[1]))
    await broker.start()
    sockets = {name: server.instance.sockets[0] for name, server in broker._servers.items()}
    print(json.dumps({name: one.getsockname()[1] for name, one in sockets.items()}), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@dataclass
class StockAmqtt(RunningBroker):
    """amqtt as it ships, with its file authentication (Argon2) and its topic ACL."""

    plugins: dict[str, Any] | None = None
    also_readable: dict[str, list[str]] = field(default_factory=dict)
    tls: dict[str, str] = field(default_factory=dict)
    ws_port: int = 0
    tls_port: int = 0

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        listeners: dict[str, Any] = {
            "default": {"type": "tcp", "bind": f"{self.host}:0"},
            "ws": {"type": "ws", "bind": f"{self.host}:0"},
        }
        if self.tls:
            listeners["tls"] = {"type": "tcp", "bind": f"{self.host}:0", "ssl": True, **self.tls}
        plugins = self._plugins() if self.plugins is None else self.plugins
        config = json.dumps({"listeners": listeners, "plugins": plugins})
        self.process = Process([sys.executable, "-c", _STOCK_PROGRAM, config])
        ports = json.loads(self.process.ready_line())
        self.port, self.ws_port, self.tls_port = ports["default"], ports["ws"], ports.get("tls", 0)

    def _plugins(self) -> dict[str, Any]:
        passwords = self.folder / "passwords"
        passwords.write_text("".join(f"{one.name}:{_argon2(one.password)}\n" for one in self.logins))
        return {
            "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)},
            "amqtt.plugins.topic_checking.TopicAccessControlListPlugin": {
                "publish_acl": {one.name: list(one.principal.publishable()) for one in self.logins},
                "acl": {
                    one.name: [*one.principal.subscribable(), *self.also_readable.get(one.name, [])]
                    for one in self.logins
                },
            },
        }


@functools.cache
def _argon2(password: str) -> str:
    # Cached, because it is as slow as it should be and modules start this broker often.
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    return PasswordHash((Argon2Hasher(),)).hash(password)


@dataclass
class Mosquitto(RunningBroker):
    """Debian's Mosquitto with a password file and an ACL file; ``installed`` says whether it is there."""

    program: ClassVar[str] = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def installed(cls) -> bool:
        return Path(cls.program).exists() and shutil.which("mosquitto_passwd") is not None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port(self.host)
        passwords, acl = self.folder / "passwords", self.folder / "acl"
        passwords.write_text("".join(f"{one.name}:{one.password}\n" for one in self.logins))
        passwords.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, timeout=START_TIMEOUT_S)
        acl.write_text("".join(_mosquitto_acl(one) for one in self.logins))
        lines = {
            "listener": f"{self.port} {self.host}",
            # As root Mosquitto becomes a user that may not read the test's folder.
            **({"user": "root"} if os.geteuid() == 0 else {}),
            "allow_anonymous": "false",
            "password_file": str(passwords),
            "acl_file": str(acl),
            "use_username_as_clientid": "true",
            "max_packet_size": "327680",
            "set_tcp_nodelay": "true",
            **self.settings,
        }
        config = self.folder / "mosquitto.conf"
        config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        self.process = Process([self.program, "-c", str(config)])
        wait_until(self._answers, START_TIMEOUT_S, "Mosquitto listens")

    def _answers(self) -> bool:
        assert self.process.is_running(), self.process.log
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
            return True
        return False


def _mosquitto_acl(one: Login) -> str:
    lines = [f"user {one.name}"]
    lines += [f"topic read {text}" for text in one.principal.subscribable()]
    lines += [f"topic write {text}" for text in one.principal.publishable()]
    return "\n".join(lines) + "\n\n"


def can_log_in(broker: RunningBroker, one: Login) -> bool:
    """Whether a CONNECT with this login is accepted; leaves nothing behind (for a login that is not connected)."""
    name, password = one.name.encode(), one.password.encode()
    body = b"\x00\x04MQTT\x04\xc2\x00\x0a"
    body += b"".join(len(text).to_bytes(2, "big") + text for text in (name, name, password))
    assert len(body) < 128
    try:
        with socket.create_connection((broker.host, broker.port), 5) as connection:
            connection.sendall(bytes([0x10, len(body)]) + body)
            answer = connection.recv(4)
            connection.sendall(b"\xe0\x00")
    except OSError:
        return False
    return answer == b"\x20\x02\x00\x00"
