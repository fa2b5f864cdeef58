"""The console's bridge against direct TCP: the same bytes from the same source, by WebSocket over TLS and without.

Source, bridge and receiver are a process each, as broker, core and phone are.
"""

import asyncio
import base64
import multiprocessing
import os
import socket
import ssl
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.harness import free_ports
from gateway.config import Config, Https, Mqtt
from gateway.console.server import Console
from gateway.management import authority

_PIECE = os.urandom(64 * 1024)
_HELLO = b"go\n"
_READ_BYTES = 256 * 1024
_START_S = 30.0


def _source(port: int, size_bytes: int) -> None:
    """Whoever connects and says something gets so many bytes, as from a broker that has them ready."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            connection, _ = listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                if not connection.recv(16):
                    continue
                try:
                    for _ in range(size_bytes // len(_PIECE)):
                        connection.sendall(_PIECE)
                    connection.recv(1)
                except OSError:
                    continue


def _console(config: Config, tls: Path, ready: Connection) -> None:
    async def serve() -> None:
        console = Console(config, tls, lambda: {})
        await console.step()
        ready.send(True)
        while True:
            await console.step()

    asyncio.run(serve())


def _receive(connection: socket.socket, size_bytes: int) -> float:
    """MB/s from the first byte on; ``size_bytes`` is the payload, framing comes on top."""
    buffer, got, started = bytearray(_READ_BYTES), 0, time.monotonic()
    while got < size_bytes:
        count = connection.recv_into(buffer)
        if not count:
            raise ConnectionError(f"ended after {got} of {size_bytes} bytes")
        got += count
    return size_bytes / 1e6 / (time.monotonic() - started)


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _direct(port: int, size_bytes: int) -> float:
    with _connect(port) as connection:
        connection.sendall(_HELLO)
        return _receive(connection, size_bytes)


def _bridged(port: int, tls: Path, size_bytes: int) -> float:
    context = ssl.create_default_context(cafile=str(tls / "authority.pem"))
    with context.wrap_socket(_connect(port), server_hostname="127.0.0.1") as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(answer.splitlines()[0].decode())
        connection.sendall(bytes([0x82, 0x80 | len(_HELLO), 0, 0, 0, 0]) + _HELLO)
        return _receive(connection, size_bytes)


def bridge_goodput(size_bytes: int) -> tuple[float, float]:
    """``(by the bridge, by TCP)`` in MB/s; the best of three each, taken in turns."""
    source_port, console_port = free_ports(2)
    config = Config(site="bench", mqtt=Mqtt(port=source_port), https=Https(port=console_port))
    with tempfile.TemporaryDirectory(prefix="mpacs-bridge-") as folder:
        tls = Path(folder)
        authority.ensure(tls, config.host)
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        processes = [
            context.Process(target=_source, args=(source_port, size_bytes), daemon=True),
            context.Process(target=_console, args=(config, tls, there), daemon=True),
        ]
        for process in processes:
            process.start()
        try:
            if not here.poll(_START_S):
                raise TimeoutError("the console did not start")
            rounds = [(_bridged(console_port, tls, size_bytes), _direct(source_port, size_bytes)) for _ in range(3)]
        finally:
            for process in processes:
                process.terminate()
                process.join()
    return max(one for one, _ in rounds), max(other for _, other in rounds)


if __name__ == "__main__":
    print("bridge {:.0f} MB/s, TCP {:.0f} MB/s".format(*bridge_goodput(256 * 1024 * 1024)))
