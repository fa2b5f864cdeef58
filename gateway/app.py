"""Wires the parts together: the state folder, and what each process of the gateway consists of."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from gateway import config as configuration
from gateway.config import Config, ConfigError
from gateway.control import Client, serve
from gateway.supervisor import Child, Supervisor, die_with_parent

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.management.registry import Registry
    from gateway.middleware.arrival import Arrival, StoreOutcome
    from gateway.middleware.refusal import Refusal

_log = logging.getLogger(__name__)

_BROKER_WAIT_S = 5.0


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
    def objects(self) -> Path:
        """Sealed objects."""
        return self.root / "objects"

    @property
    def socket(self) -> Path:
        """The core's local socket."""
        return self.root / "core.sock"

    def index(self, config: Config) -> str:
        """Path or URL of the index."""
        return config.index if "://" in config.index else str(self.root / config.index)


def init(state: State, config: Config) -> None:
    """Make a state folder: configuration, keys, index. ConfigError if there is one already."""
    from gateway.management import broker_files
    from gateway.management.vault import Vault, write_private

    path = state.root / configuration.FILE_NAME
    if path.exists():
        raise ConfigError(f"{path} is there already; change it with an editor, or choose another --state")
    state.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    state.root.chmod(0o700)
    if not state.keys.exists():
        Vault.create(state.keys)
    write_private(path, _sample(config).encode())
    configuration.load(state.root)
    opened = open_index(state, config)
    # The broker knows the gateway before either of them starts.
    broker_files.write_access(state.broker, config.site, opened, Vault.load(state.keys))
    opened.dispose()


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
    from gateway.management.index import arrivals_tables, deliveries, engine, people  # noqa: F401  # their tables

    opened = engine.open_index(state.index(config))
    if "://" not in config.index:
        Path(state.index(config)).chmod(0o600)
    return opened


def open_registry(state: State) -> "tuple[Config, Engine, Registry]":
    """What the command line works on, whether the gateway runs or not."""
    from gateway.management import authority
    from gateway.management.registry import Registry
    from gateway.management.vault import Vault

    config = configuration.load(state.root)
    if config.tls:
        authority.ensure(state.tls, config.host)
    opened = open_index(state, config)
    certificates = (
        (authority.authority_pem(state.tls), authority.server_digest(state.tls)) if config.tls else (b"", b"")
    )
    return config, opened, Registry(opened, Vault.load(state.keys), config, *certificates)


def publish_access(state: State, config: Config, opened: "Engine") -> None:
    """After the command line changed people or devices: the broker learns at once, and so does the core."""
    from gateway.management import broker_files
    from gateway.management.vault import Vault

    broker_files.write_access(state.broker, config.site, opened, Vault.load(state.keys))
    client = Client(state.socket)
    client.wake()
    client.close()


# ── mpacs-gateway run ─────────────────────────────────────────────────────────────────────────────────────────────


def lock(state: State) -> int:
    """Take the state folder for this process, until it ends; AlreadyRunning if another has it."""
    descriptor = os.open(state.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyRunning("a gateway runs with this state folder already") from None
    return descriptor


async def run(state: State) -> None:
    """Supervise broker, core and intake until SIGTERM or SIGINT; prints one line when all are ready."""
    from gateway.management import authority, broker_files

    config = configuration.load(state.root)
    if config.tls:
        authority.ensure(state.tls, config.host)
    broker_config = broker_files.write_config(state.broker, config, state.tls)
    own = (sys.executable, "-P", "-m", "gateway.app")
    arguments = (str(os.getpid()), str(state.root))
    broker = (sys.executable, "-P", "-m", "broker", "run", "--json", "--die-with-parent", "--config")
    children = [
        Child("broker", (*broker, str(broker_config))),
        Child("core", (*own, "core", *arguments)),
        Child("intake", (*own, "intake", *arguments)),
    ]
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
        print(
            f"ready: site {config.site}, DICOM {config.dicom.aet}@{config.dicom.host}:{dicom['port']},"
            f" devices {config.broker_url}",
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
    for noisy in ("pynetdicom", "pydicom", "PIL", "paho"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


# ── the core ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def core(state: State) -> None:
    """Delivery, requests, rendering; ends on SIGTERM."""
    from gateway.delivery.core import Core
    from gateway.management.index import deliveries
    from gateway.management.object_store import ObjectStore
    from gateway.management.studio import Studio
    from gateway.management.vault import Vault
    from gateway.management.workers import RenderPool

    config, opened, registry = open_registry(state)
    store = ObjectStore(state.objects, config.site)
    with opened.connect() as connection:
        store.sweep(deliveries.all_object_ids(connection))
    async with RenderPool(config.rendering.workers) as pool:
        studio = Studio(opened, state.archive, store, pool, config.rendering)
        running = Core(config, opened, Vault.load(state.keys), registry, store, studio, state.broker)
        server = await serve(state.socket, running.wake, running.status)
        task = asyncio.create_task(running.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        # Ready is what serves devices; a broker that is away is waited for, but not for ever.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running.connected.wait(), _BROKER_WAIT_S)
        print(json.dumps({"ready": True}), flush=True)
        try:
            await task
        except asyncio.CancelledError:
            _log.info("asked to end")
        finally:
            server.close()
    opened.dispose()


# ── intake ────────────────────────────────────────────────────────────────────────────────────────────────────────


def intake(state: State) -> None:
    """The storage SCP with its index; ends on SIGTERM."""
    from gateway.middleware.intake import import_light, run_intake

    import_light()
    from gateway.management.index import arrivals, arrivals_quarantine, arrivals_tables, engine  # noqa: F401
    from gateway.middleware.scp_settings import ScpSettings

    config = configuration.load(state.root)
    opened = engine.open_index(state.index(config))
    client = Client(state.socket)
    telling = threading.Lock()

    def wake() -> None:
        with telling:
            client.wake()

    def on_arrival(arrival: "Arrival") -> "StoreOutcome":
        with opened.begin() as connection:
            outcome = arrivals.add_arrival(connection, arrival, time.time())
        wake()
        return outcome

    def on_association_end(studies: frozenset[str]) -> None:
        with opened.begin() as connection:
            arrivals.mark_settled(connection, studies, time.time())
        wake()

    def on_refused(refusal: "Refusal") -> None:
        _log.warning("an instance was refused: %s", refusal.reason)
        with opened.begin() as connection:
            arrivals_quarantine.add_quarantine(connection, refusal, time.time())

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    dicom = config.dicom
    settings = ScpSettings(
        host=dicom.host,
        port=dicom.port,
        aet=dicom.aet,
        allow_calling=tuple(dicom.allow_calling),
        allow_addresses=tuple(dicom.allow_addresses),
        max_associations=dicom.max_associations,
        network_timeout_s=dicom.network_timeout_s,
    )
    run_intake(
        settings,
        state.archive,
        on_arrival,
        on_association_end,
        on_refused,
        ready=lambda port: print(json.dumps({"ready": True, "port": port}), flush=True),
        stop=stop,
    )


def main() -> None:
    """``python -m gateway.app core|intake PARENT STATE``: what the supervisor starts."""
    part, parent, root = sys.argv[1:]
    die_with_parent(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    set_up_log()
    os.umask(0o077)
    if part == "core":
        asyncio.run(core(State(Path(root))))
    else:
        intake(State(Path(root)))


if __name__ == "__main__":
    main()
