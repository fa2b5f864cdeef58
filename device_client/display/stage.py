"""The display at work: asks for the board, fetches and decodes the frame that is due, draws what has changed."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

from device_client.display import pictures
from device_client.display.board import Frame
from device_client.display.layout import arrange
from device_client.display.link import Source
from device_client.display.paint import Painter
from device_client.display.pictures import Broken, Cache, Pixels
from device_client.display.screen import Screen
from device_client.display.settings import Settings
from device_client.display.view import View
from device_client.display.window import Window
from device_client.display.words import say

BOARD_EVERY_S = 2.0
_INPUT_S = 0.05
_KICK_S = 0.2
"""What happens in a burst is one new board."""


def local_time(now_ms: int) -> datetime:
    """What this machine's wall clock shows."""
    return datetime.fromtimestamp(now_ms / 1000)  # noqa: DTZ006  # the wall's own zone is meant


class Stage:
    """One window. ``alive`` is called as often as the loop goes round, with whether a picture is on the screen."""

    def __init__(
        self, source: Source, settings: Settings, window: Window, alive: Callable[[bool], None] = lambda _shown: None
    ) -> None:
        """Nothing is drawn yet."""
        self.screen = Screen(settings, local_time)
        self._source = source
        self._window = window
        self._alive = alive
        self._painter = Painter(window.surface, arrange(*window.surface.get_size()))
        self._cache = Cache()
        # One thread, or each would keep memory of its own for pictures.
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._clock_ms, self._clock_at = 0, time.monotonic()
        self._shown: tuple[View, Frame | None] | None = None
        self._pixels: tuple[Frame, Pixels | None] | None = None
        self._changed = asyncio.Event()
        self.stopping = asyncio.Event()

    # ── what is known ─────────────────────────────────────────────────────────────────────────────────────────────

    def now_ms(self) -> int:
        """The device's clock: the board's, carried on by a clock that nobody sets."""
        return self._clock_ms + int((time.monotonic() - self._clock_at) * 1000)

    def kick(self, _event: Any = None) -> None:
        """Something happened at the receiver."""
        self._changed.set()

    async def refresh(self) -> None:
        """A new board, and the list of pictures of what is large."""
        board = await self._source.board()
        if board.now_ms:
            self._clock_ms, self._clock_at = board.now_ms, time.monotonic()
        before = self.screen.wants_frames()
        self.screen.take_board(board)
        if self.screen.wants_frames() != before:
            self._cache.clear()
        await self._list_frames()

    async def _list_frames(self) -> None:
        wanted = self.screen.wants_frames()
        if wanted is not None:
            study, version = wanted
            self.screen.take_frames(study, version, await self._source.frames(study))

    async def _keep_informed(self) -> None:
        while True:
            self._changed.clear()
            await self.refresh()
            try:
                async with asyncio.timeout(BOARD_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(_KICK_S)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Until ``stopping`` is set or the window is closed."""
        informed = asyncio.ensure_future(self._keep_informed())
        try:
            while not self.stopping.is_set() and not informed.done():
                await self._list_frames()
                await self.draw()
                self._alive(self._pixels is not None and self._pixels[1] is not None)
                await self._pause(self.screen.next_look_ms(self.now_ms()) / 1000)
            if informed.done():
                informed.result()
        finally:
            informed.cancel()
            await asyncio.gather(informed, return_exceptions=True)

    async def _pause(self, seconds: float) -> None:
        """Until the screen may look otherwise, or somebody touched it."""
        ends = time.monotonic() + seconds
        while not self.stopping.is_set():
            acted = False
            for action in self._window.actions():
                acted = True
                self._act(action)
            left = ends - time.monotonic()
            if acted or left <= 0:
                return
            await asyncio.sleep(min(left, _INPUT_S))

    def _act(self, action: tuple[str, float, float]) -> None:
        now_ms, (name, x, y) = self.now_ms(), action
        match name:
            case "quit":
                self.stopping.set()
            case "study":
                self.screen.step_study(int(x), now_ms)
            case "frame":
                self.screen.step_frame(int(x), now_ms)
            case "pause":
                self.screen.pause(now_ms)
            case "touch":
                found = self._painter.at(x, y)
                if found == "picture":
                    self.screen.pause(now_ms)
                elif found:
                    self.screen.choose(found, now_ms)

    # ── drawing ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def draw(self) -> None:
        """Bring what is on the screen up to what it should show now."""
        view = self.screen.look(self.now_ms())
        frame = view.large.frame if view.large is not None and not view.off else None
        if self._shown is not None and self._shown == (view, frame) and (frame is None or self._is_drawn(frame)):
            return
        pixels = await self._pixels_of(frame)
        if frame is not None and pixels is None and view.large is not None:
            notice = say(self.screen.settings.language, "broken")
            view_drawn = replace(view, large=replace(view.large, frame=None, notice=notice))
        else:
            view_drawn = view
        if self._shown is not None and frame is not None and _differ_in_picture_alone(self._shown[0], view):
            self._window.show(self._painter.draw_picture(view_drawn, pixels))
        else:
            self._painter.draw(view_drawn, pixels)
            self._window.show(None)
        self._shown = (view, frame)

    def _is_drawn(self, frame: Frame) -> bool:
        return self._pixels is not None and self._pixels[0] == frame

    async def _pixels_of(self, frame: Frame | None) -> Pixels | None:
        if frame is None:
            self._pixels = None
            return None
        if self._pixels is not None and self._pixels[0] == frame:
            return self._pixels[1]
        key = (frame.object, frame.start)
        data = self._cache.get(key)
        if data is None:
            data = await self._source.picture(frame)
            if data is not None:
                self._cache.put(key, data)
        pixels: Pixels | None = None
        if data is not None:
            size = self._painter.picture_size()
            try:
                loop = asyncio.get_running_loop()
                pixels = await loop.run_in_executor(self._decoder, pictures.decode, data, *size)
            except Broken:
                pixels = None
        self._pixels = (frame, pixels)
        return pixels


def _differ_in_picture_alone(one: View, other: View) -> bool:
    if one.large is None or other.large is None or one.large.study != other.large.study:
        return False
    return replace(one, large=None) == replace(other, large=None)
