"""Where the display gets the board and pictures from: the process that owns the store, this or another. No pygame."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import Any

from device_client.display.board import Board, Frame, read_board, read_frames
from device_client.errors import DeviceError

Ask = Callable[[dict[str, Any]], Awaitable[Any]]
"""A request and its result; DeviceError or OSError if there is none."""


class Source:
    """Asks for what the screen needs, and turns it into its own terms."""

    def __init__(self, ask: Ask, zone: tzinfo | None = None) -> None:
        """``zone`` as of read_board."""
        self._ask = ask
        self._zone = zone

    async def board(self) -> Board:
        """What is known now; of a receiver that does not answer that it does not."""
        try:
            return read_board(await self._ask({"op": "board"}), self._zone)
        except (DeviceError, OSError, TimeoutError):
            return Board()

    async def frames(self, study: str) -> tuple[Frame, ...]:
        """The pictures of a study that are here; none if it has gone meanwhile."""
        try:
            return read_frames(await self._ask({"op": "frames", "study": study}))
        except (DeviceError, OSError, TimeoutError):
            return ()

    async def picture(self, frame: Frame) -> bytes | None:
        """One encoded picture; None where it does not open or has gone."""
        request = {"op": "frame", "object": frame.object, "start": frame.start, "end": frame.end}
        try:
            return base64.b64decode(await self._ask(request))
        except (DeviceError, OSError, TimeoutError):
            return None


def by_thread(call: Callable[[dict[str, Any]], Any], timeout_s: float = 10.0) -> Ask:
    """An Ask from a function that blocks."""

    async def ask(request: dict[str, Any]) -> Any:
        return await asyncio.wait_for(asyncio.to_thread(call, request), timeout_s)

    return ask
