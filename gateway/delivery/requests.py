"""Devices' requests: authenticated, judged, carried out, answered."""

import asyncio
import logging
import time
from collections import OrderedDict
from typing import Protocol

from sqlalchemy.engine import Engine

from gateway.delivery.link import Link, LinkDown
from gateway.delivery.presence import Presence
from gateway.delivery.pump import Pump
from gateway.management.announcer import Announcer, Outgoing
from gateway.management.index import deliveries, people
from gateway.management.index.deliveries import SealedObject
from gateway.management.index.people import Device, Profile
from gateway.management.registry import Registry
from gateway.management.vault import Vault
from wire import envelope, manifest, seal, topics
from wire.bits import from_ranges
from wire.errors import WireError
from wire.messages import Answer, Done, Gone, Receipt, Refused, Request, Sync, Synced, Want
from wire.names import encode_reference

_log = logging.getLogger(__name__)
_BOOTS = 32
_CACHED_GRANTS = 4096

Reply = Synced | Done | Gone | Refused


class Catch(Protocol):
    """Announces what the index has and recipients were not told yet."""

    async def __call__(self) -> None: ...


class Requests:
    """Answers Sync, Want and Receipt."""

    def __init__(
        self,
        engine: Engine,
        vault: Vault,
        site: str,
        registry: Registry,
        announcer: Announcer,
        link: Link,
        pump: Pump,
        presence: Presence,
        catch_up: Catch,
    ) -> None:
        """``catch_up`` is awaited before a Sync is answered, so that the answer is complete."""
        self._engine = engine
        self._vault = vault
        self._site = site
        self._registry = registry
        self._announcer = announcer
        self._link = link
        self._pump = pump
        self._presence = presence
        self._catch_up = catch_up
        self._locks: dict[str, asyncio.Lock] = {}
        self._counters: dict[str, OrderedDict[bytes, int]] = {}
        self._grants: OrderedDict[tuple[str, str], SealedObject | None] = OrderedDict()

    def forget_grants(self) -> None:
        """Announcements changed: who may fetch what is asked anew."""
        self._grants.clear()

    async def handle(self, topic: str, payload: bytes) -> None:
        """One request as it came; whatever is wrong with it is logged by code and never fatal."""
        try:
            device_ref, _ = topics.parse_device_topic(self._site, topic)
            # One after the other for each device, in the order in which they came: counters grow.
            async with self._locks.setdefault(device_ref, asyncio.Lock()):
                await self._handle(device_ref, payload)
        except WireError as error:
            _log.warning("a request was not taken: %s", error.code)
        except LinkDown:
            _log.info("the broker went away while a request was answered")

    async def _handle(self, device_ref: str, payload: bytes) -> None:
        found = await asyncio.to_thread(self._device, device_ref)
        if found is None:
            return
        device, profile = found
        request = envelope.open_request(device.sign_key, self._vault.exchange, self._site, device_ref, payload)
        if not self._is_new(device_ref, request):
            return
        reply = await self._carry_out(device, profile, request)
        if reply is not None:
            await self._answer(device, request, reply)

    def _device(self, device_ref: str) -> tuple[Device, Profile] | None:
        with self._engine.connect() as connection:
            device = people.device_by_reference(connection, device_ref)
            if device is None or device.revoked_at is not None:
                return None
            profile = people.profile_by_reference(connection, device.reference)
        return (device, profile) if profile else None

    def _is_new(self, device: str, request: Request) -> bool:
        """Counters grow within a connection: what does not grow was seen before."""
        boots = self._counters.setdefault(device, OrderedDict())
        if request.counter <= boots.get(request.boot, -1):
            return False
        boots[request.boot] = request.counter
        boots.move_to_end(request.boot)
        if len(boots) > _BOOTS:
            boots.popitem(last=False)
        return True

    async def _answer(self, device: Device, request: Request, reply: Reply) -> None:
        answer = Answer(boot=request.boot, counter=request.counter, issued=int(time.time() * 1000), body=reply)
        payload = envelope.pack_answer(self._vault.online, device.exchange_key, self._site, device.device, answer)
        await self._link.publish(topics.device_response(self._site, device.device), payload)

    async def _carry_out(self, device: Device, profile: Profile, request: Request) -> Reply | None:
        match request.body:
            case Sync():
                return await self._sync(device, profile, request.body)
            case Want():
                return await self._want(device, profile, request.body, request.boot)
            case Receipt():
                return await self._receipt(device, profile, request.body)

    # ── sync ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _sync(self, device: Device, profile: Profile, sync: Sync) -> Reply:
        await self._catch_up()
        known: dict[str, int] = {}
        for entry in sync.known:
            if encode_reference(entry.recipient) == profile.reference:
                known = {encode_reference(study): sequence for study, sequence in entry.studies}
        for outgoing in await asyncio.to_thread(self._announcer.missing, profile, known):
            await self._link.publish(outgoing.topic, outgoing.payload)
        head = await asyncio.to_thread(self._seen, device, profile)
        await self._link.publish(head.topic, head.payload, head.retain)
        return Synced(heads=[head.payload], lease=self._registry.lease(device, time.time()))

    def _seen(self, device: Device, profile: Profile) -> Outgoing:
        with self._engine.begin() as connection:
            people.mark_seen(connection, device.device, time.time())
        return self._announcer.head(profile)

    # ── want ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _want(self, device: Device, profile: Profile, want: Want, boot: bytes) -> Reply | None:
        object_id = encode_reference(want.object)
        if encode_reference(want.recipient) != profile.reference or want.kind != profile.kind:
            return Gone(object=want.object)
        sealed = await self._granted(profile.reference, object_id)
        if sealed is None:
            return Gone(object=want.object)
        count = seal.segment_count(sealed.size)
        segments = list(from_ranges(want.ranges))
        if max(segments, default=0) >= count or max(want.pages, default=0) >= manifest.page_count(count):
            return Refused(reason="malformed")
        root = topics.recipient_root(self._site, profile.kind, profile.reference)
        self._presence.saw(device.device, profile.reference)
        expected = self._presence.count(profile.reference)
        taken = self._pump.ask(
            device.device, boot, root, object_id, sealed.size, want.pages, segments, want.again, expected
        )
        return None if taken else Refused(reason="busy")

    async def _granted(self, recipient: str, object_id: str) -> SealedObject | None:
        key = (recipient, object_id)
        if key not in self._grants:
            self._grants[key] = await asyncio.to_thread(self._look_up, recipient, object_id)
            if len(self._grants) > _CACHED_GRANTS:
                self._grants.popitem(last=False)
        return self._grants[key]

    def _look_up(self, recipient: str, object_id: str) -> SealedObject | None:
        with self._engine.connect() as connection:
            if not deliveries.may_fetch(connection, recipient, object_id):
                return None
            return deliveries.object_by_id(connection, object_id)

    # ── receipts ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _receipt(self, device: Device, profile: Profile, receipt: Receipt) -> Reply:
        if encode_reference(receipt.recipient) != profile.reference:
            return Refused(reason="forbidden")
        await asyncio.to_thread(self._note_receipt, device, receipt)
        return Done()

    def _note_receipt(self, device: Device, receipt: Receipt) -> None:
        study_ref = encode_reference(receipt.study)
        with self._engine.begin() as connection:
            deliveries.add_receipt(
                connection, device.device, study_ref, receipt.layer, receipt.event, receipt.sequence, time.time()
            )
        _log.info("study %s %s by device %s in layer %s", study_ref, receipt.event, device.device, receipt.layer)
