"""Devices' requests: authenticated, judged, carried out, answered."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from sqlalchemy.engine import Engine

from gateway.audit import Outcome
from gateway.delivery.asks import Asks, Tell
from gateway.delivery.herald import Herald
from gateway.delivery.link import Link, LinkDown
from gateway.delivery.presence import Presence
from gateway.delivery.pump import Pump
from gateway.management.announcer import Announcer
from gateway.management.census import Census
from gateway.management.index import arrivals_read, deliveries, people, told, uses
from gateway.management.index.deliveries import SealedObject
from gateway.management.index.people import Device, Profile
from gateway.management.orders import Orders
from gateway.management.registry import Registry, Unknown
from gateway.management.replay import Replay
from gateway.management.rights import may_have
from gateway.management.sharing import may
from gateway.management.vault import Vault
from wire import envelope, manifest, seal, topics
from wire.asks import Told
from wire.bits import from_ranges
from wire.errors import WireError
from wire.limits import MAX_MESSAGE_BYTES
from wire.messages import Answer, Done, Gone, Order, Receipt, Refused, Request, Sync, Synced, Want, Wipe, Wiped
from wire.names import encode_reference

_log = logging.getLogger(__name__)
_CATCH_UP_S = 2.0
_COMPLAINTS_APART_S = 5.0
_ANSWER_HEAD_BYTES = MAX_MESSAGE_BYTES - 4096
_CACHED_GRANTS = 4096

Reply = Synced | Done | Gone | Refused | Wipe | Told


class Requests:
    """Answers Sync, Want, Receipt and Order."""

    def __init__(
        self,
        engine: Engine,
        vault: Vault,
        site: str,
        registry: Registry,
        announcer: Announcer,
        orders: Orders,
        replay: Replay,
        census: Census,
        herald: Herald,
        link: Link,
        pump: Pump,
        presence: Presence,
        asks: Asks,
    ) -> None:
        """``herald`` catches up before a Sync is answered, so that the answer is complete.

        ``on_served`` is called with an object that is wanted, ``on_evicted`` in a thread with one whose file went;
        ``on_order`` with recipient and study of an order, and whether it lacks its files: it says whether some come.
        """
        self._engine = engine
        self._vault = vault
        self._site = site
        self._registry = registry
        self._announcer = announcer
        self._orders = orders
        self._replay = replay
        self._census = census
        self._herald = herald
        self._link = link
        self._pump = pump
        self._presence = presence
        self._asks = asks
        self.on_served: Callable[[str], None] = lambda object_id: None
        self.on_evicted: Callable[[str], None] = lambda object_id: None
        self.on_order: Callable[[str, str, bool], Awaitable[bool]] = _nothing_comes
        self._accounts = asks.accounts
        self._grants: OrderedDict[tuple[str, str], SealedObject | None] = OrderedDict()
        self._told = 0
        self._profiles = -1
        self._not_taken = 0
        self._complains_at = 0.0

    def forget_grants(self) -> None:
        """Announcements changed: who may fetch what is asked anew."""
        self._told += 1
        self._grants.clear()

    async def handle(self, device_ref: str, payload: bytes) -> None:
        """One request as it came; whatever is wrong with it is logged by code and never fatal.

        Not to be called for one device twice at once: its counters grow in the order in which its requests came.
        """
        came = asyncio.get_running_loop().time()
        try:
            there = await asyncio.to_thread(self._census.look)
            if there.version[1] != self._profiles:
                # A relation that ends takes effect now, not when its head has followed.
                self._profiles = there.version[1]
                self.forget_grants()
            device = there.devices.get(device_ref) or there.wiping.get(device_ref)
            if device is None:
                return
            request = envelope.open_request(device.sign_key, self._vault.exchange, self._site, device_ref, payload)
            if device_ref in there.wiping:
                await self._wipe(device, request)
            else:
                await self._judge(device, there.by_reference[device.reference], request, came)
        except WireError as error:
            self._complain(error.code)
        except Unknown:
            _log.info("a device was revoked while its request was answered")
        except LinkDown:
            _log.info("the broker went away while a request was answered")

    def _complain(self, code: str) -> None:
        """Whoever sends rubbish must not fill the log with it."""
        self._not_taken += 1
        if time.monotonic() >= self._complains_at:
            _log.warning("%d requests were not taken, the last one: %s", self._not_taken, code)
            self._not_taken, self._complains_at = 0, time.monotonic() + _COMPLAINTS_APART_S

    async def _judge(self, device: Device, profile: Profile, request: Request, came: float) -> None:
        """Carry it out once, however often it comes."""
        if not self._replay.is_fresh(request):
            await self._answer(device, _answer_to(request, Refused(reason="stale")))
            return
        if isinstance(request.body, Want):
            if self._replay.is_new_want(device.device, request):
                reply = await self._want(device, profile, request.body, request.boot, came)
                if reply is not None:
                    await self._answer(device, _answer_to(request, reply))
            return
        match await asyncio.to_thread(self._replay.enter, device.device, request):
            case "new":
                await self._do(device, profile, request)
            case "stale":
                await self._answer(device, _answer_to(request, Refused(reason="stale")))
            case Answer() as before:
                await self._answer(device, before)

    async def _do(self, device: Device, profile: Profile, request: Request) -> None:
        match request.body:
            case Sync() | Receipt() | Order() | Wiped() as body:
                answer = _answer_to(request, await self._carry_out(device, profile, body))
                await asyncio.to_thread(self._replay.keep, device.device, request, answer)
                await self._answer(device, answer)
            case Want():
                pass  # which was dealt with
            case asked:
                await self._asks.take(device, profile, asked, self._teller(device, request))

    async def _wipe(self, device: Device, request: Request) -> None:
        """Whatever it asks, it is told to erase itself; until it says that it has."""
        if not isinstance(request.body, Wiped):
            await self._answer(device, _answer_to(request, Wipe()))
            return
        # Answered first: with the note its login ends.
        await self._answer(device, _answer_to(request, Done()))
        if await asyncio.to_thread(self._registry.note_wiped, device.device):
            _log.info("device %s says that it is wiped", device.device)

    async def _answer(self, device: Device, answer: Answer) -> None:
        payload = envelope.pack_answer(self._vault.online, device.exchange_key, self._site, device.device, answer)
        await self._link.publish(topics.device_response(self._site, device.device), payload)

    def _teller(self, device: Device, request: Request) -> Tell:
        """Answers a request that may be answered later, or more than once."""

        async def tell(reply: Told | Done | Refused) -> None:
            try:
                await self._answer(device, _answer_to(request, reply))
            except LinkDown:
                _log.info("the broker went away while a request was answered")

        return tell

    async def _carry_out(self, device: Device, profile: Profile, body: Sync | Receipt | Order | Wiped) -> Reply:
        match body:
            case Sync():
                return await self._sync(device, profile, body)
            case Receipt():
                return await self._receipt(device, profile, body)
            case Order():
                return await self._order(device, profile, body)
            case Wiped():
                return Refused(reason="forbidden")  # nobody ordered it

    # ── sync ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _sync(self, device: Device, profile: Profile, sync: Sync) -> Reply:
        await self._herald.catch_up(_CATCH_UP_S)
        known: dict[str, int] = {}
        for entry in sync.known:
            if encode_reference(entry.recipient) == profile.reference:
                known = {encode_reference(study): sequence for study, sequence in entry.studies}
        for outgoing in await asyncio.to_thread(self._announcer.missing, profile, known):
            await self._link.publish(outgoing.topic, outgoing.payload)
        await asyncio.to_thread(self._seen, device)
        lease = self._registry.lease(device, time.time())
        await asyncio.to_thread(self._accounts.renewed, device, profile)
        head = await self._herald.head(profile)
        # A head stands on its own topic; in the answer, too, where there is room for it.
        heads = [head.payload] if len(head.payload) <= _ANSWER_HEAD_BYTES else []
        return Synced(heads=heads, lease=lease)

    def _seen(self, device: Device) -> None:
        with self._engine.begin() as connection:
            people.mark_seen(connection, device.device, time.time())

    # ── want ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _want(self, device: Device, profile: Profile, want: Want, boot: bytes, came: float) -> Reply | None:
        object_id = encode_reference(want.object)
        is_own = encode_reference(want.recipient) == profile.reference and want.kind == profile.kind
        sealed = await self._granted(profile, object_id) if is_own else None
        if sealed is None:
            # The same for what is nobody's: how long it takes says nothing of what there is.
            await asyncio.to_thread(self._accounts.not_given, device, profile, object_id)
            return Gone(object=want.object)
        if self._accounts.is_first(device, sealed.study_id, sealed.layer):
            await asyncio.to_thread(self._accounts.taken_up, device, profile, sealed.study_id, sealed.layer)
        self.on_served(object_id)
        count = seal.segment_count(sealed.size)
        segments = list(from_ranges(want.ranges))
        if max(segments, default=0) >= count or max(want.pages, default=0) >= manifest.page_count(count):
            return Refused(reason="malformed")
        root = topics.recipient_root(self._site, profile.kind, profile.reference)
        self._presence.saw(device.device)
        expected = self._presence.devices_of(profile.reference)
        taken = self._pump.ask(
            device.device, boot, root, object_id, sealed.size, want.pages, segments, want.again, expected, came
        )
        return None if taken else Refused(reason="busy")

    async def _granted(self, profile: Profile, object_id: str) -> SealedObject | None:
        key = (profile.reference, object_id)
        if key in self._grants:
            return self._grants[key]
        told_before = self._told
        found = await asyncio.to_thread(self._look_up, profile, object_id)
        # What was withdrawn while the index was asked must not be granted from then on.
        if told_before == self._told:
            self._grants[key] = found
            if len(self._grants) > _CACHED_GRANTS:
                self._grants.popitem(last=False)
        return found

    def _look_up(self, profile: Profile, object_id: str) -> SealedObject | None:
        with self._engine.connect() as connection:
            if not told.may_fetch(connection, profile.reference, object_id):
                return None
            found = deliveries.object_by_id(connection, object_id)
            if found is None or not may_have(profile.kind, found.layer):
                return None
            study = arrivals_read.study_by_id(connection, found.study_id)
            there = self._census.look_within(connection)
            if study is None or not may("want", connection, there, profile, study, found.layer):
                return None
            if not self._announcer.withheld(connection, profile.kind, found.study_id).isdisjoint(found.series_ids):
                return None
            is_evicted = uses.is_evicted(connection, object_id)
        if is_evicted:
            self.on_evicted(object_id)
            return None
        return found

    async def _order(self, device: Device, profile: Profile, order: Order) -> Reply:
        verdict = await asyncio.to_thread(self._orders.take, profile, order)
        if verdict in ("gone", "done"):
            comes = await self.on_order(profile.reference, encode_reference(order.study), verdict == "gone")
            verdict = "busy" if comes else verdict  # the device asks again after a while, for what has come then, too
        outcome: Outcome = "success" if verdict == "done" else "refused"
        reason = "" if verdict == "done" else verdict
        study = encode_reference(order.study)
        await asyncio.to_thread(self._accounts.asked, device, profile, "order", outcome, study, order.layer, reason)
        _log.info("an order of a study in layer %s: %s", order.layer, verdict)
        if verdict == "done":
            # Before it is answered the device hears that more is to come of the study.
            await self._herald.catch_up(_CATCH_UP_S)
        return Done() if verdict == "done" else Refused(reason=verdict)

    # ── receipts ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _receipt(self, device: Device, profile: Profile, receipt: Receipt) -> Reply:
        is_kept = await asyncio.to_thread(self._note_receipt, device, profile, receipt)
        study = encode_reference(receipt.study)
        outcome: Outcome = "success" if is_kept else "refused"
        await asyncio.to_thread(self._accounts.received, device, profile, study, receipt.layer, receipt.event, outcome)
        return Done() if is_kept else Refused(reason="forbidden")

    def _note_receipt(self, device: Device, profile: Profile, receipt: Receipt) -> bool:
        """Keep it, if it is for a study that is announced: a device may not fill the index with inventions."""
        study_ref = encode_reference(receipt.study)
        with self._engine.begin() as connection:
            study_id = told.study_announced(connection, device.reference, study_ref)
            study = arrivals_read.study_by_id(connection, study_id) if study_id is not None else None
            is_own = encode_reference(receipt.recipient) == profile.reference
            there = self._census.look_within(connection)
            if study is None or not is_own or not may("receipt", connection, there, profile, study):
                return False
            told.add_receipt(
                connection, device.device, study_ref, receipt.layer, receipt.event, receipt.sequence, time.time()
            )
        _log.info("study %s %s by device %s in layer %s", study_ref, receipt.event, device.device, receipt.layer)
        return True


async def _nothing_comes(_recipient: str, _study: str, _is_gone: bool) -> bool:
    return False


def _answer_to(request: Request, reply: Reply) -> Answer:
    return Answer(boot=request.boot, counter=request.counter, issued=int(time.time() * 1000), body=reply)
