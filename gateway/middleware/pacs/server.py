"""The local socket of the process that talks to the PACS: one question a connection, see ``client``."""

from __future__ import annotations

import contextlib
import logging
import os
import socketserver
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.control import address
from gateway.middleware.pacs.errors import PacsAway, PacsError
from gateway.middleware.pacs.query import Query
from gateway.middleware.pacs.retrieval import Scope
from gateway.middleware.pacs.service import PacsService

log = logging.getLogger(__name__)

_QUESTION_LIMIT_BYTES = 4 << 20
_Tell = Callable[[dict[str, Any]], None]


def answer(service: PacsService, question: dict[str, Any], tell: _Tell) -> None:
    """Answer one question; ``tell`` is called with each line of the answer. Raises what ``tell`` raises."""
    try:
        done = _done(service, question, tell)
    except PacsError as error:
        tell({"error": type(error).__name__, "reason": str(error)})
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        tell({"error": "QueryInvalid", "reason": "not a question of this protocol"})
    except OSError:
        raise
    except Exception as error:  # without its text, which may quote data
        log.error("a question could not be answered: %s", type(error).__name__)
        tell({"error": "PacsAway", "reason": "the gateway could not do it; its log says where it failed"})
    else:
        tell({"done": msgspec.to_builtins(done)})


def _done(service: PacsService, question: dict[str, Any], tell: _Tell) -> Any:
    match question:
        case {"op": "find", "query": query, "pacs": names}:
            return service.find(msgspec.convert(query, Query), msgspec.convert(names, list[str]))
        case {"op": "retrieve", "study": study, "series": series, "pacs": pacs, "must_ask": must_ask}:
            scope = Scope(str(study), str(series), str(pacs), bool(must_ask))
            return service.retrieve(scope, lambda progress: tell({"progress": msgspec.to_builtins(progress)}))
        case {"op": "store", "pacs": pacs, "path": path}:
            try:
                return service.store(str(pacs), Path(str(path)))
            except OSError:
                raise PacsAway("the file cannot be read") from None
        case {"op": "commit", "pacs": pacs, "instances": instances}:
            return service.commit(str(pacs), msgspec.convert(instances, list[tuple[str, str]]))
        case {"op": "echo", "pacs": pacs}:
            return service.echo(str(pacs))
        case {"op": "status"}:
            return service.status()
    raise ValueError


class PacsServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on a path for this user only; a thread for each connection."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path, service: PacsService) -> None:
        """Raises OSError when the path cannot be used."""
        self.service = service
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            with address(path) as place:
                super().__init__(place, _Handler)
        finally:
            os.umask(old)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Without the traceback, which may quote data."""
        log.error("a question ended in an error of ours")


class _Handler(socketserver.StreamRequestHandler):
    server: PacsServer
    timeout = 60.0
    """A reader that does not read is let go after a minute."""

    def handle(self) -> None:
        line = self.rfile.readline(_QUESTION_LIMIT_BYTES)
        try:
            question = msgspec.json.decode(line)
        except (msgspec.MsgspecError, RecursionError):
            return
        if not isinstance(question, dict):
            return
        # Whoever asked may be gone before the answer is there.
        with contextlib.suppress(OSError):
            answer(self.server.service, question, self._tell)

    def _tell(self, line: dict[str, Any]) -> None:
        self.wfile.write(msgspec.json.encode(line) + b"\n")
