"""Accepting connections: counted before anything is read or decrypted, and each in a task of its own."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

from broker.config import Limits
from broker.errors import CannotListen

log = logging.getLogger(__name__)

BACKLOG = 256
# What asyncio reads ahead for a connection is at most twice this. Below it, a stream of 64 KiB segments is paused and
# resumed so often that it costs a third more CPU.
READ_AHEAD_BYTES = 256 * 1024
# Unsent bytes that the kernel takes for a connection: enough for the link, and the bound on what waits stays ours.
UNSENT_BYTES = 256 * 1024
PAUSE_WITHOUT_DESCRIPTORS_S = 1.0

Serve = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter, "Ticket"], Awaitable[None]]


class Admission:
    """How many connections stand: in all, from each address, and not yet authenticated."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = 0
        self._unauthenticated: dict[Ticket, None] = {}
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str, evict: Callable[[], object]) -> "Ticket | None":
        """Count one more connection; None if there is no room for it.

        Where too many are not authenticated yet, the oldest of them is evicted: whoever opens connections and says
        nothing loses those, and those who log in at once get through.
        """
        # The gateway's bridge brings every phone from loopback, so that is no address to count by.
        counted = "" if ipaddress.ip_address(address.partition("%")[0]).is_loopback else address
        if self._total >= self._limits.connections or (
            counted and self._by_address[counted] >= self._limits.connections_per_address
        ):
            return None
        if len(self._unauthenticated) >= self._limits.unauthenticated_connections:
            oldest = next(iter(self._unauthenticated))
            del self._unauthenticated[oldest]
            oldest.evict()
        ticket = Ticket(self, counted, evict)
        self._total += 1
        self._unauthenticated[ticket] = None
        self._by_address[counted] += 1
        return ticket

    def authenticated(self, ticket: "Ticket") -> None:
        """The connection no longer counts among the unauthenticated."""
        self._unauthenticated.pop(ticket, None)

    def leave(self, ticket: "Ticket") -> None:
        """Give the place back; once."""
        self._unauthenticated.pop(ticket, None)
        self._total -= 1
        self._by_address[ticket.counted] -= 1
        if not self._by_address[ticket.counted]:
            del self._by_address[ticket.counted]


class Ticket:
    """One connection's place; ``evict`` ends the connection."""

    def __init__(self, admission: Admission, counted: str, evict: Callable[[], object]) -> None:
        self._admission = admission
        self.counted = counted
        self.evict = evict

    def authenticated(self) -> None:
        """The connection no longer counts among the unauthenticated."""
        self._admission.authenticated(self)

    def leave(self) -> None:
        """Give the place back; once."""
        self._admission.leave(self)


class Listener:
    """One listening socket; ``close`` and ``wait_closed`` as in ``asyncio.Server``, which amqtt expects."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext | None, admission: Admission, limits: Limits, serve: Serve
    ) -> None:
        host = "127.0.0.1" if host == "localhost" else host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise CannotListen(f"{host} port {port}: {error.strerror}") from None
        self._socket.setblocking(False)
        self.host: str = host
        self.port: int = self._socket.getsockname()[1]
        self._context = context
        self._admission = admission
        self._limits = limits
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._accepting.cancel()
        for task in self._tasks:
            task.cancel()
        self._socket.close()

    async def wait_closed(self) -> None:
        """Wait until all connections ended."""
        await asyncio.gather(self._accepting, *self._tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._socket)
            except OSError as error:
                # Out of descriptors, most likely: those that wait in the backlog can wait a little longer.
                log.warning("accept: %s", error.strerror)
                await asyncio.sleep(PAUSE_WITHOUT_DESCRIPTORS_S)
                continue
            self._take(connection, address[0])

    def _take(self, connection: socket.socket, address: str) -> None:
        tasks: list[asyncio.Task[None]] = []
        # Soon, not now: a task that is cancelled before its first step never cleans up, and that step is already due.
        loop = asyncio.get_running_loop()
        ticket = self._admission.enter(address, lambda: loop.call_soon(tasks[0].cancel))
        if ticket is None:
            connection.close()
            log.warning("a connection was refused: too many")
            return
        task = asyncio.create_task(self._run(connection, address, ticket))
        tasks.append(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, connection: socket.socket, address: str, ticket: Ticket) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await self._open(connection)
            await self._serve(address, reader, writer, ticket)
        except (OSError, asyncio.IncompleteReadError):
            # A handshake that failed or a peer that vanished (ssl.SSLError and TimeoutError are OSError).
            log.info("a connection ended early")
        except Exception:
            # One client's fault must not take the broker along; the traceback holds code, not data.
            log.exception("a connection failed")
        finally:
            ticket.leave()
            if writer is not None:
                writer.transport.abort()
            else:
                connection.close()

    async def _open(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        reader = asyncio.StreamReader(limit=READ_AHEAD_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        # The handshake runs here, in this connection's task: a silent peer delays nobody and ends with the timeout.
        timeouts = {} if self._context is None else {"ssl_handshake_timeout": self._limits.connect_timeout_s}
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._context, **timeouts)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
