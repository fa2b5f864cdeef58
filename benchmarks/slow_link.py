"""A TCP proxy on loopback that limits bandwidth towards the client and delays both ways, as a poor link does."""

import asyncio
import contextlib
import threading
from typing import Self

_PIECE_BYTES = 4096
_MOST_PIECES = 1024
"""On their way at once: more than any link here holds."""


class SlowLink:
    """Forwards to ``target_port``; bytes to the client leave at ``bytes_per_s`` (settable while it runs).

    A round trip takes ``round_trip_s`` longer than without it.
    """

    def __init__(self, target_port: int, bytes_per_s: float, round_trip_s: float = 0.0, port: int = 0) -> None:
        """Listens once entered; ``port`` is where, a free one unless given."""
        self.bytes_per_s = bytes_per_s
        self.down_bytes = 0
        self.port = port
        self._one_way_s = round_trip_s / 2
        self._target = target_port
        self._released = asyncio.Event()
        self._released.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def hold(self) -> None:
        """What connects from now on waits for ``release``."""
        self._loop.call_soon_threadsafe(self._released.clear)

    def release(self) -> None:
        """Let through what waits and what is to come."""
        self._loop.call_soon_threadsafe(self._released.set)

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        return int(server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._released.wait()
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target, limit=2 * _PIECE_BYTES)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._copy(reader, up_writer, False), self._copy(up_reader, writer, True))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_down: bool) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_PIECES)
        arriving = asyncio.create_task(self._arrive(under_way, writer))
        free_at = self._loop.time()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while (data := await reader.read(_PIECE_BYTES)) and not arriving.done():
                if is_down:
                    self.down_bytes += len(data)
                    free_at = max(free_at, self._loop.time()) + len(data) / self.bytes_per_s
                    await asyncio.sleep(max(0.0, free_at - self._loop.time()))
                await under_way.put((self._loop.time() + self._one_way_s, data))
        if not arriving.done():
            await under_way.put((0.0, b""))
        await arriving

    async def _arrive(self, under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        """What entered the link leaves it at its time; nothing means the end."""
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while (piece := await under_way.get())[1]:
                await asyncio.sleep(max(0.0, piece[0] - self._loop.time()))
                writer.write(piece[1])
                await writer.drain()
        writer.close()
        while not under_way.empty():  # nobody is to wait for room
            under_way.get_nowait()
