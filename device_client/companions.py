"""What runs beside an agent: signs of life, and pictures as ordinary files where that was chosen."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from device_client.agent import Agent
from device_client.plain import Plain
from device_client.watchdog import Watchdog


@contextlib.asynccontextmanager
async def beside(agent: Agent, watchdog: Watchdog | None) -> AsyncIterator[None]:
    """While the block runs; what came last lies there as files when it has ended."""
    tasks: list[asyncio.Future[None]] = [asyncio.ensure_future(watchdog.keep())] if watchdog is not None else []
    plain = None
    if agent.state.storage.at_rest == "plain":
        plain = Plain(agent.state, lambda: agent.household.store if agent.household else None, agent.events)
        tasks.append(asyncio.ensure_future(plain.keep()))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if plain is not None and agent.household is None:
            await asyncio.to_thread(plain.finish)
