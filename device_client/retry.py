"""When to try the broker again, and when to give up."""

import asyncio
import random
import time

from device_client.errors import LinkRefused

LEAST_BACKOFF_S = 0.5
MOST_BACKOFF_S = 30.0
REFUSED_BACKOFF_S = 5.0
REFUSED_ONCE_S = 15.0
"""How long ``--once`` bears a refusal: a broker may learn of a new device a moment late."""


class Retry:
    """One for the life of a device's process."""

    def __init__(self, once: bool) -> None:
        """``once``: a broker that goes on refusing ends it."""
        self._once = once
        self._backoff_s = LEAST_BACKOFF_S
        self._began = time.monotonic()
        self._refused_since: float | None = None

    def begin(self) -> None:
        """A connection is tried."""
        self._began = time.monotonic()

    def taken(self) -> None:
        """The broker took the credentials."""
        self._refused_since = None

    def refused(self, error: LinkRefused) -> None:
        """The broker does not take the credentials; LinkRefused where that is to end it."""
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        self._backoff_s = max(self._backoff_s, REFUSED_BACKOFF_S)
        if self._once and now - self._refused_since > REFUSED_ONCE_S:
            raise LinkRefused(f"{error}: it may have been revoked; ask for a new enrolment link") from None

    async def pause(self) -> None:
        """Wait before the next try: longer each time, anew after a connection that held."""
        if time.monotonic() - self._began > MOST_BACKOFF_S:
            self._backoff_s = LEAST_BACKOFF_S
        # Jitter, or a ward full of devices comes back in one moment when its broker does.
        await asyncio.sleep(self._backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, keeps no secret
        self._backoff_s = min(self._backoff_s * 2, MOST_BACKOFF_S)
