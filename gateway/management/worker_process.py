"""One render worker as the pool sees it: a process, the socket to it, and the clock over its answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final, Self

import msgspec

from gateway.management import worker_protocol as protocol

if TYPE_CHECKING:
    from gateway.management.rendering.limits import RenderLimits
    from gateway.management.rendering.refusal import Reason

_BUFFER_BYTES: Final = 1 << 18
"""What the loop reads ahead of the consumer, per worker; the socket holds a little more, then the worker waits."""
_KEPT_ENVIRONMENT: Final = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "TZ")
_LEAN_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    # A frame's buffers are used again for the next frame, not fetched from the kernel page by page; what is left over
    # is given back by the worker itself.
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class WorkerLostError(Exception):
    """The worker ended, hung or babbled; it is of no further use."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class WorkerProcess:
    """One process and the socket to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: RenderLimits,
    ) -> None:
        self._process, self._reader, self._writer, self._limits = process, reader, writer, limits

    @classmethod
    async def start(cls, limits: RenderLimits, module: str = "gateway.management.worker_main") -> Self:
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # the current folder must not lend modules to it
                    "-m",
                    module,
                    str(os.getpid()),
                    msgspec.json.encode(limits).decode(),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    env=environment | _LEAN_ENVIRONMENT,
                )
            except OSError:  # no memory, no descriptors
                ours.close()
                raise WorkerLostError("crashed") from None
            except BaseException:
                ours.close()
                raise
        try:
            reader, writer = await asyncio.open_connection(sock=ours, limit=_BUFFER_BYTES)
        except BaseException:
            process.kill()
            ours.close()
            raise
        return cls(process, reader, writer, limits)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def greet(self) -> None:
        answer, _ = await self._read(self._limits.start_s)
        if not isinstance(answer, protocol.Ready):
            raise WorkerLostError("crashed")

    async def send(self, job: protocol.Job) -> None:
        """Hand over a job. Raises ``WorkerLostError``."""
        try:
            self._writer.write(protocol.pack(job))
            await self._writer.drain()
        except OSError:
            raise WorkerLostError(await self._cause()) from None

    async def receive(self) -> tuple[protocol.Frame | protocol.Done | protocol.Refused, bytes]:
        """The next answer to a job. The clock runs only here: a consumer's own time is not the worker's."""
        answer, body = await self._read(self._limits.wall_s_per_frame)
        if isinstance(answer, protocol.Ready):
            raise WorkerLostError("crashed")
        return answer, body

    async def _read(self, timeout_s: float) -> tuple[protocol.FromWorker, bytes]:
        try:
            async with asyncio.timeout(timeout_s):
                head_bytes, body_bytes = protocol.LENGTHS.unpack(await self._reader.readexactly(protocol.LENGTHS.size))
                if head_bytes > protocol.MAX_HEAD_BYTES or body_bytes > self._limits.max_picture_bytes:
                    raise WorkerLostError("too-large")
                head = await self._reader.readexactly(head_bytes)
                body = await self._reader.readexactly(body_bytes)
        except TimeoutError:
            raise WorkerLostError("timeout") from None
        except (asyncio.IncompleteReadError, OSError):
            raise WorkerLostError(await self._cause()) from None
        try:
            return protocol.unpack(head), body
        except (msgspec.DecodeError, RecursionError):
            raise WorkerLostError("crashed") from None

    async def _cause(self) -> Reason:
        """Why the process ended: SIGXCPU is its CPU limit."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._process.wait()
        return "timeout" if self._process.returncode == -signal.SIGXCPU else "crashed"

    async def kill(self) -> None:
        """End the process and wait until it is gone; what it still had to say is thrown away."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._writer.close()
        await self._process.wait()
