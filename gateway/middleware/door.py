"""The listening socket: who may come in, and how long one may stand in the doorway.

A connection takes a place among the associations only once a whole A-ASSOCIATE-RQ lies in the kernel's buffer.
Until then it waits here, at most for the handshake timeout and at most among ``WAITING_LIMIT`` others; when one
more comes, whoever waits longest goes. So connections that say nothing never keep a sender out, who speaks at once.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import select
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pynetdicom import AE
from pynetdicom.transport import AssociationServer, RequestHandler

from gateway.middleware.scp_settings import PDU_LIMIT_BYTES

log = logging.getLogger(__name__)

WAITING_LIMIT = 64
_HEAD_BYTES = 6
_ASSOCIATE_RQ = 0x01  # PS3.8 table 9-11
# Of a longer request the rest is read by the association, in bounded time.
_AWAITED_BYTES = 32 << 10

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Serve = Callable[["Visitor"], None]


class Visitor(RequestHandler):  # type: ignore[misc]  # pynetdicom is not annotated for strict checking
    """One connection that has asked for an association."""

    def handle(self) -> None:
        """Called by the constructor."""
        self.server.serve(self)

    def create_association(self) -> Any:
        """The library's acceptor for this connection, not yet started."""
        return self._create_association()


class Door(AssociationServer):  # type: ignore[misc]  # as above
    """Accepts connections; each that asks for an association is handed to ``serve`` in a thread of its own."""

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        serve: Serve,
        allow_addresses: tuple[Network, ...],
        handshake_timeout_s: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.serve = serve
        self._allow_addresses = allow_addresses
        self._handshake_timeout_s = handshake_timeout_s
        self._tls = tls
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, socket.socket] = OrderedDict()
        # A sender that opens several associations at once must not meet a full backlog.
        self.request_queue_size = 128
        super().__init__(ae, address, ae.ae_title, list(ae.supported_contexts), request_handler=Visitor)

    @property
    def port(self) -> int:
        """The port that was bound."""
        return int(self.server_address[1])

    def verify_request(self, request: socket.socket, client_address: Any) -> bool:
        """Whether the address is on the list; called before anything is read."""
        if not self._allow_addresses:
            return True
        address = ipaddress.ip_address(client_address[0].split("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped if mapped is not None else address
        return any(address in network for network in self._allow_addresses)

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        """Let the connection wait in a thread of its own, so that the next one is accepted at once."""
        with self._lock:
            self._waiting[id(request)] = request
            oldest = self._waiting.popitem(last=False)[1] if len(self._waiting) > WAITING_LIMIT else None
        if oldest is not None:
            _shut(oldest)
        threading.Thread(target=self._attend, args=(request, client_address), daemon=True, name="door").start()

    def _attend(self, request: socket.socket, client_address: Any) -> None:
        visitor = request
        try:
            deadline = time.monotonic() + self._handshake_timeout_s
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                request.settimeout(self._handshake_timeout_s)
                visitor = self._tls.wrap_socket(request, server_side=True)
                asked = True
            else:
                asked = _asks(request, deadline)
            with self._lock:
                still_here = self._waiting.pop(id(request), None) is not None
            if asked and still_here:
                self.finish_request(visitor, client_address)
        except (OSError, ValueError) as error:
            log.info("a connection ended before an association: %s", type(error).__name__)
        except Exception as error:
            log.error("an association could not be served: %s", type(error).__name__)
        finally:
            with self._lock:
                self._waiting.pop(id(request), None)
            _shut(visitor)
            visitor.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The library would print a traceback with the peer's address."""
        log.error("a connection could not be accepted")

    def close(self) -> None:
        """Stop listening and hang up on whoever waits. ``serve_forever`` must be running in another thread."""
        # Not AssociationServer.shutdown: it expects to have been started by AE.start_server.
        super(AssociationServer, self).shutdown()
        self.server_close()
        with self._lock:
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for request in waiting:
            _shut(request)


def _asks(request: socket.socket, deadline: float) -> bool:
    """Wait until a whole A-ASSOCIATE-RQ (PS3.8 section 9.3.2), or its first 32 KiB, can be read without waiting."""
    if not _arrived(request, _HEAD_BYTES, deadline):
        return False
    head = request.recv(_HEAD_BYTES, socket.MSG_PEEK)
    length = int.from_bytes(head[2:6], "big")
    if len(head) < _HEAD_BYTES or head[0] != _ASSOCIATE_RQ or length > PDU_LIMIT_BYTES:
        log.info("a connection did not begin with an A-ASSOCIATE-RQ of a bearable length")
        return False
    return _arrived(request, min(_HEAD_BYTES + length, _AWAITED_BYTES), deadline)


def _arrived(request: socket.socket, count: int, deadline: float) -> bool:
    # The kernel says "readable" only from this many bytes on, so nobody wakes for a byte at a time.
    request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
    poll = select.poll()
    poll.register(request, select.POLLIN)
    try:
        left_ms = max(0, int((deadline - time.monotonic()) * 1000))
        return bool(poll.poll(left_ms)) and len(request.recv(count, socket.MSG_PEEK)) >= count
    finally:
        request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _shut(request: socket.socket) -> None:
    """End the connection; its own thread, which may be waiting on the descriptor, closes it."""
    with contextlib.suppress(OSError):  # the peer was faster
        request.shutdown(socket.SHUT_RDWR)
