"""Starts the display: beside the process that owns the store where there is one, else as that process itself."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device_client import control, service
from device_client.agent import Agent, Options
from device_client.control import ControlServer
from device_client.display.link import Source, by_thread
from device_client.display.settings import Settings
from device_client.display.stage import Stage
from device_client.display.window import Canvas, Window
from device_client.errors import Busy
from device_client.events import Events
from device_client.lines import Lines
from device_client.store.state import State

LAYERS = ("thumbnail", "display")
"""What a wall shows. Reports are for nobody in a corridor."""
_ASK_S = 10.0


def screenshot(folder: Path, settings: Settings, size: tuple[int, int], to: Path) -> None:
    """Draw what the screen shows now, once. DeviceError where there is no store."""
    canvas = Canvas(size)

    def ask(request: dict[str, Any]) -> Any:
        return service.request(folder, request, lambda _message: None)

    # Once directly: an error is for whoever asked, not for the screen.
    ask({"op": "board"})
    asyncio.run(_draw_once(Stage(Source(by_thread(ask, 60.0)), settings, _AsWindow(canvas))))
    canvas.save(str(to))


class _AsWindow(Window):
    """Draws on a canvas; nobody touches it."""

    def __init__(self, canvas: Canvas) -> None:
        self.surface = canvas.surface

    def show(self, box: Any) -> None:
        """There is nobody to see it."""

    def close(self) -> None:
        """There is nothing to give back."""


async def _draw_once(stage: Stage) -> None:
    await stage.refresh()
    await stage.draw()


async def run(folder: Path, settings: Settings, window: Window, alive: Callable[[], None]) -> None:
    """Until ended."""
    try:
        state = State(folder)
    except Busy:
        await _beside(folder, settings, window, alive)
        return
    try:
        await _alone(state, settings, window, alive)
    finally:
        state.close()


async def _beside(folder: Path, settings: Settings, window: Window, alive: Callable[[], None]) -> None:
    """Another process receives: all is asked of it, and what it does not answer is said on the screen."""

    def ask(request: dict[str, Any]) -> Any:
        return control.ask(folder, request, lambda _message: None, _ASK_S)

    stage = Stage(Source(by_thread(ask)), settings, window, alive)
    _end_on_signals(stage.stopping)
    await stage.run()


async def _alone(state: State, settings: Settings, window: Window, alive: Callable[[], None]) -> None:
    events = Events()
    events.listen(Lines(problems_only=False).take)
    agent = Agent(state, Options(LAYERS), events)
    answers = service.Service(agent)

    async def ask(request: dict[str, Any]) -> Any:
        return await answers.handle(request, _nothing)

    stage = Stage(Source(ask), settings, window, alive)
    events.listen(lambda event: stage.kick() if event["event"] != "progress" else None)
    _end_on_signals(stage.stopping)
    server = ControlServer(state.folder, answers.handle)
    await server.start()
    receiving = asyncio.ensure_future(agent.run())
    receiving.add_done_callback(lambda _: stage.stopping.set())
    try:
        await stage.run()
    finally:
        agent.stopping.set()
        await asyncio.gather(receiving, return_exceptions=True)
        await server.close()
    receiving.result()


async def _nothing(_message: dict[str, Any]) -> None:
    return None


def _end_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
