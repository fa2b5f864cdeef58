"""What the screen state says is to be drawn. Two views that are equal look the same."""

from dataclasses import dataclass
from typing import Literal

from device_client.display.board import Frame

Level = Literal["ok", "warn", "stop"]


@dataclass(frozen=True)
class Card:
    """One study in the list, as texts."""

    study: str
    bed: str
    name: str
    line: str
    age: str
    state: str
    urgent: str
    chosen: bool


@dataclass(frozen=True)
class Large:
    """The study that is shown large: a frame, or why there is none."""

    study: str
    frame: Frame | None
    position: str
    caption: str
    notice: str


@dataclass(frozen=True)
class View:
    """A whole screen. ``standing`` names what ``banner`` says; at ``level`` stop there are no cards and no picture."""

    label: str = ""
    clock: str = ""
    standing: str = ""
    level: Level = "warn"
    banner: str = ""
    notice: str = ""
    cards: tuple[Card, ...] = ()
    large: Large | None = None
    off: bool = False
    brightness: float = 1.0
    shift: tuple[int, int] = (0, 0)
