"""The core's local socket: other processes of the gateway wake it, the command line asks it how it is.

One JSON object a line. ``{"op": "wake"}`` has no answer; ``{"op": "status"}`` has one.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_TIMEOUT_S = 5.0
_SUN_PATH_BYTES = 100


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """A path that fits ``sun_path`` (108 bytes): through the open folder where the state folder's is too long."""
    text = str(path)
    if len(text.encode()) < _SUN_PATH_BYTES:
        yield text
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


async def serve(path: Path, wake: Callable[[], None], status: Callable[[], dict[str, Any]]) -> asyncio.Server:
    """Listen on ``path``, for this user only. What is no request of the protocol ends its connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                match json.loads(line):
                    case {"op": "wake"}:
                        wake()
                    case {"op": "status"}:
                        writer.write(json.dumps(status()).encode() + b"\n")
                        await writer.drain()
                    case _:
                        return
        except (ConnectionError, ValueError, RecursionError):
            pass
        except asyncio.CancelledError:
            pass  # the core ends; asyncio would log a cancelled connection as a fault
        finally:
            writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240  # once, before anything is served
    old = os.umask(0o177)
    try:
        with address(path) as place:
            return await asyncio.start_unix_server(talk, place)
    finally:
        os.umask(old)


class Client:
    """Talks to the core from another process; a core that is away is no error for ``wake``."""

    def __init__(self, path: Path) -> None:
        """Connects when it is first used, and again after the core was away."""
        self._path = path
        self._socket: socket.socket | None = None

    def wake(self) -> None:
        """Something changed in the index. The core looks by itself once a second; this makes it look now."""
        try:
            # Never waits: where the buffer is full, the core has more to read than it needs to wake.
            connection = self._connect()
            connection.setblocking(False)
            connection.send(b'{"op":"wake"}\n')
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def status(self) -> dict[str, Any] | None:
        """What the core says of itself; None if it does not answer."""
        try:
            connection = self._connect()
            connection.settimeout(_TIMEOUT_S)
            connection.sendall(b'{"op":"status"}\n')
            with connection.makefile("rb") as file:
                answer = json.loads(file.readline())
                return answer if isinstance(answer, dict) else None
        except (OSError, ValueError):
            self.close()
            return None

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(_TIMEOUT_S)
            with address(self._path) as place:
                self._socket.connect(place)
        return self._socket

    def close(self) -> None:
        """Let the connection go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
