"""One connection's side of the talk with the gateway: requests that are unique, and answers that name them."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable

from device_client.errors import LinkFailed
from device_client.link import Link
from device_client.store.state import State
from wire import envelope, messages, topics
from wire.asks import Asked, Progress
from wire.messages import Answer, AnswerBody, Order, Receipt, Request, Sync, Want, Wipe, Wiped
from wire.names import Kind, encode_reference

ASK_AGAIN_S = 10.0
_MAX_OPEN = 1024

Body = Sync | Want | Receipt | Order | Wiped | Asked


class Session:
    """A random boot id and a counter make each request unique; both are new with each connection."""

    def __init__(self, state: State, link: Link) -> None:
        """``link`` is open."""
        self.link = link
        self._state = state
        self._boot = os.urandom(16)
        self._counter = 0
        self._open: OrderedDict[int, Body] = OrderedDict()
        self._asked: dict[int, asyncio.Queue[AnswerBody | None]] = {}

    async def request(self, body: Body) -> None:
        """Send a request and wait until the broker has it."""
        await self.post(body)

    def post(self, body: Body) -> Awaitable[None]:
        """Send a request; waiting for the broker's PUBACK is up to the caller. LinkFailed without a connection."""
        self._counter += 1
        counter = self._counter
        self._open[counter] = body
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)
        identity = self._state.identity
        request = Request(boot=self._boot, counter=counter, issued=self._state.clock.now_ms(), body=body)
        payload = envelope.pack_request(
            self._state.keys.sign, self._state.key_set.exchange, identity.site, identity.device, request
        )
        return self.link.post(topics.device_request(identity.site, identity.device), payload)

    async def ask_until(self, come: asyncio.Event) -> None:
        """Ask for what is current, and again, until the answer has come."""
        while not come.is_set():
            await self.request(Sync(known=[]))
            try:
                async with asyncio.timeout(ASK_AGAIN_S):
                    await come.wait()
            except TimeoutError:
                continue

    async def ask(self, body: Asked) -> AsyncIterator[AnswerBody]:
        """Send a request, and give its answers as they come; the last is not Progress. LinkFailed if the link ends."""
        answers: asyncio.Queue[AnswerBody | None] = asyncio.Queue()
        sent = self.post(body)
        counter = self._counter
        self._asked[counter] = answers
        try:
            await sent
            while (answer := await answers.get()) is not None:
                yield answer
                if not isinstance(answer, Progress):
                    return
            raise LinkFailed("the connection to the broker ended")
        finally:
            del self._asked[counter]

    def end(self) -> None:
        """The connection is gone, or the gateway is new: what was asked is not answered any more."""
        for answers in self._asked.values():
            answers.put_nowait(None)

    def match(self, answer: Answer) -> Body | None:
        """The request that ``answer`` answers; None if it is not of this connection, or was answered before.

        Answers to ``ask`` go there; but Wipe, which is an answer to anything.
        """
        if answer.boot != self._boot:
            return None
        if answer.counter in self._asked and not isinstance(answer.body, Wipe):
            self._asked[answer.counter].put_nowait(answer.body)
            return None
        return self._open.pop(answer.counter, None)

    async def presence(self, payload: bytes) -> None:
        """Publish this device's status, retained."""
        identity = self._state.identity
        await self.link.publish(topics.device_status(identity.site, identity.device), payload, retain=True)

    async def watch(self) -> None:
        """Until the connection ends, which is always a LinkFailed."""
        reason = await self.link.closed()
        raise LinkFailed(f"the connection to the broker ended ({reason})")

    async def say_goodbye(self) -> None:
        """End it as a device that goes, or at once where that takes too long."""
        try:
            async with asyncio.timeout(2):
                await self.presence(messages.OFFLINE)
                await self.link.close()
        except (TimeoutError, LinkFailed):
            self.link.abort("closing")


def object_filter(site: str, kind: Kind, recipient: str, object_id: bytes) -> str:
    """The filter of everything that appears of one object."""
    return f"{topics.object_root(site, kind, recipient, encode_reference(object_id))}/+"
