"""A console alone, in a thread of the test, before a broker that the test plays; and a client that can misbehave."""

import asyncio
import base64
import http.client
import os
import socket
import ssl
import struct
import threading
from pathlib import Path
from typing import Any, Self

from gateway.config import Config, Https, Mqtt
from gateway.console.limits import Limits
from gateway.console.server import Console
from gateway.management import authority
from tests.support.broker_process import free_port

TIMEOUT_S = 20.0
BINARY, TEXT, CLOSE, PING, PONG = 2, 1, 8, 9, 10


class Broker:
    """A listening socket; each connection is given to the test, which plays the broker on it."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(TIMEOUT_S)
        self.port: int = self._socket.getsockname()[1]

    def accept(self) -> socket.socket:
        """The next connection from the console."""
        connection, _ = self._socket.accept()
        connection.settimeout(TIMEOUT_S)
        return connection

    def close(self) -> None:
        self._socket.close()


class RunningConsole:
    """``Console`` in a thread with a loop of its own; a context manager."""

    def __init__(self, folder: Path, limits: Limits | None = None, mqtt_port: int = 0, **https: Any) -> None:
        """``https`` are settings of that section; without ``mqtt_port`` the test plays the broker."""
        self.broker = Broker()
        self.tls = folder / "tls"
        self.status: dict[str, Any] = {"broker": True, "troubles": {}}
        self.error: BaseException | None = None
        settings = Https(**{"port": free_port(), "web": str(folder), **https})
        self.config = Config(site="a", mqtt=Mqtt(port=mqtt_port or self.broker.port), https=settings)
        authority.ensure(self.tls, self.config.host)
        self._limits = limits
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.console = Console(self.config, self.tls, lambda: {**self.status, "console": self.console.status()},
                               self._limits)  # fmt: skip
        stepping = asyncio.create_task(self._step())
        await self.console.tried.wait()
        self._started.set()
        await self._stop.wait()
        stepping.cancel()
        await self.console.stop()

    async def _step(self) -> None:
        while True:
            try:
                await self.console.step()
                self.error = None
            except OSError as error:
                self.error = error
                await asyncio.sleep(0.1)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.broker.close()

    def stop(self) -> None:
        """End it; once more is no error."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(TIMEOUT_S)
            assert not self._thread.is_alive(), "the console does not end"

    @property
    def port(self) -> int:
        return self.config.https.port

    @property
    def origin(self) -> str:
        return self.config.own_origin

    def facts(self) -> dict[str, Any]:
        """What the console says of itself, asked in its own loop."""

        async def ask() -> dict[str, Any]:
            return self.console.status()

        return asyncio.run_coroutine_threadsafe(ask(), self.loop).result(TIMEOUT_S)

    def context(self) -> ssl.SSLContext:
        """Trusts the authority alone."""
        return ssl.create_default_context(cafile=str(self.tls / "authority.pem"))

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """One request on a connection of its own; ``_`` in a header's name stands for a hyphen."""
        return fetch(self.port, self.context(), path, method, **headers)

    def get_untrusted(self, path: str) -> tuple[http.client.HTTPResponse, bytes]:
        """The same, whoever vouches for the console."""
        return fetch(self.port, ssl._create_unverified_context(), path)

    def connect(self) -> ssl.SSLSocket:
        """A TLS connection that says nothing yet."""
        return self.context().wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S), server_hostname="127.0.0.1"
        )

    def websocket(self, **headers: str) -> "WebSocket":
        """An open WebSocket at ``/mqtt``; AssertionError if it is refused."""
        one = WebSocket(self.connect(), self.port, **headers)
        assert one.status == 101, one.status
        return one


def fetch(
    port: int, context: ssl.SSLContext, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One HTTPS request to 127.0.0.1."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


class WebSocket:
    """A client that writes frames as it likes."""

    def __init__(self, connection: socket.socket, port: int, path: str = "/mqtt", **headers: str) -> None:
        self.connection = connection
        key = base64.b64encode(os.urandom(16)).decode()
        fields = {
            "Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mqtt",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }  # fmt: skip
        text = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        connection.sendall(f"GET {path} HTTP/1.1\r\n{text}\r\n".encode())
        self._file = connection.makefile("rb")
        line = self._file.readline()
        self.status = int(line.split()[1]) if line else 0
        self.headers = http.client.parse_headers(self._file)

    def send(self, payload: bytes, opcode: int = BINARY, declared: int | None = None, is_last: bool = True) -> None:
        """One frame; ``declared`` is the length that its header claims."""
        length = len(payload) if declared is None else declared
        first = bytes([(0x80 if is_last else 0) | opcode])
        if length < 126:
            head = bytes([0x80 | length])
        elif length < 65536:
            head = bytes([0x80 | 126]) + struct.pack(">H", length)
        else:
            head = bytes([0x80 | 127]) + struct.pack(">Q", length)
        # A mask of zeros is a mask (RFC 6455 section 5.3).
        self.connection.sendall(first + head + bytes(4) + payload)

    def receive(self) -> tuple[int, bytes]:
        """The next frame, ``(opcode, payload)``; ``(0, b"")`` where the connection ended without one."""
        head = self._file.read(2)
        if len(head) < 2:
            return 0, b""
        length = head[1]
        if length == 126:
            (length,) = struct.unpack(">H", self._file.read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._file.read(8))
        return head[0] & 0x0F, self._file.read(length)

    def close_code(self) -> int:
        """Read until the close frame; its code, or 0 where the connection ended without one."""
        while True:
            opcode, payload = self.receive()
            if opcode in (0, CLOSE):
                return struct.unpack(">H", payload[:2])[0] if payload else 0

    def close(self) -> None:
        self._file.close()
        self.connection.close()
