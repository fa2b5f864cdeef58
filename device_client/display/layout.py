"""Where things stand on a screen of any size, landscape or portrait. Pure; all in pixels."""

from dataclasses import dataclass
from typing import NamedTuple

LEAST_SIDE, MOST_SIDE = 240, 8192


class Box(NamedTuple):
    """A rectangle."""

    x: int
    y: int
    w: int
    h: int

    def holds(self, x: float, y: float) -> bool:
        """Whether a point is in it."""
        return self.x <= x < self.x + self.w and self.y <= y < self.y + self.h


@dataclass(frozen=True)
class Layout:
    """``unit`` is the height of a line of text; ``cards`` are the places of one page of the list."""

    size: tuple[int, int]
    unit: int
    margin: int
    head: Box
    banner: Box
    picture: Box
    cards: tuple[Box, ...]
    body: Box


def arrange(width: int, height: int) -> Layout:
    """The picture beside the list, or above it where the screen stands upright."""
    short = min(width, height)
    unit = max(14, short // 26 if short < 800 else short // 32)
    margin = max(4, unit // 3)
    # The outermost pixels are left free: everything moves within them.
    x, y, w = margin, margin, width - 2 * margin
    head = Box(x, y, w, unit * 3 // 2)
    banner = Box(x, head.y + head.h, w, unit * 3 // 2)
    top = banner.y + banner.h + margin
    body = Box(x, top, w, height - margin - top)
    card = unit * 13 // 4
    if width >= height:
        column = max(w * 30 // 100, min(unit * 13, w // 2))
        picture = Box(x, top, w - column - margin, body.h)
        cards = _stack(Box(picture.x + picture.w + margin, top, column, body.h), card, margin, 1)
    else:
        picture = Box(x, top, w, body.h * 56 // 100)
        below = picture.y + picture.h + margin
        columns = 2 if w >= unit * 26 else 1
        cards = _stack(Box(x, below, w, body.y + body.h - below), card, margin, columns)
    return Layout((width, height), unit, margin, head, banner, picture, cards, body)


def _stack(area: Box, card: int, margin: int, columns: int) -> tuple[Box, ...]:
    width = (area.w - margin * (columns - 1)) // columns
    rows = max(1, (area.h + margin) // (card + margin))
    return tuple(
        Box(area.x + column * (width + margin), area.y + row * (card + margin), width, card)
        for row in range(rows)
        for column in range(columns)
    )


def page_of(count: int, chosen: int, places: int) -> range:
    """Which of ``count`` cards are shown: the page on which the chosen one stands."""
    first = max(chosen, 0) // places * places
    return range(first, min(first + places, count))
