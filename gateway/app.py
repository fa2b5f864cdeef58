"""Wires the parts together: the state folder, and what each process of the gateway consists of."""

import asyncio
import fcntl
import getpass
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from gateway import config as configuration
from gateway.config import Config, ConfigError
from gateway.control import Client
from gateway.supervisor import Child, Supervisor

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.management.anchors import Anchors
    from gateway.management.registry import Registry
    from gateway.management.relations import Relations

_log = logging.getLogger(__name__)

_LOCK_POLL_S = 0.05


class AlreadyRunning(Exception):
    """Another process owns this state folder."""


@dataclass(frozen=True, slots=True)
class State:
    """The state folder: where everything lies that a gateway keeps."""

    root: Path

    @property
    def keys(self) -> Path:
        """Private keys."""
        return self.root / "keys"

    @property
    def tls(self) -> Path:
        """Authority and server certificate."""
        return self.root / "tls"

    @property
    def broker(self) -> Path:
        """The embedded broker's configuration and access file."""
        return self.root / "broker"

    @property
    def archive(self) -> Path:
        """DICOM files as received."""
        return self.root / "archive"

    @property
    def uploads(self) -> Path:
        """What devices are sending."""
        return self.root / "uploads"

    @property
    def objects(self) -> Path:
        """Sealed objects."""
        return self.root / "objects"

    @property
    def audit(self) -> Path:
        """Anchors of the audit trail."""
        return self.root / "audit"

    @property
    def socket(self) -> Path:
        """The core's local socket."""
        return self.root / "core.sock"

    @property
    def pacs_socket(self) -> Path:
        """The local socket of the process that talks to the PACS."""
        return self.root / "pacs.sock"

    def index(self, config: Config) -> str:
        """Path or URL of the index."""
        return config.index if "://" in config.index else str(self.root / config.index)


def init(state: State, config: Config) -> None:
    """Make a state folder: configuration, keys, index. ConfigError if there is one already."""
    from gateway.management import authority, broker_files
    from gateway.management.files import write_private
    from gateway.management.vault import Vault

    path = state.root / configuration.FILE_NAME
    if path.exists():
        raise ConfigError(f"{path} is there already; change it with an editor, or choose another --state")
    text = _sample(config).encode()
    configuration.parse(text, "the configuration")
    try:
        state.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{state.root} cannot be made ({error.strerror}): choose another --state") from None
    state.root.chmod(0o700)
    if not state.keys.exists():
        Vault.create(state.keys)
    authority.ensure(state.tls, config.host)
    opened = open_index(state, config)
    # The broker knows the gateway before either of them starts.
    broker_files.write_access(state.broker, config.site, opened, Vault.load(state.keys))
    opened.dispose()
    # Last: a folder with a configuration is whole.
    write_private(path, text)


def _sample(config: Config) -> str:
    """The configuration as a person edits it: what differs from the defaults, and where to read of the rest."""
    import msgspec

    plain = msgspec.to_builtins(config)
    default = msgspec.to_builtins(Config(site=config.site))
    chosen: dict[str, object] = {"site": config.site, "host": config.host}
    for section, values in plain.items():
        if isinstance(values, dict):
            changed = {key: value for key, value in values.items() if value != default[section][key]}
            if changed:
                chosen[section] = changed
    note = "# Configuration of mpacs-gateway. All settings with their meaning: configs/gateway.yaml\n"
    return note + yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True)


def open_index(state: State, config: Config) -> "Engine":
    from gateway.management.index import (  # noqa: F401  # their tables
        arrivals_tables,
        commitments,
        deliveries,
        devices,
        engine,
        grants,
        movements,
        named_pixels,
        people,
        refused_messages,
        releases,
        retrieved,
        seen,
        terms,
        told,
        trail,
        uploads,
        uses,
    )

    opened = engine.open_index(state.index(config))
    if "://" not in config.index:
        Path(state.index(config)).chmod(0o600)
    return opened


def open_anchors(state: State, config: Config) -> "Anchors":
    """What convicts whoever changes the audit trail."""
    from gateway.management.anchors import Anchors

    copy = Path(config.audit.anchor) if config.audit.anchor else None
    return Anchors(state.audit, state.keys / "audit.key", config.site, copy)


def operator() -> str:
    """Who runs this command, for the audit trail."""
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, in a container
        return f"operator:{os.getuid()}"


def open_registry(state: State, actor: str = "") -> "tuple[Config, Engine, Registry]":
    """What the command line works on, whether the gateway runs or not; ``actor`` is the operator unless it is given."""
    from gateway.management import authority
    from gateway.management.registry import Registry
    from gateway.management.vault import Vault

    config = configuration.load(state.root)
    opened = open_index(state, config)
    certificates = (
        (authority.authority_pem(state.tls), authority.server_digest(state.tls)) if config.tls else (b"", b"")
    )
    return config, opened, Registry(opened, Vault.load(state.keys), config, *certificates, actor or operator())


def open_relations(state: State) -> "tuple[Config, Engine, Relations]":
    """The same for who has access from when to when."""
    from gateway.management.relations import Relations

    config, opened, _ = open_registry(state)
    return config, opened, Relations(opened, config.access, operator())


def publish_access(state: State, config: Config, opened: "Engine") -> None:
    """After the command line changed people or devices: the broker learns at once, and so does the core."""
    from gateway.management import broker_files
    from gateway.management.vault import Vault

    broker_files.write_access(state.broker, config.site, opened, Vault.load(state.keys))
    open_anchors(state, config).step(opened)
    client = Client(state.socket)
    client.wake()
    client.close()


def public_keys(state: State) -> dict[str, object]:
    """What may be shown of the gateway's keys."""
    from gateway.management.vault import Vault

    return Vault.load(state.keys).public(configuration.load(state.root).site)


def renew_keys(state: State, root: bool) -> None:
    """New keys in the place of the old; a core that runs restarts by itself. NoMoreRoots."""
    from gateway.audit import Event
    from gateway.management.index import trail
    from gateway.management.vault import Vault

    config, opened, _ = open_registry(state)
    with opened.begin() as connection:
        trail.record(connection, Event("keys-renewed", operator(), what="root" if root else "online"))
    Vault.renew(state.keys, config.site, root)
    publish_access(state, config, opened)


# ── mpacs-gateway run ─────────────────────────────────────────────────────────────────────────────────────────────


def lock(state: State, name: str = ".lock", wait_s: float = 0.0) -> int:
    """Take the state folder for this process, until it ends; AlreadyRunning if another has it after ``wait_s``."""
    descriptor = os.open(state.root / name, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_LOCK_POLL_S)
                continue
            os.close(descriptor)
            raise AlreadyRunning("a gateway runs with this state folder already: stop it first") from None
        return descriptor


async def run(state: State) -> None:
    """Supervise broker, core, intake and what talks to PACS, until SIGTERM or SIGINT; says so when all are ready.

    Raises StartFailed if one of them never got ready.
    """
    from gateway.management.broker_config import write_config

    config = configuration.load(state.root)
    if config.tls:
        from gateway.management import authority

        authority.ensure(state.tls, config.host)  # the broker needs it before the core is there
    broker_config = write_config(state.broker, config, state.tls)
    own = (sys.executable, "-P", "-m", "gateway.app_process")
    arguments = (str(os.getpid()), str(state.root))
    broker = (sys.executable, "-P", "-m", "broker", "run", "--json", "--die-with-parent", "--config")
    children = [
        Child("broker", (*broker, str(broker_config))),
        Child("core", (*own, "core", *arguments)),
        Child("intake", (*own, "intake", *arguments)),
    ]
    # What a gateway of before left would promise a PACS that is configured no more.
    state.pacs_socket.unlink(missing_ok=True)
    if config.pacs:
        children.append(Child("pacs", (*own, "pacs", *arguments)))
    supervisor = Supervisor(children)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    all_ready = asyncio.Event()
    task = asyncio.create_task(supervisor.run(all_ready))
    ready = asyncio.create_task(all_ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if all_ready.is_set():
        dicom = children[2].facts
        hl7 = f" HL7 {config.hl7.host}:{dicom['hl7_port']}," if dicom.get("hl7_port") else ""
        print(
            f"ready: site {config.site}, DICOM {config.dicom.aet}@{config.dicom.host}:{dicom['port']},{hl7}"
            f" devices {config.broker_url}, browsers {config.origin}",
            flush=True,
        )
    ready.cancel()
    await task


def set_up_log() -> None:
    """One format for all processes, on standard error; no record carries an identity."""
    logging.basicConfig(
        level=os.environ.get("MPACS_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("pynetdicom", "pydicom", "PIL", "paho", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
