"""The device's clock: the larger of its own and the last signed time, so that turning it back gains nothing."""

import time
from collections.abc import Callable
from pathlib import Path

from device_client.store import files

_KEEP_EVERY_MS = 60_000
_WIDTH = 8


class Clock:
    """Milliseconds since 1970-01-01 UTC, never before the last signed time that was seen."""

    def __init__(
        self,
        path: Path,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """``path`` keeps the last signed time; ``wall`` and ``steady`` give seconds."""
        self._path = path
        self._wall = wall
        self._steady = steady
        self._kept_ms = self._read()
        self._signed_ms = self._kept_ms
        self._signed_at = steady()

    def _read(self) -> int:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        return int.from_bytes(data, "big") if len(data) == _WIDTH else 0

    def now_ms(self) -> int:
        """The time that leases, key sets and heads are judged by."""
        since_signed = int((self._steady() - self._signed_at) * 1000)
        return max(int(self._wall() * 1000), self._signed_ms + since_signed)

    def saw(self, signed_ms: int) -> None:
        """A verified message was issued at ``signed_ms``. Kept at most once a minute, to spare the card."""
        if signed_ms <= self._signed_ms + int((self._steady() - self._signed_at) * 1000):
            return
        self._signed_ms, self._signed_at = signed_ms, self._steady()

    def keep_at_least(self, signed_ms: int) -> None:
        """Write a first signed time; blocking."""
        self.saw(signed_ms)
        self.keep()

    def due(self) -> bool:
        """Whether ``keep`` has something to write."""
        return self._signed_ms - self._kept_ms >= _KEEP_EVERY_MS

    def keep(self) -> None:
        """Write the last signed time; blocking."""
        self._kept_ms = self._signed_ms
        files.write_atomic(self._path, self._kept_ms.to_bytes(_WIDTH, "big"))
