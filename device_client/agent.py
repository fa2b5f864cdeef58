"""The device at work: one process that owns link and store, and joins the parts together."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from device_client.disk import DiskThread
from device_client.errors import (
    DeviceError,
    DeviceWiped,
    LeaseEnded,
    LinkFailed,
    LinkRefused,
    WipeOrdered,
    weightiest,
)
from device_client.events import Events
from device_client.goal import Standing, until_done
from device_client.household import Household
from device_client.inbox import Inbox, Routes
from device_client.keeper import Keeper
from device_client.layers import DEFAULT_LAYERS
from device_client.ledger import Held
from device_client.link import Credentials, Link, Will
from device_client.mailroom import Mailroom
from device_client.retry import Retry
from device_client.session import Body, Session
from device_client.shut_out import ShutOut
from device_client.store.state import State
from device_client.tasks import end
from device_client.tls import authority_context, parse_broker
from device_client.wiping import Wiping
from wire import messages, topics
from wire.errors import WireError
from wire.messages import Answer, Done, Gone, Order, Receipt, Refused, Sync, Synced, Want, Wipe, Wiped
from wire.names import encode_reference

LEASE_LOOK_S = 1.0

log = logging.getLogger("mpacs.device")


@dataclass(frozen=True, slots=True)
class Options:
    """``timeout_s`` is how long ``once`` waits without any progress."""

    layers: tuple[str, ...] = DEFAULT_LAYERS
    once: bool = False
    timeout_s: float = 60.0


class Agent:
    """Runs until stopped, or with ``once`` until everything that is announced is here."""

    def __init__(self, state: State, options: Options, events: Events) -> None:
        """The state folder is owned; the lease may have ended."""
        self.state = state
        self.household: Household | None = None
        self.events = events
        self.disk = DiskThread()
        self.stopping = asyncio.Event()
        self._options = options
        self._inbox = Inbox(state)
        self._routes = Routes(state)
        self._mail = Mailroom(state, self._inbox, self.disk, events, self)
        self._wiping = Wiping(state, self.disk)
        self._shut_out = ShutOut(state.folder, self.disk, options.once)
        self._keeper: Keeper | None = None
        self.session: Session | None = None
        self.ready = asyncio.Event()  # to be asked: there is a session, and answers are subscribed
        self._renewed = asyncio.Event()
        self._progress_at = time.monotonic()
        address = parse_broker(state.identity.broker)
        self._address = address
        self._tls = authority_context(state.identity.authority) if address.tls else None

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker."""
        return self.session is not None

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Return when stopped or done; Silent or LinkRefused where ``once`` cannot be done, DeviceWiped if it was."""
        try:
            self._open_store()
        except LeaseEnded:
            self.events.tell("lease-ended")
        except DeviceWiped:
            self.events.tell("wiping")
        work: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._stay_connected()),
            asyncio.ensure_future(self._watch_lease()),
            asyncio.ensure_future(self.stopping.wait()),
        ]
        if self._options.once:
            work.append(asyncio.ensure_future(until_done(self._standing, self._options.timeout_s)))
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(work)
            await self._close_store()
            self.disk.close()

    def _open_store(self) -> None:
        """Read what is kept; LeaseEnded if the lease has run out."""
        store = self.state.unlock()
        self.household = Household(store, self._options.layers, self.disk, self.events, self.something_is_due)
        self._mail.store = store

    async def _close_store(self) -> None:
        household, self.household, self._mail.store = self.household, None, None
        self._mail.clear()
        if household is not None:
            await household.close()

    async def _end_lease(self) -> None:
        # Erasing comes first in the disk's order: a renewed lease is written behind it.
        erased = asyncio.ensure_future(self.disk.run(self.state.key_files.erase_lease))
        await self._close_store()
        await erased
        self.events.tell("lease-ended")

    async def _watch_lease(self) -> None:
        """A lease ends without a connection as well; with one, the keeper sees to it."""
        while True:
            await asyncio.sleep(LEASE_LOOK_S)
            household = self.household
            ended = household is not None and household.store.lease.expires <= self.state.clock.now_ms()
            if ended and self.session is None:
                await self._end_lease()

    async def _stay_connected(self) -> None:
        retry = Retry()
        while True:
            retry.begin()
            try:
                await self._connect(retry)
            except LeaseEnded:
                await self._end_lease()
            except WipeOrdered:
                self.events.tell("wiping")
                await self._close_store()
                await self._wiping.erase_received()
                continue
            except DeviceWiped:
                await self._wiping.erase_all()
                raise
            except LinkRefused as error:
                lease_ends = self.household.store.lease.expires if self.household is not None else None
                reason = await self._shut_out.refused(error, for_good := retry.refused(), lease_ends)
                self.events.tell("refused", reason=reason, shut_out=for_good)
            except LinkFailed as error:
                self.events.tell("disconnected", reason=str(error))
            if self._wiping.is_late:
                await self._wiping.erase_all()
                raise DeviceWiped
            await retry.pause()

    # ── one connection ────────────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self, retry: Retry) -> None:
        identity = self.state.identity
        will = Will(topics.device_status(identity.site, identity.device), messages.OFFLINE)
        credentials = Credentials(identity.device, identity.password.hex())
        link = Link(self._address, self._tls, credentials, self._arrived, will)
        await link.open()
        retry.taken()
        await self._shut_out.taken()
        session = self.session = Session(self.state, link)
        self._mail.reading = link.reading
        try:
            await session.presence(messages.ONLINE)
            self.events.tell("connected")
            await self._serve(session)
        finally:
            self.session = self._keeper = None
            self.ready.clear()
            session.end()
            self._mail.reading = lambda _wanted: None
            self._mail.clear()
            await session.say_goodbye()

    async def _serve(self, session: Session) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(session.watch())
                group.create_task(self._mail.run())
                group.create_task(self._talk(session, group))
        except BaseExceptionGroup as errors:
            # Not `except*`: before Python 3.11.4 it wraps what is raised in it into another group.
            known, others = errors.split((DeviceError, OSError))
            if known is None or others is not None:
                raise
            raise weightiest(known) from None

    async def _talk(self, session: Session, group: asyncio.TaskGroup) -> None:
        await session.link.subscribe(self._routes.own())
        if self._wiping.is_ordered:
            await self._wiping.say(session)
        if self.household is None:
            # Without a lease nothing is known but how to ask for one.
            self._renewed.clear()
            await session.ask_until(self._renewed)
        household = self.household
        assert household is not None
        self._keeper = Keeper(self.state, household.store, self.disk, session, household.orders, household.sweep)
        await session.link.subscribe(self._routes.shared())
        group.create_task(household.fetcher.run(session))
        group.create_task(self._keeper.run())
        self.ready.set()

    # ── what arrives ──────────────────────────────────────────────────────────────────────────────────────────────

    def _arrived(self, topic: str, payload: bytes, retained: bool) -> None:
        route = self._routes.find(topic)
        if route is None:
            return
        if route.part is None:
            self._mail.put(route, payload, retained)
        elif self.household is not None:
            try:
                self.household.fetcher.take(route.part, payload)
            except WireError as error:
                self._inbox.refuse(error, route.part.part)

    def ledger_changed(self, changed: list[Held]) -> None:
        """Heads or announcements were applied."""
        if self.household is not None:
            self.household.changed(changed)
        if changed:
            self._progress()

    def needs_sync(self) -> None:
        """Something is missing that the gateway can tell."""
        if self._keeper is not None:
            self._keeper.needs_sync()

    def gateway_is_new(self) -> None:
        """A gateway came online: it knows nothing of what was asked."""
        if self.session is not None:
            self.session.end()
        if self._keeper is not None:
            self._keeper.start_over()
        if self.household is not None:
            self.household.fetcher.restart()

    async def answered(self, answer: Answer) -> None:
        """An answer to this device."""
        body = self.session.match(answer) if self.session is not None else None
        if body is None:
            return
        self._answered_progress(body)
        match answer.body, body:
            case Wipe(), _ if not self._wiping.is_ordered:
                await self._wiping.note()
                raise WipeOrdered
            case Done(), Wiped():
                self._wiping.taken()
            case Synced() as synced, Sync():
                await self._synced(synced)
            case Gone(object=object_id), Want():
                self._lost(encode_reference(object_id))
            case Refused(reason="forbidden"), Want(object=object_id):
                self._lost(encode_reference(object_id))
            case Done(), Receipt() as receipt if self._keeper is not None:
                self._keeper.take_done(receipt)
            case (Done() | Refused()) as outcome, Order() as order:
                self._ordered(order, outcome.reason if isinstance(outcome, Refused) else "")
            case Refused(reason=reason), _:
                log.warning("%s was refused by the gateway: %s", type(body).__name__, reason)

    async def _synced(self, synced: Synced) -> None:
        if self.household is None:
            await self.disk.run(lambda: self.state.key_files.save_lease(synced.lease))
            self._open_store()
            self._renewed.set()
        elif self._keeper is not None:
            for head in synced.heads:
                await self._mail.any_head(head)
            await self._keeper.take_synced(synced)

    def _ordered(self, order: Order, reason: str) -> None:
        if self._keeper is not None:
            self._keeper.take_order(order, reason)
        self._progress_at = time.monotonic()
        study = encode_reference(order.study)
        self.events.tell("order-refused" if reason else "ordered", study=study, layer=order.layer, reason=reason)

    def _lost(self, object_id: str) -> None:
        if self.household is not None:
            self.household.fetcher.rest(object_id)
        self.needs_sync()

    # ── what follows ──────────────────────────────────────────────────────────────────────────────────────────────

    def _progress(self) -> None:
        self._progress_at = time.monotonic()
        if self._keeper is not None:
            self._keeper.progressed()

    def _answered_progress(self, body: Body) -> None:
        # Every sync is answered, even by a gateway that sends nothing: only the first is progress.
        first = isinstance(body, Sync) and not (self._keeper is not None and self._keeper.synced)
        if first or isinstance(body, Receipt):
            self._progress_at = time.monotonic()

    def something_is_due(self) -> None:
        """There is a receipt or an order to send, now or over the next connection."""
        if self._keeper is not None:
            self._keeper.wake()

    def wishes_changed(self) -> None:
        """A layer was wished of a study: it may be offered already, or is to be ordered."""
        if self.household is not None:
            self.household.changed([])
        self.something_is_due()

    def _standing(self) -> Standing:
        keeper, household = self._keeper, self.household
        synced = keeper is not None and keeper.synced
        busy = keeper is None or household is None or household.busy or keeper.owes or not self._mail.idle
        progress_at = max(self._progress_at, household.fetcher.progress_at if household is not None else 0.0)
        store = household.store if household is not None else None
        return Standing(self.connected, store, synced, busy, progress_at)
