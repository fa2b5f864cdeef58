"""An open store and what follows from its changes: what is fetched, owed and deleted. Lives as long as the lease."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from device_client.disk import DiskThread
from device_client.events import Events
from device_client.fetch import Fetcher
from device_client.ledger import Held
from device_client.orders import Orders
from device_client.receipts import Receipts
from device_client.store.room import affordable
from device_client.store.state import Store
from wire.names import encode_reference


class Household:
    """Everything that must stop when the lease ends."""

    def __init__(
        self, store: Store, layers: tuple[str, ...], disk: DiskThread, events: Events, on_due: Callable[[], None]
    ) -> None:
        """``on_due`` is called when there is a receipt or an order to send."""
        self.store = store
        self.fetcher = Fetcher(store, disk, events, self._look_at)
        self._layers = layers
        self._disk = disk
        self._events = events
        self._on_due = on_due
        self.orders = Orders(store, layers)
        self._receipts = Receipts(store, self.orders.wants)
        self._without_room = 0
        self._chores: set[asyncio.Task[None]] = set()
        for _, entry in store.ledger.wanted(layers, self.orders.wants):
            object_id = encode_reference(entry.object)
            progress = store.blobs.progress(object_id, entry.size)
            if progress.received == progress.segments:
                self.fetcher.complete.add(object_id)
        # What a kill left undone between an object's end and its receipt is made up for here.
        self.changed(list(store.ledger.studies()))

    @property
    def busy(self) -> bool:
        """Whether anything is fetched, written, looked at or ordered."""
        return bool(self._chores) or not self.fetcher.idle or self.orders.open

    async def close(self) -> None:
        """Finish what was begun; everything is durable afterwards."""
        while self._chores:
            await asyncio.wait(self._chores)
        await self.fetcher.close()
        await self._disk.run(self.store.catalogue.flush)

    # ── what follows ──────────────────────────────────────────────────────────────────────────────────────────────

    def changed(self, studies: list[Held]) -> None:
        """A head was applied, or announcements of ``studies``."""
        self.orders.look()
        if self.orders.follow(studies, self.store.state.clock.now_ms()):
            self._on_due()
        shelves = self.store.ledger.shelves
        wanted = self.store.ledger.wanted(self._layers, self.orders.wants)
        listed = [(held, entry) for held, entry in wanted if held.study not in shelves[held.recipient].unlisted]
        try:
            fits, given_up = affordable(listed, self.store.budget_bytes())
            evicted = self.store.blobs.held() & {encode_reference(entry.object) for _, entry in given_up}
        except OSError:
            fits, evicted = [], set()  # the card has gone: what is on it will be found again when it comes back
            given_up = []
        self.fetcher.want(fits)
        if len(given_up) != self._without_room:
            self._without_room = len(given_up)
            self._events.tell("no-room", objects=len(given_up))
        if evicted:
            self._chore(self._evict(evicted))
        if studies:
            self._chore(self._tidy(studies))

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _evict(self, object_ids: set[str]) -> None:
        """What is newer needs the room."""
        await self._disk.run(lambda: self.store.blobs.remove(sorted(object_ids)))
        for object_id in sorted(object_ids):
            self._events.tell("evicted", object=object_id)

    async def _tidy(self, studies: list[Held]) -> None:
        for held in studies:
            self._look_at(held)
        await self.sweep()

    def _look_at(self, held: Held) -> None:
        """Whether a study has become complete, and what receipts that owes."""
        latest = self.store.ledger.shelves[held.recipient].studies.get(held.study)
        if latest is None:
            return
        news = self._receipts.due(latest, self.fetcher.complete, self.store.state.clock.now_ms())
        if news.receipts or news.completed:
            self._receipts.keep(news)
        if news.completed:
            self._events.tell("complete", study=held.study)
        if news.receipts:
            self._on_due()

    async def sweep(self) -> None:
        """Delete what heads no longer name, and objects that are no longer announced."""
        store = self.store
        now_ms = store.state.clock.now_ms()
        gone = [(shelf.recipient, study) for shelf in store.ledger.shelves.values() for study in shelf.gone(now_ms)]
        for recipient, study in gone:
            store.ledger.shelves[recipient].drop(study)
            self._events.tell("gone", study=study)
        if gone:
            await self._disk.run(lambda: store.remove_studies(gone))
            self.changed([])
        announced = store.ledger.object_ids()
        await self._disk.run(lambda: store.remove_unannounced(announced))
