"""Requests to the store, from the process that owns it: through the local socket, or by opening it for a moment."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device_client import asking, attributes, board, control
from device_client.agent import Agent, Options
from device_client.control import Message, Send
from device_client.desk import Desk, perform, view
from device_client.errors import Busy, DeviceError, LeaseEnded, NotRunning
from device_client.events import Event, Events, EventStream
from device_client.orders import REFUSALS
from device_client.store.state import State, Store

WAIT_S = 5.0
"""How long a command waits for another one that has the folder for a moment."""
ORDER_S = 15.0
"""How long it waits for the gateway's word on an order; it stays queued then."""
_PROGRESS_EVERY_S = 0.5
_SEND_S = 10.0


class _Gateways:
    """Which gateways say that they are there, over the connection that stands."""

    def __init__(self, events: Events) -> None:
        self._said: dict[str, bool] = {}
        events.listen(self._take)

    def _take(self, event: Event) -> None:
        if event["event"] == "gateway":
            self._said[event["gateway"]] = event["online"]
        elif event["event"] in ("connected", "disconnected"):
            self._said.clear()

    @property
    def is_online(self) -> bool:
        """Any of them, or none has said anything yet."""
        return any(self._said.values()) or not self._said


class Service:
    """Answers in the running process."""

    def __init__(self, agent: Agent) -> None:
        """``agent`` owns link and store."""
        self._agent = agent
        self._gateways = _Gateways(agent.events)

    async def handle(self, request: Message, send: Send) -> Any:
        """See control.Handle."""
        if request.get("op") == "watch":
            await self._watch(send)
        household = self._agent.household
        if request.get("op") == "board":
            return await self._board(household.store if household is not None else None)
        if household is None:
            raise LeaseEnded
        if request.get("op") == "ask":
            return await asking.answer(self._agent, request, send)
        store = household.store
        if request.get("op") in board.OPS:
            return await asyncio.to_thread(board.answer, store, board.entries(store), request)
        loop = asyncio.get_running_loop()
        desk = Desk(store, view(store))

        def progress(done: int, total: int) -> None:
            # With a limit: a command that has gone, or this process ending, must not hold the thread for ever.
            asyncio.run_coroutine_threadsafe(send({"progress": [done, total]}), loop).result(_SEND_S)

        stream = EventStream(self._agent.events)
        try:
            result = await asyncio.to_thread(perform, desk, request, progress)
            if request.get("op") == "wish":
                result = await self._order(store, result, stream)
            return result
        finally:
            stream.close()
            await self._follow_up(store, desk)

    async def _board(self, store: Store | None) -> Message:
        """All that a wall shows, and how sure it is; without a lease that there is none."""
        link = {"connected": self._agent.connected, "gateway": self._gateways.is_online}
        if store is None:
            return {"store": "lease-ended", "now": self._agent.state.clock.now_ms(), **link}
        found = board.entries(store)
        standing = board.standing(store)
        studies, trouble = await asyncio.to_thread(board.describe_all, store, found)
        now_ms = store.state.clock.now_ms()
        told = {"recipients": standing, "studies": studies, "storage": trouble}
        return {"store": "open", "now": now_ms, **link, **told}

    async def _order(self, store: Store, result: Message, stream: EventStream) -> Message:
        """Send an order that was wished, and say what the gateway answers to it if it does in time."""
        await self._agent.disk.run(store.catalogue.flush)
        self._agent.wishes_changed()
        try:
            async with asyncio.timeout(ORDER_S):
                while True:
                    event = await stream.next()
                    if event.get("study") in result["references"] and event.get("layer") == result["layer"]:
                        if event["event"] == "ordered":
                            return {**result, "state": "ordered"}
                        if event.get("reason") == "busy":
                            return result  # the gateway fetches what it lacks: it is asked again by itself
                        if event["event"] == "order-refused":
                            raise DeviceError(REFUSALS[event["reason"]])
        except TimeoutError:
            return result

    async def _follow_up(self, store: Store, desk: Desk) -> None:
        agent = self._agent
        if desk.receipts:
            store.catalogue.put_receipts(desk.receipts)
            await agent.disk.run(store.catalogue.flush)
            agent.something_is_due()
        for object_id in desk.damaged:
            if agent.household is not None:
                agent.household.fetcher.again(object_id)

    async def _watch(self, send: Send) -> None:
        stream = EventStream(self._agent.events)
        last: dict[str, float] = {}
        try:
            # The first line says that from here on nothing is missed.
            await send({"event": {"event": "watching", "connected": self._agent.connected}})
            while True:
                event = await stream.next()
                if event["event"] == "progress":
                    now = time.monotonic()
                    if now - last.get(event["object"], 0.0) < _PROGRESS_EVERY_S:
                        continue
                    last = {event["object"]: now}
                await send({"event": self._named(event)})
        finally:
            stream.close()

    def _named(self, event: Event) -> Event:
        """For people and scripts at this machine: the study by its own UID as well."""
        household = self._agent.household
        if household is not None and "study" in event:
            for held in household.store.ledger.studies():
                if held.study == event["study"]:
                    return {**event, "StudyInstanceUID": attributes.text(held.attributes[0], "StudyInstanceUID")}
        return event


def request(folder: Path, message: Message, told: Callable[[Message], None]) -> Any:
    """The result of a request, whoever owns the folder now; DeviceError with what to do otherwise."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return control.ask(folder, message, told)
        except (FileNotFoundError, ConnectionError):
            pass
        try:
            state = State(folder)
        except Busy:
            # A process that starts or ends has the folder, and no socket yet or any more.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        if message.get("op") == "watch":
            state.close()
            raise NotRunning
        if message.get("op") == "ask":
            return asyncio.run(_briefly(state, message, told))
        return _without_process(state, message, told)


async def _briefly(state: State, message: Message, told: Callable[[Message], None]) -> Any:
    """Connect for one question. DeviceError where the gateway cannot be reached."""

    async def send(message: Message) -> None:
        told(message)

    agent = Agent(state, Options(layers=()), Events())
    running = asyncio.create_task(agent.run())
    asked = asyncio.create_task(asking.answer(agent, message, send))
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            await running
            raise LeaseEnded
        return asked.result()
    finally:
        asked.cancel()
        agent.stopping.set()
        await asyncio.gather(running, asked, return_exceptions=True)
        state.close()


def _without_process(state: State, message: Message, told: Callable[[Message], None]) -> Any:
    try:
        store = state.unlock()
        if message.get("op") in ("board", *board.OPS):
            return board.answer(store, board.entries(store), message)
        desk = Desk(store, view(store))
        result = perform(desk, message, lambda done, total: told({"progress": [done, total]}))
        if desk.receipts:
            store.catalogue.put_receipts(desk.receipts)
        # An order that was wished is sent by the next process that has a link.
        store.catalogue.flush()
        return result
    finally:
        state.close()
