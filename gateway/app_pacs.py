"""Wires what talks to the PACS: for the process of its own, and for the command line where no gateway runs."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway import config as configuration
from gateway.app import open_registry
from gateway.app_import import doorway
from gateway.config import Config, ConfigError
from gateway.control import address

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.app import State
    from gateway.middleware.admission import Admission
    from gateway.middleware.pacs.peer import Peer
    from gateway.middleware.pacs.service import PacsService

_log = logging.getLogger(__name__)


@contextmanager
def pacs_service(state: State, config: Config, opened: Engine) -> Iterator[PacsService]:
    """All PACS of the configuration; what they send comes in by the gateway's own door.

    One whose certificate or token cannot be read is left out, and said: the others, and all else, go on.
    """
    with doorway(state, opened) as (admission, entrance):
        from gateway.management.holdings import Holdings
        from gateway.middleware.pacs.service import PacsService

        peers = []
        for number in range(len(config.pacs)):
            try:
                peers.append(_peer(state, config, number, admission))
            except ConfigError as error:
                _log.error("%s; it is left out until the next start", error)
        service = PacsService(peers, Holdings(opened, entrance), config.retrieval.fresh_h * 3600)
        try:
            yield service
        finally:
            service.stop()


def _peer(state: State, config: Config, number: int, admission: Admission) -> Peer:
    from gateway.middleware.pacs.peer import Peer

    settings = config.pacs[number]
    try:
        if settings.dicomweb:
            from gateway.middleware.pacs.web import DicomWeb

            return Peer(settings, DicomWeb(settings, state.root, admission))
        from gateway.middleware.pacs.dimse import Dimse

        return Peer(settings, Dimse(settings, config.dicom.aet, state.root, admission))
    except (OSError, ssl.SSLError) as error:
        what = getattr(error, "filename", None) or "a certificate or key"
        raise ConfigError(f"pacs {settings.name}: {what} cannot be used ({type(error).__name__})") from None


def serve_pacs(state: State, config: Config, opened: Engine, ready: Callable[[], None], stop: threading.Event) -> None:
    """Answer on the local socket until ``stop``; calls ``ready`` once it does. Raises OSError where it cannot."""
    with pacs_service(state, config, opened) as service:
        from gateway.middleware.pacs.server import PacsServer

        server = PacsServer(state.pacs_socket, service)
        threads = [
            threading.Thread(target=server.serve_forever, daemon=True, name="socket"),
            threading.Thread(target=service.look_after, args=(config.retrieval.echo_s,), daemon=True, name="echo"),
        ]
        if config.prefetch.priors.most or config.prefetch.daily:
            from gateway.management.prefetch import Prefetcher

            prefetcher = Prefetcher(config.prefetch, opened, service)
            threads.append(threading.Thread(target=prefetcher.run, args=(stop,), daemon=True, name="prefetch"))
        for thread in threads:
            thread.start()
        ready()
        stop.wait()
        server.shutdown()
        state.pacs_socket.unlink(missing_ok=True)


# ── the command line ──────────────────────────────────────────────────────────────────────────────────────────────


def ask(state: State, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> None:
    """Ask by way of the gateway that runs, where limits and joining hold; else by ourselves.

    ``tell`` gets each line of the answer, see ``middleware.pacs.client``. Raises ConfigError.
    """
    if _ask_running(state, question, tell):
        return
    config, opened, _ = open_registry(state)
    with pacs_service(state, config, opened) as service:
        from gateway.middleware.pacs.server import answer

        answer(service, question, tell)
    opened.dispose()


def status_of(state: State) -> list[dict[str, Any]]:
    """Each PACS of the configuration, with ``where`` and what the gateway that runs knows of its health.

    ``is_asked``: whether the process that talks to PACS answered.
    """
    known: dict[str, dict[str, Any]] = {}

    def tell(line: dict[str, Any]) -> None:
        known.update({one["pacs"]: one for one in line.get("done") or []})

    config = configuration.load(state.root)
    is_asked = False
    if config.pacs and state.pacs_socket.exists():
        with contextlib.suppress(OSError, ValueError):
            is_asked = _ask_running(state, {"op": "status"}, tell)
    found = []
    for one in config.pacs:
        how = "dicomweb" if one.dicomweb else f"{one.aet} by C-{one.via.upper()}"
        unknown = {"pacs": one.name, "how": how, "answered_at": None, "tried_at": None, "error": ""}
        where = one.dicomweb or f"{one.host}:{one.port}{' (TLS)' if one.tls else ''}"
        found.append({**known.get(one.name, unknown), "how": how, "where": where, "is_asked": is_asked})
    return found


def _ask_running(state: State, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> bool:
    """Whether a gateway that runs was asked. Raises OSError or ValueError when it broke off."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with address(state.pacs_socket) as place:
                connection.connect(place)
        except OSError:
            return False
        connection.sendall(json.dumps(question).encode() + b"\n")
        with connection.makefile("rb") as file:
            for line in file:
                tell(json.loads(line))
        return True
