"""What happens, told to whoever listens: the terminal, the progress bar, ``watch``. References are opaque."""

import asyncio
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
"""``{"event": NAME, …}``; studies and objects by their opaque references."""

_MAX_WAITING = 1000


class Events:
    """Listeners are called at once and must not block; a stream that is not read loses its oldest events."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._listeners: list[Callable[[Event], None]] = []

    def tell(self, name: str, **facts: Any) -> None:
        """Something happened."""
        event = {"event": name, **facts}
        for listener in list(self._listeners):
            listener(event)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``listener`` from now on; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


class EventStream:
    """A bounded queue of events for one reader."""

    def __init__(self, events: Events) -> None:
        """Listen from now on."""
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_MAX_WAITING)
        self._end = events.listen(self._put)

    def _put(self, event: Event) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(event)

    async def next(self) -> Event:
        """Wait for an event."""
        return await self._queue.get()

    def close(self) -> None:
        """Stop listening."""
        self._end()
