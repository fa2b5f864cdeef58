"""The MLLP listener (HL7 v2 transport specification, release 1): framed messages in, acknowledgements out.

One event loop on a thread of its own, beside the storage SCP. Messages of one connection are taken one after the other,
since their order is what the sender means.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from hl7.mllp import start_hl7_server

from gateway.middleware.adt.answer import Verdict, answer
from gateway.middleware.adt.message import Header
from gateway.middleware.scp_settings import TlsSettings

_log = logging.getLogger(__name__)

START, END = b"\x0b", b"\x1c\r"
_FRAME_S = 30.0
"""A message that began must be complete within it, and an answer be read."""
_START_S = 10.0
_CLOSE_S = 5.0
_MOST_STRAY_BYTES = 64
_TOO_LARGE = Verdict("AR", "the message is larger than hl7.max_message_kb", 100)


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """How it listens, and who may send; empty ``allow_addresses`` admit everybody."""

    host: str = "127.0.0.1"
    port: int = 0
    allow_addresses: tuple[str, ...] = ()
    max_message_bytes: int = 256 * 1024
    max_connections: int = 16
    idle_s: float = 14400.0
    tls: TlsSettings | None = None


class Listener:
    """One for a process. ``start``, then ``stop``."""

    def __init__(self, settings: ListenerSettings, receive: Callable[[bytes], bytes | None]) -> None:
        """``receive`` takes one message and returns its acknowledgement; it blocks, and never raises."""
        self._settings = settings
        self._receive = receive
        self._networks = [ipaddress.ip_network(one, strict=False) for one in settings.allow_addresses]
        self._open: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    def start(self) -> int:
        """Listen; the port. Raises OSError where that cannot be, and ssl.SSLError (an OSError) for its certificate."""
        ready: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True, name="HL7")
        self._thread.start()
        self.port = ready.result(_START_S)
        return self.port

    def stop(self) -> None:
        """End; a message that is being taken is taken, what did not come whole is the sender's to send again."""
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(_FRAME_S)

    def _run(self, ready: Future[int]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except Exception as error:
            if ready.done():
                _log.error("the HL7 listener ended: %s", type(error).__name__)
            else:
                ready.set_exception(error)

    async def _serve(self, ready: Future[int]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_log_kind)
        settings = self._settings
        more = {} if settings.tls is None else {"ssl": settings.tls.context(), "ssl_handshake_timeout": 5.0}
        server = await start_hl7_server(
            self._connected, settings.host, settings.port, limit=settings.max_message_bytes, **more
        )
        ready.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not self._may_send(writer) or len(self._open) >= self._settings.max_connections:
            _log.warning("an HL7 connection was not taken: its address may not send, or there are too many")
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            _keep_alive(writer)
            await self._talk(reader, writer)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender is gone, silent or in the middle of a message: it sends again what was not acknowledged
        except asyncio.CancelledError:
            pass  # the gateway ends
        except asyncio.LimitOverrunError:
            _log.warning("an HL7 connection was closed: a message is larger than hl7.max_message_kb")
            self._say(writer, answer(Header(), _TOO_LARGE, time.time()))
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(TimeoutError, OSError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), _CLOSE_S)
            writer.transport.abort()

    def _may_send(self, writer: asyncio.StreamWriter) -> bool:
        if not self._networks:
            return True
        address = ipaddress.ip_address(writer.get_extra_info("peername")[0].partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stray = 0
        while stray < _MOST_STRAY_BYTES:
            # What stands before a frame is no part of it; some senders end one with another line.
            begun = await asyncio.wait_for(reader.read(1), self._settings.idle_s)
            if not begun:
                return
            if begun != START:
                stray += 1
                continue
            stray = 0
            block = await asyncio.wait_for(reader.readuntil(END), _FRAME_S)
            # A frame that begins anew in the middle of one is whole; the first was cut.
            message = block.removesuffix(END).rpartition(START)[2]
            taking = asyncio.ensure_future(asyncio.to_thread(self._receive, message))
            try:
                acknowledgement = await asyncio.shield(taking)
            except asyncio.CancelledError:
                await taking  # committed or not: never half
                raise
            self._say(writer, acknowledgement)
            await asyncio.wait_for(writer.drain(), _FRAME_S)
        _log.warning("an HL7 connection was closed: what it sends is not framed as MLLP")

    def _say(self, writer: asyncio.StreamWriter, acknowledgement: bytes | None) -> None:
        if acknowledgement is not None:
            writer.write(START + acknowledgement + END)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """A sender that lost its power says nothing; the system finds out."""
    found = writer.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _log_kind(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """asyncio's own handler would print the error's text, which may quote data."""
    _log.error("in the HL7 listener: %s", type(context.get("exception")).__name__)
