"""How fast a device asks, and when it asks again: round trip as in RFC 6298, credit that halves on loss."""

from wire.limits import MAX_CREDIT

LEAST_CREDIT = 8
START_CREDIT = 32
LEAST_REPAIR_S = 2.0
LEAST_OVERTAKEN_S = 0.75
MOST_REPAIR_S = 60.0


class Pace:
    """One for each link, shared by all objects that come over it. Times in seconds of any steady clock."""

    def __init__(self) -> None:
        """Nothing is known yet: a middling credit and the least repair time."""
        self._smoothed_s: float | None = None
        self._deviation_s = 0.0
        self._backoff = 1.0
        self._credit = float(START_CREDIT)
        self._lost_at = float("-inf")

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
        self._credit = min(MAX_CREDIT, self._credit + 4 / self._credit)

    def lost(self, now: float) -> None:
        """Something did not come in time. However much it was, this counts once in a repair time."""
        if now - self._lost_at < self.repair_s:
            return
        self._lost_at = now
        self._credit = max(LEAST_CREDIT, self._credit / 2)
        self._backoff = min(self._backoff * 2, 16.0)
