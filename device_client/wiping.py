"""Being wiped, over connections and restarts: erase, say so, then erase what it was said with."""

import asyncio
import time

from device_client.disk import DiskThread
from device_client.errors import DeviceWiped
from device_client.session import Session
from device_client.store import wipe
from device_client.store.state import State
from wire.messages import Wiped

SAY_S = 10.0
"""How long the gateway's word on ``wiped`` is awaited, and a connection to say it over."""


class Wiping:
    """One for a process; does nothing until the gateway orders it."""

    def __init__(self, state: State, disk: DiskThread) -> None:
        """A note from before a restart holds."""
        self._state = state
        self._disk = disk
        self._taken = asyncio.Event()
        self._since = time.monotonic()
        self.is_ordered = state.is_being_wiped

    async def note(self) -> None:
        """The gateway ordered it."""
        await self._disk.run(lambda: wipe.note(self._state.folder))
        self.is_ordered, self._since = True, time.monotonic()

    async def erase_received(self) -> None:
        """What came from the gateway goes; the store is closed."""
        await self._disk.run(lambda: wipe.erase_received(self._state.folder))

    async def say(self, session: Session) -> None:
        """Tell the gateway; always DeviceWiped, whether it answered or not."""
        await session.request(Wiped())
        try:
            async with asyncio.timeout(SAY_S):
                await self._taken.wait()
        except TimeoutError:
            pass
        raise DeviceWiped

    def taken(self) -> None:
        """The gateway has heard it."""
        self._taken.set()

    @property
    def is_late(self) -> bool:
        """Whether no connection came to say it over: keys are not kept for that."""
        return self.is_ordered and time.monotonic() - self._since > SAY_S

    async def erase_all(self) -> None:
        """Keys and identity go too."""
        await self._disk.run(lambda: wipe.erase_all(self._state.folder))
