"""What has to be done from time to time: sync, receipts, orders, deletions, the lease."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from device_client.disk import DiskThread
from device_client.errors import LeaseEnded
from device_client.orders import Orders, order_of
from device_client.session import Session
from device_client.store.catalogue import OrderKey, ReceiptKey, ReceiptRecord, order_key
from device_client.store.state import State, Store
from wire.limits import MAX_STUDIES
from wire.messages import Known, Order, Receipt, Sync, Synced
from wire.names import decode_reference, encode_reference

TICK_S = 1.0
ANSWER_S = 10.0
LEAST_PAUSE_S = 2.0
MOST_PAUSE_S = 60.0
SYNC_EVERY_S = 3600.0
RECEIPTS_AT_ONCE = 16
ORDERS_AT_ONCE = 4
FLUSH_EVERY_S = 1.0
"""Changes of state in a burst share one write of the catalogue."""

log = logging.getLogger("mpacs.device")


@dataclass
class _Sync:
    """When to ask what is current: at once when wanted, but ever more rarely while it does not help."""

    wanted: bool = True
    asked_at: float | None = None
    answered_at: float = float("-inf")
    not_before: float = float("-inf")
    pause_s: float = LEAST_PAUSE_S

    def is_due(self, now: float, every_s: float) -> bool:
        if self.asked_at is not None:
            return now - self.asked_at > max(ANSWER_S, self.pause_s)
        return now >= self.not_before and (self.wanted or now - self.answered_at > every_s)

    def asked(self, now: float) -> None:
        self.wanted, self.asked_at, self.not_before = False, now, now + self.pause_s
        self.pause_s = min(self.pause_s * 2, MOST_PAUSE_S)

    def answered(self, now: float) -> None:
        self.asked_at, self.answered_at = None, now


class Keeper:
    """One for each connection with an open store."""

    def __init__(
        self,
        state: State,
        store: Store,
        disk: DiskThread,
        session: Session,
        orders: Orders,
        sweep: Callable[[], Awaitable[None]],
    ) -> None:
        """Everything is due: a new connection asks anew. ``sweep`` deletes what is gone."""
        self.synced = False
        self._state = state
        self._store = store
        self._disk = disk
        self._session = session
        self._orders = orders
        orders.renew()
        self._sweep = sweep
        self._sync = _Sync()
        self._sent: dict[ReceiptKey, float] = {}
        self._ordered: dict[OrderKey, float] = {}
        self._flushed_at = float("-inf")
        self._wake = asyncio.Event()

    # ── what others say ───────────────────────────────────────────────────────────────────────────────────────────

    def needs_sync(self) -> None:
        """Ask what is current, soon."""
        self._sync.wanted = True
        self._wake.set()

    def start_over(self) -> None:
        """The gateway is new: what it was asked is forgotten."""
        self._sync = _Sync()
        self._sent.clear()
        self._ordered.clear()
        self._wake.set()

    def progressed(self) -> None:
        """Something new came: asking helps, so it need not become rarer."""
        self._sync.pause_s = LEAST_PAUSE_S

    def wake(self) -> None:
        """There is a receipt or an order to send."""
        self._wake.set()

    async def take_synced(self, synced: Synced) -> None:
        """The gateway has published what is current; the lease is renewed. Heads are dealt with by the mailroom."""
        self._sync.answered(time.monotonic())
        self.synced = True
        store = self._store
        if synced.lease != store.lease:
            await self._disk.run(lambda: store.take_lease(synced.lease))

    def take_done(self, receipt: Receipt) -> None:
        """A receipt was taken."""
        key = (encode_reference(receipt.recipient), encode_reference(receipt.study), receipt.layer, receipt.event)
        record = self._store.catalogue.receipts.get(key)
        # A study may have been opened again since: that is a receipt of its own.
        if record is not None and record.at == receipt.at:
            self._store.catalogue.put_receipts([msgspec.structs.replace(record, state="done")])
        self._sent.pop(key, None)
        self._wake.set()

    def take_order(self, order: Order, reason: str = "") -> None:
        """An order was taken, or refused for ``reason``. A gateway that is busy is asked again after a while."""
        key = (encode_reference(order.recipient), encode_reference(order.study), order.layer)
        record = self._store.catalogue.orders.get(key)
        if record is not None and record.state == "queued" and reason != "busy":
            state: Literal["refused", "taken"] = "refused" if reason else "taken"
            self._store.catalogue.put_orders([msgspec.structs.replace(record, state=state, reason=reason)])
            self._ordered.pop(key, None)

    @property
    def owes(self) -> bool:
        """Whether there are receipts that the gateway has not taken."""
        receipts = self._store.catalogue.receipts
        return any(record.state == "queued" for record in list(receipts.values()))

    # ── the round ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Until cancelled, or LeaseEnded."""
        while True:
            self._wake.clear()
            await self._round(time.monotonic())
            try:
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self, now: float) -> None:
        now_ms = self._state.clock.now_ms()
        if self._store.lease.expires <= now_ms:
            raise LeaseEnded
        if self._state.clock.due():
            await self._disk.run(self._state.clock.keep)
        if self._store.catalogue.dirty and now - self._flushed_at > FLUSH_EVERY_S:
            self._flushed_at = now
            await self._disk.run(self._store.catalogue.flush)
        shelves = self._store.ledger.shelves.values()
        if any(not shelf.revoked and (shelf.is_overdue(now_ms) or shelf.behind()) for shelf in shelves):
            self._sync.wanted = True
        if any(shelf.gone(now_ms) for shelf in shelves):
            await self._sweep()
        left_s = (self._store.lease.expires - now_ms) / 1000
        if self._sync.is_due(now, min(SYNC_EVERY_S, left_s / 3)):
            self._sync.asked(now)
            await self._session.request(Sync(known=self._known()))
        await self._send_receipts(now)
        await self._send_orders(now)

    def _known(self) -> list[Known]:
        known = []
        for shelf in self._store.ledger.shelves.values():
            # What is not as the head names it is left out, so that it comes again.
            behind = set(shelf.behind())
            studies = [
                (held.announcement.study, held.announcement.sequence)
                for held in shelf.studies.values()
                if held.study not in behind
            ]
            reference = decode_reference(shelf.recipient)
            head = shelf.sequence if shelf.head is not None else 0
            known.append(Known(kind=shelf.kind, recipient=reference, head=head, studies=studies[:MAX_STUDIES]))
        return known

    async def _send_receipts(self, now: float) -> None:
        self._sent = {key: at for key, at in self._sent.items() if now - at < ANSWER_S}
        for key, record in list(self._store.catalogue.receipts.items()):
            if len(self._sent) >= RECEIPTS_AT_ONCE:
                return
            if record.state == "queued" and key not in self._sent:
                self._sent[key] = now
                await self._session.request(_receipt(record))

    async def _send_orders(self, now: float) -> None:
        self._ordered = {key: at for key, at in self._ordered.items() if now - at < ANSWER_S}
        for record in self._orders.queued():
            key = order_key(record)
            if key not in self._ordered and len(self._ordered) < ORDERS_AT_ONCE:
                self._ordered[key] = now
                await self._session.request(order_of(record))


def _receipt(record: ReceiptRecord) -> Receipt:
    return Receipt(
        kind=record.kind,
        recipient=decode_reference(record.recipient),
        study=decode_reference(record.study),
        sequence=record.sequence,
        layer=record.layer,
        event=record.event,
        at=record.at,
    )
