"""The core's local socket: other processes of the gateway wake it, the command line asks it how it is.

One JSON object a line. ``{"op": "wake"}`` has no answer; ``{"op": "status"}`` has one.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TIMEOUT_S = 5.0


def _address(path: Path) -> str:
    """A path that fits ``sun_path`` (108 bytes): through the open folder where the state folder's is too long."""
    text = str(path)
    return text if len(text.encode()) < 100 else f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY)}/{path.name}"


async def serve(path: Path, wake: Callable[[], None], status: Callable[[], dict[str, Any]]) -> asyncio.Server:
    """Listen on ``path``, for this user only."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                operation = json.loads(line).get("op")
                if operation == "wake":
                    wake()
                elif operation == "status":
                    writer.write(json.dumps(status()).encode() + b"\n")
                    await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240  # once, before anything is served
    old = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(talk, _address(path))
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
            self._connect().sendall(b'{"op":"wake"}\n')
        except OSError:
            self.close()

    def status(self) -> dict[str, Any] | None:
        """What the core says of itself; None if it does not answer."""
        try:
            connection = self._connect()
            connection.sendall(b'{"op":"status"}\n')
            with connection.makefile("rb") as file:
                answer: dict[str, Any] = json.loads(file.readline())
                return answer
        except (OSError, ValueError):
            self.close()
            return None

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(_TIMEOUT_S)
            self._socket.connect(_address(self._path))
        return self._socket

    def close(self) -> None:
        """Let the connection go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
