"""A token bucket that slows a client down instead of refusing it."""


class Pace:
    """``rate_per_s`` events a second in the long run, ``burst`` at once after a rest."""

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._then_s = now_s

    def delay_s(self, now_s: float, events: int = 1) -> float:
        """Count ``events`` and return how long to wait before serving them; 0 while within the rate."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._then_s) * self._rate_per_s)
        self._then_s = now_s
        self._tokens -= events
        return max(0.0, -self._tokens / self._rate_per_s)
