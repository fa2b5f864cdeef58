"""Publishes the segments that devices ask for: the sans-IO sender, driven by the loop's clock."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection

from gateway.delivery.link import Link, LinkDown
from gateway.management.object_store import ObjectMissing, ObjectStore
from wire.sender import Piece, Sender

_log = logging.getLogger(__name__)
_IDLE_S = 30.0


class Pump:
    """One for the gateway. ``sizes`` maps the objects being served to their plaintext sizes."""

    def __init__(self, link: Link, store: ObjectStore, on_lost: Callable[[str], None]) -> None:
        """Nothing is sent before ``step``. ``on_lost`` is called with an object whose file is not there."""
        self._link = link
        self._store = store
        self._on_lost = on_lost
        self._sender = Sender()
        self._sizes: dict[str, int] = {}
        self._askers: dict[str, str] = {}
        self._asked = asyncio.Event()
        self.published = 0

    def ask(
        self,
        device: str,
        connection: bytes,
        root: str,
        object_id: str,
        size: int,
        pages: list[int],
        segments: list[int],
        again: bool,
        expected: Collection[str],
        came: float,
    ) -> bool:
        """A device wants these parts over this ``connection`` (its boot id); False if too much waits for it already.

        ``came`` is when the request did, by the loop's clock.
        """
        asker = f"{device}/{connection.hex()}"
        if self._askers.get(device) != asker:
            self.forget_device(device)
            self._askers[device] = asker
        self._sizes[object_id] = size
        now = asyncio.get_running_loop().time()
        taken = self._sender.ask(now, asker, root, object_id, pages, segments, again, expected, came)
        self._asked.set()
        return taken

    def forget_device(self, device: str) -> None:
        """The device is gone, or comes with a new connection."""
        asker = self._askers.pop(device, None)
        if asker is not None:
            self._sender.forget_asker(asker)

    def reset(self) -> None:
        """The link was cut: devices ask anew."""
        self._sender.reset()
        self._sizes.clear()
        self._askers.clear()

    async def step(self) -> None:
        """Publish what is due, or wait for it; OSError where an object cannot be read."""
        loop = asyncio.get_running_loop()
        self._asked.clear()
        piece = self._sender.next(loop.time())
        if piece is not None:
            await self._publish(piece)
            return
        wake = self._sender.wake_at(loop.time())
        timeout_s = _IDLE_S if wake is None else max(wake - loop.time(), 0.001)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), timeout_s)

    async def _publish(self, piece: Piece) -> None:
        size = self._sizes.get(piece.object_id)
        if size is None:
            return
        try:
            if piece.part == "page":
                topic = f"{piece.root}/object/{piece.object_id}/m{piece.index}"
                payload = await asyncio.to_thread(self._store.page, piece.object_id, piece.index)
            else:
                topic = f"{piece.root}/object/{piece.object_id}/{piece.index}"
                payload = await asyncio.to_thread(self._store.segment, piece.object_id, piece.index, size)
            await self._link.stream(topic, payload)
            self.published += 1
        except ObjectMissing:
            # Whoever lacks it asks again, and hears that it is gone.
            if self._sizes.pop(piece.object_id, None) is not None:
                _log.warning("object %s is gone", piece.object_id)
                self._on_lost(piece.object_id)
        except LinkDown:
            await self._link.connected.wait()
