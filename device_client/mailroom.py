"""Messages in their order: verified, kept, then applied. What floods in waits at the broker, not in memory."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from device_client.disk import DiskThread
from device_client.events import Events
from device_client.inbox import Inbox, Route
from device_client.ledger import Held
from device_client.store.state import State, Store
from wire import messages
from wire.errors import EpochUnknown, SealBroken, SignatureInvalid, WireError
from wire.limits import MAX_MESSAGE_BYTES

log = logging.getLogger("mpacs.device")

MAX_WAITING_BYTES = 8 * 1024 * 1024
MAX_GROUP = 64
"""Announcements that share one write of the catalogue."""


class Hooks(Protocol):
    """Whom the mailroom tells; all are called on the event loop."""

    def ledger_changed(self, changed: list[Held]) -> None:
        """Heads or announcements were applied."""

    def needs_sync(self) -> None:
        """Something is missing that the gateway can tell."""

    def gateway_is_new(self) -> None:
        """A gateway came online: it knows nothing of what was asked."""

    async def answered(self, answer: messages.Answer) -> None:
        """An answer to this device."""


@dataclass(frozen=True, slots=True)
class _Letter:
    route: Route
    payload: bytes
    retained: bool


class Mailroom:
    """One consumer, so that nothing overtakes anything."""

    def __init__(self, state: State, inbox: Inbox, disk: DiskThread, events: Events, hooks: Hooks) -> None:
        """``store`` is set while the lease runs; without it only answers and key sets are read."""
        self.store: Store | None = None
        self._state = state
        self._inbox = inbox
        self._disk = disk
        self._events = events
        self._hooks = hooks
        self._waiting: deque[_Letter] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._busy = False
        self.reading: Callable[[bool], None] = lambda _wanted: None

    @property
    def idle(self) -> bool:
        """Whether everything that came was dealt with."""
        return not self._waiting and not self._busy

    def put(self, route: Route, payload: bytes, retained: bool) -> None:
        """A message came. An empty one says that a retained one was withdrawn; what is gone the head says."""
        if not payload:
            return
        if len(payload) > MAX_MESSAGE_BYTES:
            self._inbox.refused["too-large"] += 1
            return
        self._waiting.append(_Letter(route, payload, retained))
        self._waiting_bytes += len(payload) + 256
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.reading(False)
        self._wake.set()

    def clear(self) -> None:
        """The link is gone, and with it what was not dealt with: a sync brings it again."""
        self._waiting.clear()
        self._waiting_bytes = 0

    async def run(self) -> None:
        """Deal with what comes until cancelled."""
        while True:
            self._wake.clear()
            while self._waiting:
                self._busy = True
                try:
                    await self._deal(self._take_group())
                finally:
                    self._busy = False
                if self._waiting_bytes <= MAX_WAITING_BYTES // 2:
                    self.reading(True)
            await self._wake.wait()

    def _take_group(self) -> list[_Letter]:
        """The next message; announcements in a row come together."""
        group = [self._waiting.popleft()]
        while group[0].route.purpose == "study" and self._waiting and len(group) < MAX_GROUP:
            if self._waiting[0].route.purpose != "study":
                break
            group.append(self._waiting.popleft())
        self._waiting_bytes -= sum(len(letter.payload) + 256 for letter in group)
        return group

    async def _deal(self, group: list[_Letter]) -> None:
        letter = group[0]
        try:
            match letter.route.purpose:
                case "study":
                    await self._announcements(group)
                case "head":
                    await self.head(letter.route.recipient, letter.payload)
                case "keys":
                    await self._keys(letter.route.recipient, letter.payload)
                case "key-set":
                    await self._key_set(letter.payload)
                case "response":
                    await self._hooks.answered(self._inbox.answer(letter.payload))
                case "status":
                    self._status(letter)
                case "object":
                    pass
        except WireError as error:
            self._refuse(letter.route.recipient, error, letter.route.purpose)
            if isinstance(error, SignatureInvalid):
                # Perhaps signed with a key of a newer key set, which is retained and comes with the next sync.
                self._hooks.needs_sync()

    # ── each kind ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def head(self, recipient: str, data: bytes) -> None:
        """A head: its sequence is on the disk before anything of it is believed. WireError if it is refused."""
        store = self.store
        if store is None:
            return
        head = self._inbox.head(store, recipient, data)
        await self._disk.run(lambda: store.papers.save_head(recipient, head.sequence, data))
        shelf = store.ledger.shelves[recipient]
        shelf.take_head(head, self._state.clock.now_ms())
        self._hooks.ledger_changed([])
        if shelf.behind():
            self._hooks.needs_sync()

    async def any_head(self, data: bytes) -> None:
        """A head of which only the signature says whose it is."""
        recipients = list(self.store.ledger.shelves) if self.store is not None else []
        for recipient in recipients:
            try:
                await self.head(recipient, data)
            except SignatureInvalid:
                continue
            except WireError as error:
                self._refuse(recipient, error, "head")
            return

    def _refuse(self, recipient: str, error: WireError, purpose: str) -> None:
        shelf = self.store.ledger.shelves.get(recipient) if self.store is not None else None
        if shelf is not None and shelf.revoked and isinstance(error, SealBroken):
            return  # sealed under an epoch that is not for this device any more, which was said already
        if isinstance(error, EpochUnknown):
            # Of a new epoch the head may come before the keys: with its key it comes again, or never to this device.
            log.info("%s of an epoch whose key has not come", purpose)
            return
        self._inbox.refuse(error, purpose)

    async def _announcements(self, group: list[_Letter]) -> None:
        store = self.store
        if store is None:
            return
        accepted: dict[tuple[str, str], tuple[Held, bytes]] = {}
        for letter in group:
            recipient, study = letter.route.recipient, letter.route.reference
            try:
                held = self._inbox.announcement(store, recipient, study, letter.payload)
            except WireError as error:
                self._refuse(recipient, error, "announcement")
                continue
            earlier = accepted.get((recipient, study))
            if earlier is None or earlier[0].announcement.sequence < held.announcement.sequence:
                accepted[recipient, study] = (held, letter.payload)
        if not accepted:
            return
        kept = list(accepted.values())
        await self._disk.run(lambda: store.save_announcements(kept))
        for held, _ in kept:
            store.ledger.shelves[held.recipient].take_announcement(held)
            self._events.tell("announced", study=held.study, settled=held.announcement.settled)
        self._hooks.ledger_changed([held for held, _ in kept])

    async def _keys(self, recipient: str, data: bytes) -> None:
        store = self.store
        if store is None:
            return
        news = self._inbox.epoch(store, recipient, data)
        if news is None:
            return
        epoch, key = news
        await self._disk.run(lambda: store.add_epoch(recipient, epoch, key))
        store.ledger.shelves[recipient].revoked = key is None
        if key is None:
            self._events.tell("revoked", recipient=recipient)
            # Why, the answer says: perhaps the device is to erase itself.
            self._hooks.needs_sync()
        else:
            # What came before its key could not be opened, and comes again.
            self._hooks.needs_sync()
        self._hooks.ledger_changed([])

    async def _key_set(self, data: bytes) -> None:
        key_set = await self._disk.run(lambda: self._state.take_key_set(data))
        store = self.store
        if key_set is not None:
            self._state.clock.saw(key_set.issued)
        if key_set is not None and store is not None:
            await self._disk.run(lambda: store.remember_signers(key_set))
        if key_set is not None:
            # What was asked may have been sealed to a key that no gateway holds any more.
            self._hooks.gateway_is_new()

    def _status(self, letter: _Letter) -> None:
        online = letter.payload == messages.ONLINE
        if not online and letter.payload != messages.OFFLINE:
            return
        self._events.tell("gateway", gateway=letter.route.reference, online=online)
        # A retained status tells how it was before this connection, which has asked everything anyway.
        if online and not letter.retained:
            self._hooks.gateway_is_new()
