"""When to try the broker again, and when to give up."""

import asyncio
import random
import time

LEAST_BACKOFF_S = 0.5
MOST_BACKOFF_S = 30.0
REFUSED_BACKOFF_S = 5.0
REFUSED_S = 15.0
"""How long a refusal may be an error: a broker may learn of a new device a moment late."""


class Retry:
    """One for the life of a device's process."""

    def __init__(self) -> None:
        """Nothing was tried yet."""
        self._backoff_s = LEAST_BACKOFF_S
        self._began = time.monotonic()
        self._refused_since: float | None = None
        self._was_taken = False

    def begin(self) -> None:
        """A connection is tried."""
        self._began = time.monotonic()

    def taken(self) -> None:
        """The broker took the credentials."""
        self._refused_since = None
        self._was_taken = True

    def refused(self) -> bool:
        """The broker does not take the credentials; whether that is very likely for good."""
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        self._backoff_s = max(self._backoff_s, REFUSED_BACKOFF_S)
        return self._was_taken or now - self._refused_since > REFUSED_S

    async def pause(self) -> None:
        """Wait before the next try: longer each time, anew after a connection that held."""
        if time.monotonic() - self._began > MOST_BACKOFF_S:
            self._backoff_s = LEAST_BACKOFF_S
        # Jitter, or a ward full of devices comes back in one moment when its broker does.
        await asyncio.sleep(self._backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, keeps no secret
        self._backoff_s = min(self._backoff_s * 2, MOST_BACKOFF_S)
