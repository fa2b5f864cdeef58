"""Messages of many senders, each handled in its own order and none at the cost of the others."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)


class Lanes:
    """A short queue and at most one task for each sender; what does not fit is dropped, since senders repeat."""

    def __init__(
        self,
        handle: Callable[[str, str, bytes], Awaitable[None]],
        failed: Callable[[BaseException], None],
        for_each: int = 32,
        total_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        """``handle(sender, topic, payload)`` is awaited for each message; ``failed`` hears of what it raises."""
        self._handle = handle
        self._failed = failed
        self._for_each = for_each
        self._total_bytes = total_bytes
        self._waiting: dict[str, deque[tuple[str, bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self.dropped = 0

    def put(self, sender: str, topic: str, payload: bytes) -> bool:
        """Queue a message; False if it was dropped, because its sender or all senders have too much waiting."""
        lane = self._waiting.get(sender)
        if (lane and len(lane) >= self._for_each) or self._bytes + len(payload) > self._total_bytes:
            self.dropped += 1
            return False
        self._bytes += len(payload)
        if lane is None:
            lane = self._waiting[sender] = deque()
            task = asyncio.create_task(self._work(sender, lane))
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._close(sender, done))
        lane.append((topic, payload))
        return True

    @property
    def waiting(self) -> int:
        """Messages that wait, over all senders."""
        return sum(map(len, self._waiting.values()))

    async def _work(self, sender: str, lane: deque[tuple[str, bytes]]) -> None:
        while lane:
            topic, payload = lane.popleft()
            self._bytes -= len(payload)
            try:
                await self._handle(sender, topic, payload)
            except Exception as error:
                self._failed(error)

    def _close(self, sender: str, task: asyncio.Task[None]) -> None:
        """The lane is empty, or was given up; a message that came in its task's last moment opens it again."""
        self._tasks.discard(task)
        lane = self._waiting.pop(sender)
        self._bytes -= sum(len(payload) for _, payload in lane)
        if not task.cancelled():
            for topic, payload in lane:
                self.put(sender, topic, payload)

    async def stop(self) -> None:
        """End all work; what waits is dropped."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
