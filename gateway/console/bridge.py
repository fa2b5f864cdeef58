"""``/mqtt``: a browser's WebSocket becomes a TCP connection to the broker, with bounded memory both ways."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from gateway.console.door import Connection
from gateway.console.limits import Limits

SUBPROTOCOL = "mqtt"
_READ_BYTES = 128 * 1024
"""At a time from the broker, and at most in one frame to the browser."""


@dataclass(slots=True)
class Traffic:
    """Of all bridges since the start."""

    open: int = 0
    to_devices_bytes: int = 0
    from_devices_bytes: int = 0


class Bridge:
    """Handles ``/mqtt``. Pages of other origins are refused; what comes without an origin is no browser's page."""

    def __init__(self, host: str, port: int, origins: frozenset[str], limits: Limits) -> None:
        """``host`` and ``port`` are the broker's plain listener; ``origins`` those of the console itself."""
        self._address = (host, port)
        self._origins = origins
        self._limits = limits
        self.traffic = Traffic()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until either side ends."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in self._origins:
            raise web.HTTPForbidden(text="this page is not the console's own\n")
        offered = [text.strip() for text in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if SUBPROTOCOL not in offered:
            raise web.HTTPBadRequest(text="a WebSocket with the subprotocol mqtt is awaited here\n")
        try:
            async with asyncio.timeout(self._limits.connect_s):
                reader, writer = await asyncio.open_connection(*self._address, limit=_READ_BYTES)
        except OSError:  # TimeoutError too
            raise web.HTTPServiceUnavailable(text="the broker is away\n", headers={"Retry-After": "2"}) from None
        self.traffic.open += 1
        try:
            # Ciphertext does not shrink: permessage-deflate would only cost.
            socket = web.WebSocketResponse(
                protocols=(SUBPROTOCOL,),
                compress=False,
                max_msg_size=self._limits.frame_bytes,
                timeout=self._limits.goodbye_s,
            )
            await socket.prepare(request)
            here = request.transport.get_protocol() if request.transport is not None else None
            stays = here.stays if isinstance(here, Connection) else lambda: None
            await self._join(socket, reader, writer, stays)
        finally:
            self.traffic.open -= 1
            writer.transport.abort()
        return socket

    async def _join(
        self,
        socket: web.WebSocketResponse,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stays: Callable[[], None],
    ) -> None:
        down = asyncio.create_task(self._down(reader, socket, stays))
        try:
            await self._up(socket, writer)
            writer.close()
            async with asyncio.timeout(self._limits.goodbye_s):
                await writer.wait_closed()  # what was sent last, a DISCONNECT mostly, reaches the broker
        except (OSError, RuntimeError):
            pass  # either side vanished, or took too long to say goodbye
        finally:
            down.cancel()
            await asyncio.wait({down})

    async def _up(self, socket: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
        patience_s = self._limits.first_s
        while True:
            try:
                message = await socket.receive(patience_s)
            except TimeoutError:
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"silent for too long")
                return
            if message.type is WSMsgType.TEXT:
                await socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"MQTT is binary")
                return
            if message.type is not WSMsgType.BINARY:
                return
            patience_s = self._limits.idle_s
            self.traffic.from_devices_bytes += len(message.data)
            writer.write(message.data)
            await writer.drain()

    async def _down(
        self, reader: asyncio.StreamReader, socket: web.WebSocketResponse, stays: Callable[[], None]
    ) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            first = await reader.read(_READ_BYTES)
            stays()  # the broker answered: whoever only opens WebSockets is a passer-by still
            if first:
                self.traffic.to_devices_bytes += len(first)
                await socket.send_bytes(first)
            while data := await reader.read(_READ_BYTES):
                self.traffic.to_devices_bytes += len(data)
                await socket.send_bytes(data)
        # The broker ended it, or this side cannot be written to any more.
        await socket.close(code=WSCloseCode.GOING_AWAY, drain=False)
