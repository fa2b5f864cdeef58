"""A reverse proxy before a console that loses segments on the way to the browser, and counts what it saw.

    with LossyConsole(gateway, port, share=0.1) as proxy:
        page.goto(proxy.origin)

``gateway`` must have ``https.origin`` set to that of ``port``. Everything but object parts passes untouched.
"""

import asyncio
import random
import re
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Self

import aiohttp
from aiohttp import web

from tests.support.gateways import RunningGateway

_PUBLISH, _SUBSCRIBE = 3, 8
_HOP = frozenset({"connection", "transfer-encoding", "content-encoding", "content-length", "host"})


class LossyConsole:
    """``passed`` and ``lost`` count object parts by topic, as the broker sent them to the browser."""

    def __init__(self, gateway: RunningGateway, port: int, share: float, seed: int = 7) -> None:
        """``share`` of the segments and manifest pages is lost, chosen by ``seed``."""
        self.origin = f"https://127.0.0.1:{port}"
        self.is_mute = False
        """Whether what the browser publishes is lost; it may subscribe."""
        self.subscribed: set[str] = set()
        self.passed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._gateway, self._port, self._share = gateway, port, share
        self._random = random.Random(seed)  # the same losses at every run
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> None:
        above = ssl.create_default_context(cafile=str(self._gateway.authority))
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=above), auto_decompress=True)
        application = web.Application()
        application.router.add_get("/mqtt", self._bridge)
        application.router.add_get("/{path:.*}", self._page)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls = self._gateway.folder / "tls"
        own.load_cert_chain(tls / "server.pem", tls / "server.key")
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=own).start()

    async def _end(self) -> None:
        await self._client.close()
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        async with self._client.get(f"{self._gateway.origin}{request.rel_url}") as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, headers=headers, body=await answer.read())

    async def _bridge(self, request: web.Request) -> web.StreamResponse:
        below = web.WebSocketResponse(protocols=("mqtt",), compress=False, max_msg_size=0)
        async with self._client.ws_connect(
            f"{self._gateway.origin}/mqtt", protocols=("mqtt",), origin=self.origin, max_msg_size=0
        ) as above:
            await below.prepare(request)
            up = asyncio.create_task(self._up(below, above))
            rest = b""
            async for message in above:
                *packets, rest = _packets(rest + message.data)
                if kept := b"".join(packet for packet in packets if self._passes(packet)):
                    await below.send_bytes(kept)
            await below.close()
            up.cancel()
        return below

    async def _up(self, below: web.WebSocketResponse, above: aiohttp.ClientWebSocketResponse) -> None:
        rest = b""
        async for message in below:
            *packets, rest = _packets(rest + message.data)
            for packet in packets:
                if packet[0] >> 4 == _SUBSCRIBE:
                    self.subscribed |= set(re.findall(r"mpacs/1/[a-z0-9/-]+/\+", packet.decode("latin1")))
                if not (self.is_mute and packet[0] >> 4 == _PUBLISH):
                    await above.send_bytes(packet)
        await above.close()

    def _passes(self, packet: bytes) -> bool:
        topic = _topic_of_publish(packet)
        if "/object/" not in topic:
            return True
        passes = self._random.random() >= self._share
        (self.passed if passes else self.lost)[topic] += 1
        return passes


def _packets(data: bytes) -> Iterator[bytes]:
    """The whole packets in ``data`` (MQTT 3.1.1 section 2.2), then what is left of it."""
    while len(data) >= 2:
        end, size, shift = 1, 0, 0
        while end < len(data) and end <= 4:
            byte = data[end]
            size |= (byte & 0x7F) << shift
            shift, end = shift + 7, end + 1
            if byte < 0x80:
                break
        else:
            break
        if len(data) < end + size:
            break
        yield data[: end + size]
        data = data[end + size :]
    yield data


def _topic_of_publish(packet: bytes) -> str:
    """The topic of a PUBLISH, "" of anything else."""
    if packet[0] >> 4 != _PUBLISH:
        return ""
    start = next(at for at in range(1, 5) if packet[at] < 0x80) + 1
    size = int.from_bytes(packet[start : start + 2], "big")
    return packet[start + 2 : start + 2 + size].decode()
