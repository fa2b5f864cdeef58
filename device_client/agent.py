"""The device at work: one process that owns link and store, and joins the parts together."""

import asyncio
import logging
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from device_client.disk import DiskThread
from device_client.errors import DeviceError, LeaseEnded, LinkFailed, LinkRefused
from device_client.events import Events
from device_client.fetch import Fetcher
from device_client.goal import Standing, until_done
from device_client.inbox import Inbox, Routes
from device_client.keeper import Keeper
from device_client.ledger import Held
from device_client.link import Credentials, Link, Will
from device_client.mailroom import Mailroom
from device_client.receipts import Receipts
from device_client.session import Session
from device_client.store.state import State, Store
from device_client.tls import authority_context, parse_broker
from wire import messages, topics
from wire.errors import WireError
from wire.messages import Answer, Done, Gone, Receipt, Refused, Sync, Synced, Want
from wire.names import encode_reference

DEFAULT_LAYERS = ("thumbnail", "display")
LEAST_BACKOFF_S = 0.5
MOST_BACKOFF_S = 30.0
REFUSED_BACKOFF_S = 5.0
REFUSED_ONCE_S = 15.0
"""How long ``--once`` bears a refusal: a broker may learn of a new device a moment late."""
RENEW_S = 10.0

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
        self.store: Store | None = None
        self.fetcher: Fetcher | None = None
        self.events = events
        self.disk = DiskThread()
        self.stopping = asyncio.Event()
        self._options = options
        self._inbox = Inbox(state)
        self._routes = Routes(state)
        self._mail = Mailroom(state, self._inbox, self.disk, events, self)
        self._keeper: Keeper | None = None
        self._session: Session | None = None
        self._receipts: Receipts | None = None
        self._renewed: asyncio.Event = asyncio.Event()
        self._progress_at = time.monotonic()
        self._refused_since: float | None = None
        self._chores: set[asyncio.Task[None]] = set()
        address = parse_broker(state.identity.broker)
        self._address = address
        self._tls = authority_context(state.identity.authority) if address.tls else None

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Return when stopped or done; Silent or LinkRefused where ``once`` cannot be done."""
        try:
            self.open_store()
        except LeaseEnded:
            self.events.tell("lease-ended")
        work = [asyncio.ensure_future(self._stay_connected()), asyncio.ensure_future(self.stopping.wait())]
        if self._options.once:
            work.append(asyncio.ensure_future(until_done(self._standing, self._options.timeout_s)))
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self._close_store()
            self.disk.close()

    def open_store(self) -> None:
        """Read what is kept; LeaseEnded if the lease has run out."""
        self.store = store = self.state.unlock()
        self._mail.store = store
        self._receipts = Receipts(store, self._options.layers)
        self.fetcher = Fetcher(store, self.disk, self.events, self._object_complete)
        for _, entry in store.ledger.wanted(self._options.layers):
            object_id = encode_reference(entry.object)
            progress = store.blobs.progress(object_id, entry.size)
            if progress.received == progress.segments:
                self.fetcher.complete.add(object_id)
        self.ledger_changed(list(store.ledger.studies()))

    async def _close_store(self) -> None:
        while self._chores:
            await asyncio.wait(self._chores)
        fetcher, self.fetcher, self.store, self._mail.store = self.fetcher, None, None, None
        self._mail.clear()
        if fetcher is not None:
            await fetcher.close()

    async def _stay_connected(self) -> None:
        backoff_s = LEAST_BACKOFF_S
        while True:
            started = time.monotonic()
            try:
                await self._connect()
            except LeaseEnded:
                await self._close_store()
                await self.disk.run(self.state.key_files.erase_lease)
                self.events.tell("lease-ended")
            except LinkRefused as error:
                self._refused(error)
                backoff_s = max(backoff_s, REFUSED_BACKOFF_S)
            except LinkFailed as error:
                self.events.tell("disconnected", reason=str(error))
            if time.monotonic() - started > MOST_BACKOFF_S:
                backoff_s = LEAST_BACKOFF_S
            # Jitter, or a ward full of devices comes back in one moment when its broker does.
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, keeps no secret
            backoff_s = min(backoff_s * 2, MOST_BACKOFF_S)

    def _refused(self, error: LinkRefused) -> None:
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        self.events.tell("refused", reason=str(error))
        if self._options.once and now - self._refused_since > REFUSED_ONCE_S:
            raise LinkRefused(f"{error}: it may have been revoked; ask for a new enrolment link") from None

    # ── one connection ────────────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self) -> None:
        identity = self.state.identity
        will = Will(topics.device_status(identity.site, identity.device), messages.OFFLINE)
        credentials = Credentials(identity.device, identity.password.hex())
        link = Link(self._address, self._tls, credentials, self._arrived, will)
        await link.open()
        self._refused_since = None
        session = self._session = Session(self.state, link)
        self._mail.reading = link.reading
        try:
            await session.presence(messages.ONLINE)
            self.events.tell("connected")
            await self._serve(session)
        finally:
            self._session = self._keeper = None
            self._mail.reading = lambda _wanted: None
            self._mail.clear()
            await self._say_goodbye(session)

    @staticmethod
    async def _say_goodbye(session: Session) -> None:
        try:
            async with asyncio.timeout(2):
                await session.presence(messages.OFFLINE)
                await session.link.close()
        except (TimeoutError, LinkFailed):
            session.link.abort("closing")

    async def _serve(self, session: Session) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(session.link))
                group.create_task(self._mail.run())
                group.create_task(self._talk(session, group))
        except* DeviceError as errors:
            # Several parts notice the end of a connection at once; the lease's end weighs more.
            found = [error for error in _flat(errors) if isinstance(error, LeaseEnded)] or _flat(errors)
            raise found[0] from None

    @staticmethod
    async def _watch(link: Link) -> None:
        reason = await link.closed()
        raise LinkFailed(f"the connection to the broker ended ({reason})")

    async def _talk(self, session: Session, group: asyncio.TaskGroup) -> None:
        await session.link.subscribe(self._routes.own())
        if self.store is None:
            await self._renew(session)
        store, fetcher = self.store, self.fetcher
        assert store is not None and fetcher is not None
        self._keeper = Keeper(self.state, store, self.disk, session, self._sweep)
        await session.link.subscribe(self._routes.shared())
        group.create_task(fetcher.run(session))
        group.create_task(self._keeper.run())

    async def _renew(self, session: Session) -> None:
        """Without a lease nothing is known but how to ask for one."""
        self._renewed.clear()
        while not self._renewed.is_set():
            await session.request(Sync(known=[]))
            try:
                async with asyncio.timeout(RENEW_S):
                    await self._renewed.wait()
            except TimeoutError:
                continue

    # ── what arrives ──────────────────────────────────────────────────────────────────────────────────────────────

    def _arrived(self, topic: str, payload: bytes, retained: bool) -> None:
        route = self._routes.find(topic)
        if route is None:
            return
        if route.part is None:
            self._mail.put(route, payload, retained)
        elif self.fetcher is not None:
            try:
                self.fetcher.take(route.part, payload)
            except WireError as error:
                self._inbox.refuse(error, route.part.part)

    def ledger_changed(self, changed: list[Held]) -> None:
        """Heads or announcements were applied."""
        store, fetcher = self.store, self.fetcher
        if store is None or fetcher is None or self._receipts is None:
            return
        wanted = [
            (held, entry)
            for held, entry in store.ledger.wanted(self._options.layers)
            if held.study not in store.ledger.shelves[held.recipient].unlisted
        ]
        fetcher.want(wanted)
        if changed:
            self._progress()
            self._chore(self._tidy(changed))

    def needs_sync(self) -> None:
        """Something is missing that the gateway can tell."""
        if self._keeper is not None:
            self._keeper.needs_sync()

    def gateway_is_new(self) -> None:
        """A gateway came online: it knows nothing of what was asked."""
        if self._keeper is not None:
            self._keeper.start_over()
        if self.fetcher is not None:
            self.fetcher.restart()

    async def answered(self, answer: Answer) -> None:
        """An answer to this device."""
        body = self._session.match(answer) if self._session is not None else None
        if body is None:
            return
        self._progress(body)
        match answer.body, body:
            case Synced() as synced, Sync():
                await self._synced(synced)
            case Gone(object=object_id), Want():
                self._lost(encode_reference(object_id))
            case Refused(reason="forbidden"), Want(object=object_id):
                self._lost(encode_reference(object_id))
            case Done(), Receipt() as receipt if self._keeper is not None:
                await self._keeper.take_done(receipt)
            case Refused(reason=reason), _:
                log.warning("%s was refused by the gateway: %s", type(body).__name__, reason)

    async def _synced(self, synced: Synced) -> None:
        if self.store is None:
            await self.disk.run(lambda: self.state.key_files.save_lease(synced.lease))
            self.open_store()
            self._renewed.set()
        elif self._keeper is not None:
            for head in synced.heads:
                await self._mail.any_head(head)
            await self._keeper.take_synced(synced)

    def _lost(self, object_id: str) -> None:
        if self.fetcher is not None:
            self.fetcher.rest(object_id)
        self.needs_sync()

    # ── what follows ──────────────────────────────────────────────────────────────────────────────────────────────

    def _progress(self, body: object = None) -> None:
        if not isinstance(body, Want):
            self._progress_at = time.monotonic()
        if self._keeper is not None and body is None:
            self._keeper.progressed()

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _tidy(self, changed: list[Held]) -> None:
        for held in changed:
            await self._look_at(held)
        await self._sweep()

    async def _object_complete(self, held: Held, _entry: messages.ObjectEntry) -> None:
        await self._look_at(held)

    async def _look_at(self, held: Held) -> None:
        """Whether a study has become complete, and what receipts that owes."""
        store, fetcher, receipts = self.store, self.fetcher, self._receipts
        if store is None or fetcher is None or receipts is None:
            return
        now_held = store.ledger.shelves[held.recipient].studies.get(held.study)
        if now_held is None:
            return
        news = receipts.due(now_held, fetcher.complete, self.state.clock.now_ms())
        if news.receipts or news.completed:
            await self.disk.run(lambda: receipts.keep(news))
        if news.completed:
            self.events.tell("complete", study=held.study)
        if news.receipts:
            self.receipts_are_due()

    def receipts_are_due(self) -> None:
        """There is a receipt to send, now or over the next connection."""
        if self._keeper is not None:
            self._keeper.wake()

    async def _sweep(self) -> None:
        """Delete what heads no longer name, and objects that are no longer announced."""
        store = self.store
        if store is None:
            return
        now_ms = self.state.clock.now_ms()
        gone = [(shelf.recipient, study) for shelf in store.ledger.shelves.values() for study in shelf.gone(now_ms)]
        for recipient, study in gone:
            store.ledger.shelves[recipient].drop(study)
            self.events.tell("gone", study=study)
        if gone:
            await self.disk.run(lambda: store.remove_studies(gone))
            self.ledger_changed([])
        announced = store.ledger.object_ids()
        await self.disk.run(lambda: store.remove_unannounced(announced))

    def _standing(self) -> Standing:
        keeper, fetcher = self._keeper, self.fetcher
        synced = keeper is not None and keeper.synced
        busy = keeper is None or fetcher is None or not fetcher.idle or keeper.owes
        busy = busy or not self._mail.idle or bool(self._chores)
        progress_at = max(self._progress_at, fetcher.progress_at if fetcher is not None else 0.0)
        return Standing(self._session is not None, self.store, synced, busy, progress_at)


def _flat(group: BaseExceptionGroup[DeviceError]) -> list[DeviceError]:
    found: list[DeviceError] = []
    for error in group.exceptions:
        found += _flat(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
