"""What the supervisor starts: ``python -m gateway.app_process core|intake|pacs PARENT STATE``."""

import asyncio
import dataclasses
import errno
import json
import logging
import os
import signal
import ssl
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import config as configuration
from gateway.app import AlreadyRunning, State, lock, open_anchors, open_registry, set_up_log
from gateway.app_import import watch_folder
from gateway.config import ConfigError
from gateway.config_hl7 import Hl7
from gateway.control import Client, serve
from gateway.supervisor import die_with_parent

if TYPE_CHECKING:
    from gateway.management.evictor import Evictor
    from gateway.management.vault import Vault
    from gateway.middleware.adt.listener import Listener
    from gateway.middleware.scp_settings import ScpSettings

_log = logging.getLogger(__name__)

_CANCEL_AGAIN_S = 3.0
_BROKER_WAIT_S = 5.0
_LOCK_WAIT_S = 10.0
_KEYS_LOOK_S = 1.0
_FOLDER_WAIT_S = 3.0
"""For the file that is being taken from the import folder; one that takes longer is taken again at the next start."""


def _say_ready(**facts: Any) -> None:
    """The line for which the supervisor waits."""
    sys.stdout.write(json.dumps({"ready": True, **facts}) + "\n")
    sys.stdout.flush()


# ── the core ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def core(state: State) -> None:
    """Delivery, requests, rendering, console; ends on SIGTERM."""
    from gateway.app_upload import outward
    from gateway.console.server import Console
    from gateway.delivery.core import Core
    from gateway.management import authority
    from gateway.management.starts import note_start, note_stop
    from gateway.management.stores import open_stores
    from gateway.management.studio.bench import Bench
    from gateway.management.studio.studio import studios
    from gateway.management.vault import Vault
    from gateway.management.workers import RenderPool

    asyncio.get_running_loop().set_exception_handler(_log_loop_error)
    # A core of a gateway that was killed may still be ending, and this one sweeps what it does not know.
    held = lock(state, ".core.lock", _LOCK_WAIT_S)
    # Before whoever else reads them: keys that are renewed from here on end this process.
    vault = Vault.load(state.keys)
    config, opened, registry = open_registry(state, "gateway")
    anchors = open_anchors(state, config)
    note_start(opened, (state.root / configuration.FILE_NAME).read_bytes(), vault.signer)
    authority.ensure(state.tls, config.host)
    store, evictor = open_stores(opened, config, state.archive, state.objects)

    def chores() -> None:
        if authority.ensure(state.tls, config.host):
            _log.info("the server certificate was renewed")

    def status() -> dict[str, Any]:
        return {**running.status(), "console": console.status()}

    console = Console(config, state.tls, status)
    async with RenderPool(config.rendering.workers) as pool:
        lanes = studios(Bench(opened, state.archive, store, pool, config.rendering))
        running = Core(config, opened, vault, registry, store, evictor, lanes, state.broker,
                       *outward(state, config, opened), chores, console.step)  # fmt: skip
        running.anchor = lambda: anchors.step(opened)
        server = await serve(state.socket, running.wake, status)
        task = asyncio.create_task(running.run())
        sweeping = asyncio.create_task(_sweep_archive(evictor))
        renewed = asyncio.create_task(_end_with_keys(state, vault, task))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _end, task)
        await _say_when_ready(task, running.connected, console.tried)
        try:
            await task
        except asyncio.CancelledError:
            _log.info("asked to end")
        finally:
            renewed.cancel()
            evictor.is_stopping = True
            await sweeping
            server.close()
            await console.stop()
            note_stop(opened)
            anchors.step(opened, keep=True)
    opened.dispose()
    os.close(held)


async def _sweep_archive(evictor: "Evictor") -> None:
    """Beside everything else: on a large archive it takes a while."""
    try:
        swept = await asyncio.to_thread(evictor.sweep)
    except Exception as error:
        _log.warning("the archive could not be swept: %s", type(error).__name__)
        return
    if swept:
        _log.warning("%d files of the archive that a cut had left were removed", swept)


async def _end_with_keys(state: State, vault: "Vault", core: "asyncio.Task[None]") -> None:
    """New keys stand on the disk: this process ends, and the next one begins with them."""
    while not await asyncio.to_thread(vault.was_replaced, state.keys):  # noqa: ASYNC110  # another process does it
        await asyncio.sleep(_KEYS_LOOK_S)
    _log.info("the keys were renewed")
    _end(core)


def _end(core: "asyncio.Task[None]") -> None:
    """Cancel it until it is over: before Python 3.12 wait_for may swallow a cancellation as what it waits for comes."""
    if not core.done():
        core.cancel()
        asyncio.get_running_loop().call_later(_CANCEL_AGAIN_S, _end, core)


async def _say_when_ready(core: "asyncio.Task[None]", *events: asyncio.Event) -> None:
    """Ready is what serves devices; a broker that is away is waited for, but not for ever."""
    serving = asyncio.create_task(_all_set(*events))
    await asyncio.wait({core, serving}, timeout=_BROKER_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    if not core.done():
        _say_ready()


async def _all_set(*events: asyncio.Event) -> None:
    for event in events:
        await event.wait()


def _log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio's own handler would print the error's text, which may quote data."""
    error = context.get("exception")
    _log.error("%s: %s", context.get("message", "an error in the event loop"), type(error).__name__)


# ── intake ────────────────────────────────────────────────────────────────────────────────────────────────────────


def intake(state: State) -> None:
    """The storage SCP with its index; ends on SIGTERM."""
    from gateway.middleware.intake import import_light, run_intake

    import_light()
    from gateway.app_hl7 import make_listener
    from gateway.management.entrance import Entrance
    from gateway.management.index import arrivals_tables, engine, movements, people, refused_messages  # noqa: F401  # their tables
    from gateway.middleware.admission import Admission
    from gateway.middleware.archive import Archive

    config = configuration.load(state.root)
    opened = engine.open_index(state.index(config))
    entrance = Entrance(opened, Client(state.socket).wake)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    admission = Admission(Archive(state.archive), entrance.on_arrival, entrance.on_refused)
    if listener := make_listener(config.hl7, state.root, opened, entrance.wake):
        _start(listener, config.hl7)
    folder = watch_folder(config.imports, state, opened, admission, entrance, stop)
    try:
        run_intake(
            _scp_settings(config.dicom),
            state.archive,
            entrance.on_arrival,
            entrance.settle,
            entrance.on_refused,
            ready=lambda port: _say_ready(port=port, hl7_port=listener.port if listener else 0),
            stop=stop,
            secured=_secured(config.dicom, state),
            on_commitment=entrance.on_commitment,
        )
        if folder is not None:
            folder.join(_FOLDER_WAIT_S)
    except OSError as error:
        ports = f"{config.dicom.port} or {config.dicom.tls.port}" if config.dicom.tls else str(config.dicom.port)
        _end_without_port(error, f"DICOM port {ports} on {config.dicom.host}", "dicom")
    finally:
        if listener is not None:
            listener.stop()


def _start(listener: "Listener", hl7: Hl7) -> None:
    """Exits where its port cannot be used. Raises ConfigError where its certificate cannot."""
    try:
        listener.start()
    except OSError as error:
        if isinstance(error, FileNotFoundError | ssl.SSLError):
            raise ConfigError("hl7.certificate, hl7.key or hl7.client_authority cannot be used") from None
        _end_without_port(error, f"HL7 port {hl7.port} on {hl7.host}", "hl7")


def _end_without_port(error: OSError, where: str, section: str) -> None:
    """Exit with a reason where the address is the trouble; else the error goes on."""
    if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
        raise error
    _log.error(
        "%s cannot be used (%s): end the program that has it, or change %s in %s",
        *(where, error.strerror, section, configuration.FILE_NAME),
    )
    sys.exit(1)


def _secured(dicom: configuration.Dicom, state: State) -> "ScpSettings | None":
    """The second SCP, over TLS. ConfigError where its files cannot be used."""
    tls = dicom.tls
    if tls is None:
        return None
    from gateway.middleware.scp_settings import TlsSettings

    files = TlsSettings(
        state.root / tls.certificate, state.root / tls.key, state.root / tls.authority if tls.authority else None
    )
    try:
        files.context()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"dicom.tls: its certificate, key or authority cannot be used ({type(error).__name__})"
        ) from None
    plain = _scp_settings(dicom)
    return dataclasses.replace(plain, host=tls.host or plain.host, port=tls.port, tls=files)


def _scp_settings(dicom: configuration.Dicom) -> "ScpSettings":
    from gateway.middleware.scp_settings import ScpSettings

    return ScpSettings(
        host=dicom.host,
        port=dicom.port,
        aet=dicom.aet,
        allow_calling=tuple(dicom.allow_calling),
        allow_addresses=tuple(dicom.allow_addresses),
        max_associations=dicom.max_associations,
        network_timeout_s=dicom.network_timeout_s,
    )


# ── the PACS ──────────────────────────────────────────────────────────────────────────────────────────────────────


def pacs(state: State) -> None:
    """Asks PACS, for the core and the command line; ends on SIGTERM."""
    from gateway.app_pacs import serve_pacs

    config, opened, _ = open_registry(state)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve_pacs(state, config, opened, _say_ready, stop)


def main() -> None:
    """One process, until SIGTERM; exit 1 with a reason in the log if it cannot go on."""
    part, parent, root = sys.argv[1:]
    die_with_parent(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    set_up_log()
    os.umask(0o077)
    # Python's own hook would print the error's text, which may quote data.
    threading.excepthook = lambda args: _log.error("a thread ended: %s", args.exc_type.__name__)
    try:
        if part == "core":
            asyncio.run(core(State(Path(root))))
        elif part == "pacs":
            pacs(State(Path(root)))
        else:
            intake(State(Path(root)))
    except (ConfigError, AlreadyRunning) as error:
        _log.error("%s", error)
        sys.exit(1)
    except Exception as error:
        # The text of an unforeseen error may quote data: only its kind and place are logged.
        reason = error.strerror if isinstance(error, OSError) else ""
        _log.critical(
            "%s %s\n%s", type(error).__name__, reason or "", "".join(traceback.format_tb(error.__traceback__))
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
