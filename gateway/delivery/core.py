"""The core: hears of changes, renders, announces, answers. Everything on one event loop; what blocks, in threads."""

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from gateway.config import Config
from gateway.delivery.link import Link, LinkDown
from gateway.delivery.presence import Presence
from gateway.delivery.pump import Pump
from gateway.delivery.requests import Requests
from gateway.management import broker_files
from gateway.management.announcer import Announcer, Changes, Outgoing
from gateway.management.index import arrivals, arrivals_read, deliveries, people
from gateway.management.index.people import Profile
from gateway.management.object_store import ObjectStore
from gateway.management.registry import Registry
from gateway.management.studio import Studio
from gateway.management.vault import Vault
from wire import topics
from wire.errors import WireError
from wire.messages import OFFLINE, ONLINE

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_BREATH_S = 0.2
"""Between two looks at the index, so that an instance more does not cost a transaction more."""
_HEAD_EARLY = 0.9


class Core:
    """Owns the link; everything that the gateway publishes goes through here."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        vault: Vault,
        registry: Registry,
        store: ObjectStore,
        studio: Studio,
        broker_folder: Path,
    ) -> None:
        """All parts are given; nothing runs before ``run``."""
        self._config = config
        self._engine = engine
        self._vault = vault
        self._registry = registry
        self._studio = studio
        self._broker_folder = broker_folder
        self._announcer = Announcer(engine, vault, config.site, config.delivery)
        self._status_topic = topics.gateway_status(config.site, vault.gateway)
        self._link = Link("127.0.0.1", config.local_port, vault.gateway, vault.password, self._status_topic)
        self._presence = Presence()
        self._pump = Pump(self._link, store)
        self._requests = Requests(
            engine,
            vault,
            config.site,
            registry,
            self._announcer,
            self._link,
            self._pump,
            self._presence,
            self.catch_up,
        )
        self._wake = asyncio.Event()
        self._render = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._people_version = -1
        self._keyed: dict[str, frozenset[str]] = {}
        self._head_due: dict[str, float] = {}
        self._active: dict[str, frozenset[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._link.on_connected = lambda: self._spawn(self._greet())
        self._link.on_disconnected = self._cut
        self._link.on_message = self._message

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until cancelled; says OFFLINE at the end."""
        await asyncio.to_thread(self._write_access)
        self._link.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                group.create_task(self._render_loop())
                group.create_task(self._pump.run())
                group.create_task(self._heads())
        finally:
            if self._link.connected.is_set():
                await asyncio.wait_for(self._link.publish(self._status_topic, OFFLINE, retain=True), 2)
            await self._link.stop()

    @property
    def connected(self) -> asyncio.Event:
        """Set while the broker is there."""
        return self._link.connected

    def wake(self) -> None:
        """Something changed in the index."""
        self._wake.set()

    def status(self) -> dict[str, Any]:
        """For ``mpacs-gateway status`` and the metrics: nothing that identifies anybody."""
        return {
            "broker": self._link.connected.is_set(),
            "devices_online": len(self._presence.online()),
            "published": self._pump.published,
        }

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The text of an unforeseen error may quote data: only its kind and place are logged.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("a task failed: %s\n%s", type(error).__name__, where)

    # ── the broker comes and goes ─────────────────────────────────────────────────────────────────────────────────

    async def _greet(self) -> None:
        """Connected: all that is retained is published again, because no broker is trusted to have kept it."""
        root = topics.site_root(self._config.site)
        self._link.subscribe([f"{root}/device/+/request", f"{root}/device/+/status", f"{root}/enrol/+/request"])
        try:
            key_set = await asyncio.to_thread(self._vault.key_set, self._config.site)
            await self._link.publish(topics.gateway_keys(self._config.site), key_set, retain=True)
            self._keyed.clear()
            await self._publish_people()
            await self._link.publish(self._status_topic, ONLINE, retain=True)
        except LinkDown:
            _log.info("the broker went away during the greeting")

    def _cut(self) -> None:
        self._pump.reset()
        self._presence.clear()

    def _message(self, topic: str, payload: bytes) -> None:
        parts = topic.split("/")
        if parts[-1] == "request" and parts[-3] == "device":
            self._spawn(self._requests.handle(topic, payload))
        elif parts[-1] == "request" and parts[-3] == "enrol":
            self._spawn(self._enrol(parts[-2], payload))
        elif parts[-1] == "status" and parts[-3] == "device":
            self._spawn(self._note_status(parts[-2], payload))

    async def _note_status(self, device: str, payload: bytes) -> None:
        found = await asyncio.to_thread(self._recipient_of, device)
        if not self._presence.status(device, payload, found):
            self._pump.forget_device(device)

    def _recipient_of(self, device: str) -> str | None:
        with self._engine.connect() as connection:
            found = people.device_by_reference(connection, device)
        return found.reference if found and found.revoked_at is None else None

    async def _enrol(self, enrolment: str, payload: bytes) -> None:
        try:
            answer = await asyncio.to_thread(self._registry.enrol, enrolment, payload)
            if answer is None:
                _log.warning("an enrolment was not taken")
                return
            # The device's own credential stands before it hears of it.
            await asyncio.to_thread(self._write_access)
            await self._link.publish(topics.enrol_response(self._config.site, enrolment), answer)
            await self._publish_people()
            _log.info("a device was enrolled")
        except (LinkDown, WireError):
            _log.warning("an enrolment was interrupted")

    # ── what changed ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TICK_S)
            self._wake.clear()
            await asyncio.to_thread(self._tick)
            if self._link.connected.is_set():
                try:
                    await self._publish_people()
                    await self.catch_up()
                except LinkDown:
                    _log.info("the broker went away; what was to be announced stays so")
            self._render.set()
            await asyncio.sleep(_BREATH_S)

    def _tick(self) -> None:
        with self._engine.begin() as connection:
            arrivals.settle_quiet(connection, self._config.delivery.settle_s, time.time())
        self._write_access()

    def _write_access(self) -> None:
        broker_files.write_access(self._broker_folder, self._config.site, self._engine, self._vault)

    async def catch_up(self) -> None:
        """Announce all studies that changed since they were last announced."""
        async with self._refreshing:
            for study_id in await asyncio.to_thread(self._stale):
                await self._announce(await asyncio.to_thread(self._announcer.refresh, study_id))

    def _stale(self) -> list[int]:
        with self._engine.connect() as connection:
            return deliveries.stale_study_ids(connection)

    async def _announce(self, changes: Changes) -> None:
        if changes.outgoing or changes.heads:
            self._requests.forget_grants()
        for outgoing in changes.outgoing:
            await self._publish(outgoing)
        for profile in changes.heads.values():
            await self._head(profile)

    async def _publish(self, outgoing: Outgoing) -> None:
        await self._link.publish(outgoing.topic, outgoing.payload, outgoing.retain)

    async def _head(self, profile: Profile) -> None:
        if profile.reference not in self._active:
            return
        await self._publish(await asyncio.to_thread(self._announcer.head, profile))
        due_s = self._config.delivery.head_ward_s if profile.kind == "ward" else self._config.delivery.head_s
        self._head_due[profile.reference] = time.monotonic() + due_s * _HEAD_EARLY

    async def _publish_people(self) -> None:
        """Publish keys and heads of recipients whose devices changed, and judge studies anew when profiles did."""
        async with self._refreshing:
            version, profiles, self._active = await asyncio.to_thread(self._people)
            if version != self._people_version:
                await asyncio.to_thread(self._write_access)
                await self._announce(await asyncio.to_thread(self._announcer.refresh_all))
            for profile in profiles:
                devices = self._active.get(profile.reference, frozenset())
                if devices == self._keyed.get(profile.reference, frozenset()):
                    continue
                await self._publish(await asyncio.to_thread(self._announcer.keys, profile))
                await self._head(profile)
                self._keyed[profile.reference] = devices
            self._people_version = version

    def _people(self) -> tuple[int, list[Profile], dict[str, frozenset[str]]]:
        with self._engine.connect() as connection:
            version = people.version(connection)
            profiles = people.all_profiles(connection)
            active: dict[str, frozenset[str]] = {}
            for device in people.all_devices(connection, with_revoked=False):
                active[device.reference] = active.get(device.reference, frozenset()) | {device.device}
        return version, profiles, active

    async def _heads(self) -> None:
        """Heads fall due whether anything changed or not: silence must be noticed."""
        while True:
            await asyncio.sleep(_TICK_S)
            if not self._link.connected.is_set():
                continue
            _, profiles, self._active = await asyncio.to_thread(self._people)
            now = time.monotonic()
            try:
                for profile in profiles:
                    if self._head_due.get(profile.reference, 0.0) <= now:
                        await self._head(profile)
            except LinkDown:
                continue

    # ── rendering ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _render_loop(self) -> None:
        """Studies take turns, an object each, so that a long one does not hold up the next."""
        running: dict[int, AsyncGenerator[None, None]] = {}
        while True:
            await self._render.wait()
            self._render.clear()
            while pending := await asyncio.to_thread(self._pending):
                made = False
                for study_id, settled in pending:
                    work = running.setdefault(study_id, self._studio.work(study_id, settled))
                    if await anext(work, self) is self:
                        del running[study_id]
                    else:
                        made = True
                        await self._announce_if_connected(study_id)
                if not made and not running:
                    break

    def _pending(self) -> list[tuple[int, bool]]:
        with self._engine.connect() as connection:
            studies = [arrivals_read.study_by_id(connection, i) for i in deliveries.pending_counts(connection)]
        return [(s.id, s.settled) for s in sorted(filter(None, studies), key=lambda s: -s.last_arrival_at)]

    async def _announce_if_connected(self, study_id: int) -> None:
        async with self._refreshing:
            changes = await asyncio.to_thread(self._announcer.refresh, study_id)
            if self._link.connected.is_set():
                try:
                    await self._announce(changes)
                except LinkDown:
                    _log.info("the broker went away; devices hear of this when they ask")
