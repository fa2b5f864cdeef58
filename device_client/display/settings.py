"""How one display behaves, and the hours of its day. Pure."""

from dataclasses import dataclass
from datetime import time

from device_client.display.words import Language

_MINUTES_OF_DAY = 24 * 60


@dataclass(frozen=True)
class Hours:
    """From ``begins`` to ``ends``, over midnight where that is earlier; of equal times none."""

    begins: time
    ends: time

    def holds(self, now: time) -> bool:
        """Whether ``now`` is within."""
        if self.begins <= self.ends:
            return self.begins <= now < self.ends
        return now >= self.begins or now < self.ends

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """``22:00-06:00``; ValueError otherwise."""
        begins, dash, ends = text.partition("-")
        if not dash:
            raise ValueError("two times with a hyphen between them, such as 22:00-06:00")
        return cls(time.fromisoformat(begins.strip()), time.fromisoformat(ends.strip()))


@dataclass(frozen=True)
class Settings:
    """``blank_after_s``: pictures are hidden once what is known is so old, or earlier if the site says so.

    ``dwell_s``: so long a study stays large. ``idle_s``: so long after a touch the rotation waits.
    ``stack_hz``: frames a second where a file says nothing.
    """

    language: Language = "ko"
    blank_after_s: float = 1800.0
    dwell_s: float = 20.0
    idle_s: float = 60.0
    stack_hz: float = 8.0
    still_s: float = 5.0
    night: Hours | None = None
    night_level: float = 0.35
    off: Hours | None = None
    shift_every_s: float = 60.0
