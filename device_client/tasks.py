"""Ending tasks for good."""

import asyncio
from collections.abc import Sequence
from typing import Any

AGAIN_S = 5.0


async def end(tasks: Sequence[asyncio.Future[Any]], again_s: float = AGAIN_S) -> None:
    """Cancel all and wait for them; their results are passed over.

    A task group in which something fails while it is cancelled raises what failed, and the cancelling is lost:
    a task that goes on after that is cancelled again.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=again_s)
    await asyncio.gather(*tasks, return_exceptions=True)
