"""Draws a view. The only module that knows pygame's surfaces and fonts; decides nothing."""

import os
from pathlib import Path

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
import pygame
import pylopdf_fonts_ko

from device_client.display.layout import Box, Layout, page_of
from device_client.display.pictures import Pixels
from device_client.display.view import Card, Large, Level, View

Color = tuple[int, int, int]
BLACK: Color = (0, 0, 0)
_BACK: Color = (12, 16, 20)
_CARD: Color = (28, 35, 42)
_CHOSEN: Color = (36, 66, 92)
_TEXT: Color = (232, 237, 240)
_FAINT: Color = (158, 172, 182)
_URGENT: Color = (255, 120, 96)
_BANNER: dict[Level, tuple[Color, Color]] = {
    "ok": ((22, 48, 38), (176, 226, 198)),
    "warn": ((255, 190, 60), (24, 18, 0)),
    "stop": ((214, 58, 48), (255, 255, 255)),
}
_SMALL = 0.8
_GREYS = [(level, level, level) for level in range(256)]


class Painter:
    """One for a screen of one size. ``surface`` is what everything is drawn on."""

    def __init__(self, surface: pygame.Surface, layout: Layout) -> None:
        """Fonts are opened here."""
        self._surface = surface
        self.layout = layout
        pygame.font.init()
        path = font_path()
        # Glyphs of this font fill about 1.45 times the size that it is asked for.
        self._fonts = {size: pygame.font.Font(path, int(layout.unit * size / 1.25)) for size in (_SMALL, 1.0, 1.6)}
        self._places: list[tuple[Box, str]] = []

    # ── all of it ─────────────────────────────────────────────────────────────────────────────────────────────────

    def draw(self, view: View, pixels: Pixels | None) -> None:
        """The whole screen; ``pixels`` is the frame of ``view.large``, None while it is not here."""
        self._surface.fill(BLACK)
        self._places = []
        if view.off:
            return
        self._move(view)
        self._surface.fill(_BACK)
        self._head(view)
        if view.level == "stop" or view.large is None:
            self._notice(view, self.layout.body)
        else:
            self._picture(view, view.large, pixels)
            self._list(view.cards)
        self._end(view)

    def draw_picture(self, view: View, pixels: Pixels | None) -> Box:
        """The large picture alone: where the surface changed."""
        assert view.large is not None
        self._move(view)
        self._picture(view, view.large, pixels)
        box = self.layout.picture
        if view.brightness < 1:
            self._dim(view, pygame.Rect(self._moved(box)))
        self._surface.set_clip(None)
        return self._moved(box)

    def at(self, x: float, y: float) -> str:
        """The study whose card is there, ``picture``, or nothing."""
        for box, study in self._places:
            if box.holds(x, y):
                return study
        return "picture" if self.layout.picture.holds(x, y) else ""

    # ── around ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _move(self, view: View) -> None:
        step = max(1, self.layout.margin // 2)
        self._offset = (view.shift[0] * step, view.shift[1] * step)

    def _moved(self, box: Box) -> Box:
        return Box(box.x + self._offset[0], box.y + self._offset[1], box.w, box.h)

    def _end(self, view: View) -> None:
        if view.brightness < 1:
            self._dim(view, self._surface.get_rect())
        self._surface.set_clip(None)

    def _dim(self, view: View, where: pygame.Rect) -> None:
        level = int(255 * view.brightness)
        self._surface.fill((level, level, level), where, special_flags=pygame.BLEND_RGB_MULT)

    def _head(self, view: View) -> None:
        head, unit = self.layout.head, self.layout.unit
        clock = self._say(view.clock, head, _TEXT, "right")
        self._say(view.label, Box(head.x, head.y, head.w - clock - unit * 4, head.h), _TEXT)
        banner = self.layout.banner
        back, front = _BANNER[view.level]
        self._fill(banner, back, unit // 4)
        inner = Box(banner.x + unit // 2, banner.y, banner.w - unit, banner.h)
        self._say(view.banner, inner, front)

    def _notice(self, view: View, area: Box) -> None:
        large = self._fit(view.notice, 1.6, area.w - 2 * self.layout.unit)
        self._say(view.notice, area, _TEXT, "center", 1.6 if large == view.notice else 1.0)

    # ── the picture ───────────────────────────────────────────────────────────────────────────────────────────────

    def _picture(self, view: View, large: Large, pixels: Pixels | None) -> None:
        box, unit = self.layout.picture, self.layout.unit
        self._fill(box, BLACK, 0)
        strip = unit * 5 // 4
        inner = Box(box.x, box.y + strip, box.w, box.h - 2 * strip)
        card = next((one for one in view.cards if one.study == large.study), None)
        if card is not None:
            width = self._say(card.age, Box(box.x, box.y, box.w - unit // 2, strip), _TEXT, "right")
            left = Box(box.x + unit // 2, box.y, box.w - width - unit * 3 // 2, strip)
            used = self._say(" ".join(filter(None, (card.bed, card.name))), left, _TEXT)
            rest = Box(left.x + used + unit // 2, left.y, left.w - used - unit // 2, strip)
            self._say(card.line, rest, _FAINT, "left", _SMALL)
        if pixels is not None and large.frame is not None:
            self._blit(pixels, inner)
        else:
            self._say(large.notice, inner, _FAINT, "center")
        foot = Box(box.x + unit // 2, box.y + box.h - strip, box.w - unit, strip)
        used = self._say(large.position, foot, _TEXT, "right", _SMALL)
        self._say(large.caption, Box(foot.x, foot.y, foot.w - used - unit, foot.h), _FAINT, "left", _SMALL)

    def picture_size(self) -> tuple[int, int]:
        """How large a picture can be."""
        box = self.layout.picture
        return box.w, box.h - 2 * (self.layout.unit * 5 // 4)

    def _blit(self, pixels: Pixels, area: Box) -> None:
        image = pygame.image.frombuffer(pixels.data, (pixels.width, pixels.height), "P" if pixels.grey else "RGB")
        if pixels.grey:
            image.set_palette(_GREYS)
        target = self._moved(area)
        place = (target.x + (area.w - pixels.width) // 2, target.y + (area.h - pixels.height) // 2)
        self._surface.set_clip(pygame.Rect(target))
        self._surface.blit(image, place)
        self._surface.set_clip(None)

    # ── the list ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _list(self, cards: tuple[Card, ...]) -> None:
        places = self.layout.cards
        chosen = next((i for i, card in enumerate(cards) if card.chosen), 0)
        page = page_of(len(cards), chosen, len(places))
        for place, index in zip(places, page, strict=False):
            self._card(cards[index], place)
            self._places.append((place, cards[index].study))
        if len(page) < len(cards):
            head = self.layout.head
            beside_clock = Box(head.x, head.y, head.w - self.layout.unit * 4, head.h)
            number = f"{page.start // len(places) + 1} / {-(-len(cards) // len(places))}"
            self._say(number, beside_clock, _FAINT, "right", _SMALL)

    def _card(self, card: Card, box: Box) -> None:
        unit = self.layout.unit
        self._fill(box, _CHOSEN if card.chosen else _CARD, unit // 4)
        if card.urgent:
            self._fill(Box(box.x, box.y, max(4, unit // 4), box.h), _URGENT, 0)
        line = box.h // 2
        x, w = box.x + unit * 2 // 3, box.w - unit * 4 // 3
        age = self._say(card.age, Box(x, box.y, w, line), _FAINT, "right", _SMALL)
        title = Box(x, box.y, w - age - unit // 2, line)
        if card.urgent:
            used = self._say(card.urgent, title, _URGENT) + unit // 2
            title = Box(title.x + used, title.y, title.w - used, line)
        used = self._say(card.bed, title, _FAINT) + (unit // 2 if card.bed else 0)
        self._say(card.name, Box(title.x + used, title.y, title.w - used, line), _TEXT)
        state = self._say(card.state, Box(x, box.y + line, w, line), _FAINT, "right", _SMALL)
        self._say(card.line, Box(x, box.y + line, w - state - unit // 2, line), _FAINT, "left", _SMALL)

    # ── pieces ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _fill(self, box: Box, color: Color, radius: int) -> None:
        pygame.draw.rect(self._surface, color, pygame.Rect(self._moved(box)), border_radius=radius)

    def _say(self, text: str, box: Box, color: Color, side: str = "left", size: float = 1.0) -> int:
        """Draw one line, cut to the box; how wide it became."""
        shown = self._fit(text, size, box.w)
        if not shown:
            return 0
        image = self._render(shown, size, color)
        moved = self._moved(box)
        left = {"left": 0, "right": box.w - image.get_width(), "center": (box.w - image.get_width()) // 2}[side]
        self._surface.blit(image, (moved.x + left, moved.y + (box.h - image.get_height()) // 2))
        return image.get_width()

    def _fit(self, text: str, size: float, width: int) -> str:
        font = self._fonts[size]
        if not text or font.size(text)[0] <= width:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if font.size(text[:middle] + "…")[0] <= width else (low, middle - 1)
        return text[:low].rstrip() + "…" if low else ""

    def _render(self, text: str, size: float, color: Color) -> pygame.Surface:
        return self._fonts[size].render(text, True, color)


def font_path() -> Path:
    """Noto Sans KR: Hangul, Hanja and Latin in one font (SIL Open Font License 1.1)."""
    return Path(pylopdf_fonts_ko.sans_path())
