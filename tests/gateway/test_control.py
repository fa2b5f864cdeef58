"""The core's local socket: who may use it, what it answers, and that nothing sent to it does harm."""

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control import Client, serve
from tests.support.broker_process import wait_until


class Server:
    """``serve`` in a loop of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wakes = 0
        self.complaints: list[dict[str, Any]] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._started.wait(10)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        server = await serve(self.path, self._wake, lambda: {"broker": True})
        self._started.set()
        await self._stop.wait()
        server.close()

    def _wake(self) -> None:
        self.wakes += 1

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "core.sock")
    yield running
    running.stop()
    assert not running.complaints


def test_wake_and_status(server: Server) -> None:
    client = Client(server.path)
    client.wake()
    assert client.status() == {"broker": True}
    client.wake()
    wait_until(lambda: server.wakes == 2, 5, "both wakes")
    client.close()


def test_for_this_user_only(server: Server) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "rubbish",
    [b"\n", b"null\n", b"[]\n", b'"x"\n', b"{\n", b"\xff\xfe\n", b"[" * 50_000 + b"\n", b"x" * 200_000 + b"\n", b"{}"],
)
def test_rubbish_ends_its_connection_alone(server: Server, rubbish: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(server.path))
        try:
            connection.sendall(rubbish)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up before it was told all
    client = Client(server.path)
    assert client.status() == {"broker": True}
    client.close()


def test_a_server_that_is_away_is_no_error_for_wake(tmp_path: Path) -> None:
    client = Client(tmp_path / "nobody.sock")
    client.wake()
    assert client.status() is None


def test_wake_never_waits_and_leaks_no_descriptor(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    path = deep / "core.sock"
    with socket.socket(socket.AF_UNIX) as deaf:
        folder = os.open(deep, os.O_RDONLY)
        deaf.bind(f"/proc/self/fd/{folder}/core.sock")
        os.close(folder)
        deaf.listen(1)
        client = Client(path)
        client.wake()
        before = _descriptors()
        for _ in range(50_000):  # far more than its buffer holds
            client.wake()
        client.close()
    for _ in range(20):
        client.wake()
    assert _descriptors() <= before


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
