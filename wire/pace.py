"""How fast a device asks, and when it asks again.

The credit follows the delay that queues add, as LEDBAT does (RFC 6817): a device keeps little more in flight than its
link holds, so a slow link carries no minutes of what others asked for, and who joins late has little to have again.
The round trip is smoothed as in RFC 6298, and the credit halves on loss.
"""

from collections import deque

from wire.limits import MAX_CREDIT

LEAST_CREDIT = 2
START_CREDIT = 8
TARGET_S = 0.2
"""The delay by queues, of gateway, broker and link together, that a device aims at."""
LEAST_REPAIR_S = 2.0
LEAST_OVERTAKEN_S = 0.75
MOST_REPAIR_S = 60.0
_GAIN = 4.0
_RECENT = 4
_BASE_SAMPLES = 512


class Pace:
    """One for each link, shared by all objects that come over it. Times in seconds of any steady clock."""

    def __init__(self) -> None:
        """Nothing is known yet: a small credit, which doubles each round trip, and the least repair time."""
        self._smoothed_s: float | None = None
        self._deviation_s = 0.0
        self._backoff = 1.0
        self._credit = float(START_CREDIT)
        self._starting = True
        self._lost_at = float("-inf")
        # The least of the last few is without jitter, the least of many is the way alone. The way may change, to
        # another access point, say: so of the last one to two blocks of samples.
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._base_s = float("inf")
        self._base_before_s = float("inf")
        self._samples = 0

    @property
    def credit(self) -> int:
        """How many segments may be in flight."""
        return int(self._credit)

    @property
    def repair_s(self) -> float:
        """How long a segment that was asked for may stay away without any progress before it."""
        if self._smoothed_s is None:
            return LEAST_REPAIR_S * self._backoff
        measured = max(LEAST_REPAIR_S, self._smoothed_s + 4 * self._deviation_s)
        return min(measured * self._backoff, MOST_REPAIR_S)

    @property
    def overtaken_s(self) -> float:
        """How long a segment may stay away once another that was asked for later has come.

        Without back-off: something came, so the link lives.
        """
        if self._smoothed_s is None:
            return self.repair_s
        return min(max(LEAST_OVERTAKEN_S, self._smoothed_s + 4 * self._deviation_s), self.repair_s)

    def arrived(self, round_trip_s: float) -> None:
        """A segment that had been asked for once came after ``round_trip_s``."""
        if self._smoothed_s is None:
            self._smoothed_s, self._deviation_s = round_trip_s, round_trip_s / 2
        else:
            self._deviation_s += (abs(round_trip_s - self._smoothed_s) - self._deviation_s) / 4
            self._smoothed_s += (round_trip_s - self._smoothed_s) / 8
        self._backoff = 1.0
        room = 1 - self._queued_s(round_trip_s) / TARGET_S
        self._starting = self._starting and room > 0.5
        step = 1.0 if self._starting else _GAIN * max(room, -1.0) / self._credit
        self._credit = min(max(LEAST_CREDIT, self._credit + step), MAX_CREDIT)

    def _queued_s(self, round_trip_s: float) -> float:
        self._recent.append(round_trip_s)
        self._base_s = min(self._base_s, round_trip_s)
        self._samples += 1
        base_s = min(self._base_s, self._base_before_s)
        if self._samples % _BASE_SAMPLES == 0:
            self._base_before_s, self._base_s = self._base_s, float("inf")
        return min(self._recent) - base_s

    def lost(self, now: float) -> None:
        """Something did not come in time. However much it was, this counts once in a repair time."""
        if now - self._lost_at < self.repair_s:
            return
        self._lost_at = now
        # Before anything came, the way may just be longer than the least repair time.
        self._starting = self._starting and self._smoothed_s is None
        self._credit = max(LEAST_CREDIT, self._credit / 2)
        self._backoff = min(self._backoff * 2, 16.0)
