"""Who may connect: counted before anything is read or decrypted; who takes too long makes room."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from gateway.console.limits import Limits

_log = logging.getLogger(__name__)

_BACKLOG = 256
_UNSENT_BYTES = 128 * 1024
"""What the kernel takes of a connection beyond what is in flight: the bound on what waits stays ours."""
_BUFFER_BYTES = (64 * 1024, 256 * 1024)
"""Of one connection, in this process: reading goes on below the first, stops above the second."""
_GOODBYE_S = 2.0
_PAUSE_WITHOUT_DESCRIPTORS_S = 1.0


class Connection(asyncio.Protocol):
    """Stands between a transport and the HTTP protocol: knows when a peer stopped reading, and when it is gone."""

    def __init__(self, inner: asyncio.Protocol, door: "Door", stall_s: float) -> None:
        """``inner`` gets all that comes."""
        self._inner = inner
        self._door = door
        self._stall_s = stall_s
        self._transport: asyncio.Transport | None = None
        self._stalled: asyncio.TimerHandle | None = None
        # Every piece that is received passes here: no frame of our own around it.
        self.data_received = inner.data_received  # type: ignore[method-assign]

    def stays(self) -> None:
        """It is no passer-by any more, and need not make room for others."""
        self._door.settle(self)

    def abort(self) -> None:
        """End it now; without effect before the handshake is over."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        low, high = _BUFFER_BYTES
        transport.set_write_buffer_limits(high, low)
        self._transport = transport
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._flows()
        self._door.forget(self)
        self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._stalled = asyncio.get_running_loop().call_later(self._stall_s, self.abort)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._flows()
        self._inner.resume_writing()

    def _flows(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class Door:
    """A listening socket; each connection gets a place, the certificate of the moment, and a task for its handshake."""

    def __init__(self, most: int, limits: Limits, protocol: Callable[[], asyncio.Protocol]) -> None:
        """``most`` connections in all; of those that do not stay, ``limits.passing``: then the oldest makes room."""
        self._most = most
        self._limits = limits
        self._protocol = protocol
        self._greetings: dict[Connection, asyncio.Task[None]] = {}
        self._passing: dict[Connection, None] = {}
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.refused = 0

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._accepting is not None and not self._accepting.done()

    @property
    def connections(self) -> int:
        """How many stand now."""
        return len(self._greetings)

    def open(self, host: str, port: int, context: Callable[[], ssl.SSLContext]) -> None:
        """Listen; OSError if the port cannot be had. ``context`` is asked at every connection."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._socket, context))

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        if self._socket is not None:
            self._socket.close()
        for connection in list(self._greetings):
            self._end(connection)

    def settle(self, connection: Connection) -> None:
        """It stays; see ``Connection.stays``."""
        self._passing.pop(connection, None)

    def forget(self, connection: Connection) -> None:
        """It is gone: its place is free."""
        self._passing.pop(connection, None)
        self._greetings.pop(connection, None)

    async def _accept(self, listening: socket.socket, context: Callable[[], ssl.SSLContext]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors, most likely: those that wait in the backlog can wait a little longer.
                _log.warning("accept: %s", error.strerror)
                await asyncio.sleep(_PAUSE_WITHOUT_DESCRIPTORS_S)
                continue
            self._take(accepted, context())

    def _take(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        if len(self._passing) >= self._limits.passing:
            self.refused += 1
            oldest = next(iter(self._passing))
            del self._passing[oldest]  # its end comes later, and one connection makes room for one
            self._end(oldest)
        elif len(self._greetings) >= self._most:
            self.refused += 1
            accepted.close()
            return
        connection = Connection(self._protocol(), self, self._limits.stall_s)
        task = asyncio.create_task(self._greet(connection, accepted, context))
        self._greetings[connection] = task
        self._passing[connection] = None
        task.add_done_callback(lambda done: self._greeted(connection, accepted, done))

    async def _greet(self, connection: Connection, accepted: socket.socket, context: ssl.SSLContext) -> None:
        """The handshake; a silent peer delays nobody."""
        with contextlib.suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection,
            accepted,
            ssl=context,
            ssl_handshake_timeout=self._limits.handshake_s,
            ssl_shutdown_timeout=_GOODBYE_S,
        )

    def _greeted(self, connection: Connection, accepted: socket.socket, done: "asyncio.Task[None]") -> None:
        # ssl.SSLError and TimeoutError are OSError: a scanner, plain HTTP, or a browser that distrusts the certificate.
        if done.cancelled() or (error := done.exception()) is not None:
            self.forget(connection)
            accepted.close()
            if not done.cancelled() and not isinstance(error, OSError):
                _log.error("a handshake failed: %s", type(error).__name__)

    def _end(self, connection: Connection) -> None:
        connection.abort()
        # Without effect once the handshake is over.
        self._greetings[connection].cancel()
