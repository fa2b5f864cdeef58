"""Starts the display: beside the process that owns the store where there is one, else as that process itself."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_client import control, service
from device_client.agent import Agent, Options
from device_client.companions import beside
from device_client.control import ControlServer
from device_client.display.link import Ask, Source, by_thread
from device_client.display.settings import Settings
from device_client.display.stage import Stage
from device_client.display.window import Canvas, Window
from device_client.display.words import say
from device_client.errors import Busy, DeviceWiped, NotEnrolled
from device_client.events import Events
from device_client.lines import Lines
from device_client.stick import enrol_from
from device_client.store.state import State

LAYERS = ("thumbnail", "display")
"""What a wall shows. Reports are for nobody in a corridor."""
_ASK_S = 10.0
_AGAIN_S = 10.0

log = logging.getLogger("mpacs.device")


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


@dataclass(frozen=True)
class Display:
    """What a display is started with. ``link_file`` is where an enrolment link may appear, None: nowhere."""

    folder: Path
    settings: Settings
    window: Window
    options: Options
    alive: Callable[[bool], None]
    link_file: Path | None = None
    prepare: Callable[[State], None] = lambda _state: None
    """Called with the state folder once it is owned, before its store is opened."""
    ended: list[bool] = field(default_factory=list)
    """Not empty once the process was asked to end; stages come and go meanwhile."""

    def stage(self, source: Source) -> Stage:
        """On its window; ends with the process's signals."""
        stage = Stage(source, self.settings, self.window, self.alive)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, stage)
        return stage

    def _end(self, stage: Stage) -> None:
        self.ended.append(True)
        stage.stopping.set()


async def run(display: Display) -> None:
    """Until ended. NotEnrolled or DeviceWiped where there is no link to wait for."""
    while not display.ended:
        try:
            state = State(display.folder)
        except Busy:
            await _beside(display)
            return
        except (NotEnrolled, DeviceWiped):
            if display.link_file is None:
                raise
            await _enrolling(display, display.link_file)
            continue
        except OSError as error:
            await _without_storage(display, error)
            continue
        try:
            await _alone(state, display)
        except DeviceWiped:
            if display.link_file is None:
                raise
        except OSError as error:
            await _without_storage(display, error)
        finally:
            state.close()


async def _enrolling(display: Display, link_file: Path) -> None:
    """The screen says that it waits for a link, and why one was refused."""
    said = [say(display.settings.language, "stick")]

    def tell(text: str) -> None:
        said[0] = text
        log.warning("%s", text)

    stage = display.stage(Source(_saying("not-enrolled", said)))
    enrolling = asyncio.ensure_future(enrol_from(display.folder, link_file, tell))
    enrolling.add_done_callback(lambda _: stage.stopping.set())
    try:
        await stage.run()
    finally:
        enrolling.cancel()
        await asyncio.gather(enrolling, return_exceptions=True)


async def _without_storage(display: Display, error: OSError) -> None:
    """The card has gone or is broken: the screen says so for a while, then it is looked for again."""
    log.warning("the state folder cannot be used: %s", error.strerror)
    stage = display.stage(Source(_saying("card-gone", [error.strerror or type(error).__name__])))
    timer = asyncio.get_running_loop().call_later(_AGAIN_S, stage.stopping.set)
    await stage.run()
    timer.cancel()


def _saying(store: str, reason: list[str]) -> Ask:
    async def ask(_request: dict[str, Any]) -> Any:
        now_ms = int(time.time() * 1000)
        return {"store": store, "now": now_ms, "connected": False, "gateway": True, "reason": reason[0]}

    return ask


async def _beside(display: Display) -> None:
    """Another process receives: all is asked of it, and what it does not answer is said on the screen."""

    def ask(request: dict[str, Any]) -> Any:
        return control.ask(display.folder, request, lambda _message: None, _ASK_S)

    await display.stage(Source(by_thread(ask))).run()


async def _alone(state: State, display: Display) -> None:
    display.prepare(state)
    events = Events()
    events.listen(Lines(problems_only=False).take)
    agent = Agent(state, display.options, events)
    answers = service.Service(agent)

    async def ask(request: dict[str, Any]) -> Any:
        return await answers.handle(request, _nothing)

    stage = display.stage(Source(ask))
    events.listen(lambda event: stage.kick() if event["event"] != "progress" else None)
    server = ControlServer(state.folder, answers.handle)
    await server.start()
    receiving = asyncio.ensure_future(agent.run())
    receiving.add_done_callback(lambda _: stage.stopping.set())
    try:
        async with beside(agent, None):
            await stage.run()
    finally:
        agent.stopping.set()
        await asyncio.gather(receiving, return_exceptions=True)
        await server.close()
    receiving.result()


async def _nothing(_message: dict[str, Any]) -> None:
    return None
