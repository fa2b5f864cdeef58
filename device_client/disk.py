"""One thread for all that blocks on the disk: writes keep their order, and the event loop stays free."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class DiskThread:
    """Runs blocking calls one after the other."""

    def __init__(self) -> None:
        """The thread starts with the first call."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="disk")

    async def run(self, call: Callable[[], T]) -> T:
        """The result of ``call``, made in the thread. What has begun is not cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Wait for what has begun."""
        self._pool.shutdown(wait=True)
