"""The window or the whole screen, through SDL, and what people do to it. Says in its own words what was meant."""

import os
from collections.abc import Iterator

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
import pygame

from device_client.display.layout import LEAST_SIDE, MOST_SIDE, Box
from device_client.errors import DeviceError

Action = tuple[str, float, float]
"""``("study" | "frame", by, 0)``, ``("pause", 0, 0)``, ``("touch", x, y)``, ``("quit", 0, 0)``."""

_KEYS: dict[int, Action] = {
    pygame.K_RIGHT: ("study", 1, 0),
    pygame.K_LEFT: ("study", -1, 0),
    pygame.K_DOWN: ("frame", 1, 0),
    pygame.K_UP: ("frame", -1, 0),
    pygame.K_PAGEDOWN: ("frame", 10, 0),
    pygame.K_PAGEUP: ("frame", -10, 0),
    pygame.K_SPACE: ("pause", 0, 0),
    pygame.K_q: ("quit", 0, 0),
}
_STEP_PIXELS = 24


class Window:
    """Owns SDL's video. On a Pi without a desktop SDL takes KMS/DRM by itself, elsewhere a window."""

    def __init__(self, size: tuple[int, int] | None, full_screen: bool) -> None:
        """``size`` None: all of the screen. DeviceError where there is no screen."""
        try:
            pygame.display.init()
            # With a size of its own it fills as much, without a frame: a mode of that size there may not be.
            flags = 0 if not full_screen else pygame.NOFRAME if size else pygame.FULLSCREEN
            self.surface = pygame.display.set_mode(size or (0, 0), flags)
        except pygame.error as error:
            raise DeviceError(
                f"no screen can be opened ({error}): on a machine without a desktop this user must be in the groups "
                "`video`, `render` and `input`; with one, DISPLAY or WAYLAND_DISPLAY must be set"
            ) from None
        pygame.display.set_caption("mPACS Edge")
        pygame.mouse.set_visible(not full_screen)
        self._full_screen = full_screen
        self._drag_y: float | None = None
        self._dragged = False

    def show(self, box: Box | None) -> None:
        """Bring what was drawn in ``box``, None: everywhere, before people's eyes."""
        if box is None:
            pygame.display.flip()
        else:
            pygame.display.update(pygame.Rect(box))

    def actions(self) -> Iterator[Action]:
        """What people did since the last call."""
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                yield ("quit", 0, 0)
            elif event.type == pygame.KEYDOWN and event.key in _KEYS:
                # A kiosk is ended by who started it, not by a passer-by.
                if event.key != pygame.K_q or not self._full_screen:
                    yield _KEYS[event.key]
            elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
                self._drag_y, self._dragged = event.pos[1], False
            elif event.type == pygame.MOUSEMOTION and self._drag_y is not None:
                yield from self._drag(event.pos[1])
            elif event.type == pygame.MOUSEBUTTONUP and event.button == 1:
                self._drag_y = None
                if not self._dragged:
                    yield ("touch", *event.pos)
            elif event.type == pygame.MOUSEWHEEL:
                yield ("frame", -event.y, 0)

    def _drag(self, y: float) -> Iterator[Action]:
        """A finger drawn up or down runs through the stack; SDL makes a mouse of a touch screen."""
        assert self._drag_y is not None
        steps = int((y - self._drag_y) / _STEP_PIXELS)
        if steps:
            self._drag_y += steps * _STEP_PIXELS
            self._dragged = True
            yield ("frame", steps, 0)

    def close(self) -> None:
        """Give the screen back."""
        pygame.display.quit()


class Canvas:
    """A window that nobody sees, to draw a picture of the screen; needs no video at all."""

    def __init__(self, size: tuple[int, int]) -> None:
        """``size`` in pixels."""
        self.surface = pygame.Surface(size)

    def save(self, path: str) -> None:
        """As PNG; OSError where it cannot be written."""
        try:
            pygame.image.save(self.surface, path, "screen.png")
        except pygame.error as error:
            raise DeviceError(f"the screenshot cannot be written: {error}") from None


def check_size(text: str) -> tuple[int, int]:
    """``800x480``; ValueError otherwise."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ValueError("WIDTHxHEIGHT in pixels, such as 800x480")
    size = (int(width), int(height))
    if not all(LEAST_SIDE <= side <= MOST_SIDE for side in size):
        raise ValueError(f"from {LEAST_SIDE} to {MOST_SIDE} pixels")
    return size
