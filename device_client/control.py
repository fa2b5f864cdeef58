"""The local socket: other commands ask the process that owns link and store. One JSON line a message.

The socket has mode 0600 in a folder of mode 0700. A request is answered by any number of ``{"progress": …}`` or
``{"event": …}`` lines and one ``{"result": …}`` or ``{"error": …}``.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from device_client.errors import DeviceError
from device_client.store.files import FILE_MODE

NAME = "control.sock"
MAX_REQUEST_BYTES = 64 * 1024
_MAX_PATH_BYTES = 100
"""Below the 108 of sockaddr_un on Linux (unix(7))."""

Message = dict[str, Any]
Send = Callable[[Message], Coroutine[Any, Any, None]]
Handle = Callable[[Message, Send], Awaitable[Any]]


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """A path of the socket that fits into an address, however deep the folder lies."""
    path = str(folder.absolute() / NAME)
    if len(path.encode()) <= _MAX_PATH_BYTES:
        yield path
        return
    # The folder by its descriptor: short, and nobody else can put something in its place.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Serves the requests of this user's commands."""

    def __init__(self, folder: Path, handle: Handle) -> None:
        """``handle`` returns the result, or raises a DeviceError whose text goes to the user."""
        self._folder = folder
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. The folder's lock is held, so a socket that is there is a dead process's."""
        (self._folder / NAME).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with _short_path(self._folder) as path:
                listener.bind(path)
        finally:
            os.umask(before)
        (self._folder / NAME).chmod(FILE_MODE)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_REQUEST_BYTES)

    async def close(self) -> None:
        """End all conversations."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        (self._folder / NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        async def send(message: Message) -> None:
            writer.write(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            await writer.drain()

        try:
            await self._answer(await reader.readline(), send)
        except (ConnectionError, TimeoutError, ValueError):
            pass  # the command has gone, does not read, or sent a line without end
        finally:
            writer.close()

    async def _answer(self, line: bytes, send: Send) -> None:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise DeviceError("not a request")
            result = await self._handle(request, send)
        except DeviceError as error:
            await send({"error": str(error)})
        except OSError as error:
            await send({"error": f"the disk or the folder does not take it: {error.strerror}"})
        else:
            await send({"result": result})


def ask(folder: Path, request: Message, told: Callable[[Message], None], timeout_s: float | None = None) -> Any:
    """The result of ``request``; ``told`` gets what comes before it. OSError if no process listens.

    ``timeout_s`` is how long it may be silent.
    """
    for message in stream(folder, request, timeout_s):
        if "result" in message:
            return message["result"]
        told(message)
    raise DeviceError("the running process has ended")


def stream(folder: Path, request: Message, timeout_s: float | None = None) -> Iterator[Message]:
    """All that is answered to ``request``, the result last; DeviceError where that is an error, OSError as in ask."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        with _short_path(folder) as path:
            client.connect(path)
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                if "error" in message:
                    raise DeviceError(message["error"])
                yield message
