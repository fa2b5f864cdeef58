"""The core: hears of changes, renders, announces, answers. Everything on one event loop; what blocks, in threads."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from gateway.config import Config
from gateway.delivery.asks import Asks
from gateway.delivery.health import Health
from gateway.delivery.herald import Herald
from gateway.delivery.lanes import Lanes
from gateway.delivery.link import Link, LinkDown
from gateway.delivery.presence import Presence
from gateway.delivery.pump import Pump
from gateway.delivery.recall import Recall
from gateway.delivery.requests import Requests
from gateway.delivery.turns import Turns
from gateway.delivery.uploads import Uploads
from gateway.management.announcer import Announcer
from gateway.management.broker_files import AccessFile
from gateway.management.census import Census, People
from gateway.management.evictor import Evictor
from gateway.management.index import arrivals, deliveries, devices, grants, people
from gateway.management.object_store import ObjectStore
from gateway.management.orders import Orders
from gateway.management.registry import Registry
from gateway.management.replay import Replay
from gateway.management.studio.studio import Studio, layers_made
from gateway.management.vault import Vault
from gateway.middleware.pacs.client import PacsClient
from wire import topics
from wire.messages import OFFLINE, ONLINE

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_BREATH_S = 0.2
"""Between two looks at the index, so that an instance more does not cost a transaction more."""
_CATCH_UP_S = 5.0
_TIDY_S = 60.0
_STORE_S = 5.0
_GOODBYE_S = 2.0


class Core:
    """Owns the link; everything that the gateway publishes goes through here."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        vault: Vault,
        registry: Registry,
        store: ObjectStore,
        evictor: Evictor,
        studios: Sequence[Studio],
        broker_folder: Path,
        pacs: PacsClient,
        uploads: Uploads,
        chores: Callable[[], None] = lambda: None,
        console: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """All parts are given; nothing runs before ``run``. ``pacs`` is asked where the own store lacks something.

        ``chores`` is called in a thread about once a minute, ``anchor`` (of the audit trail) once a second; ``console``
        is kept going beside the core's own parts.
        """
        self.anchor: Callable[[], None] = lambda: None
        self._config = config
        self._engine = engine
        self._vault = vault
        self._registry = registry
        self._store = store
        self._evictor = evictor
        self._chores = chores
        self._console = console
        self._access = AccessFile(broker_folder, config.site, engine, vault)
        self._status_topic = topics.gateway_status(config.site, vault.gateway)
        self._health = Health()
        self._presence = Presence()
        self._census = Census(engine, config.access)
        layers = layers_made(config.rendering)
        announcer = Announcer(engine, vault, config.site, config.delivery, self._census, layers, config.wards)
        self._link = Link(config.local_host, config.local_port, vault.gateway, vault.password, self._status_topic)
        self._herald = Herald(self._link, announcer, self._census, config.site, config.delivery, self._health)
        self._pump = Pump(self._link, store, self._lost)
        self._turns = [Turns(engine, studio, self._tell, self._health) for studio in studios]
        self._replay = Replay(engine)
        self._asks = Asks(engine, self._census, self._herald, pacs, config, uploads, self._health.request_failed)
        self._requests = self._answering(Orders(engine, self._census, layers), announcer, registry)
        self._recall = Recall(engine, pacs, self._lost)
        self._lanes = Lanes(self._handle, self._health.request_failed)
        self._lost_objects: set[str] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections = 0
        self._greeted = 0
        self._wire()

    def _answering(self, orders: Orders, announcer: Announcer, registry: Registry) -> Requests:
        return Requests(self._engine, self._vault, self._config.site, registry, announcer, orders, self._replay,
                        self._census, self._herald, self._link, self._pump, self._presence, self._asks)  # fmt: skip

    def _wire(self) -> None:
        """Who hears of what."""
        self._requests.on_served = self._evictor.served
        self._requests.on_evicted = lambda object_id: self._loop_call(self._recall.evicted, object_id)
        self._requests.on_order = self._recall.ordered
        self._evictor.on_evicted = lambda: self._loop_call(self._requests.forget_grants)
        self._herald.on_told = self._requests.forget_grants
        self._herald.on_people = self._follow
        self._link.on_connected = self._arrive
        self._link.on_disconnected = self._cut
        self._link.on_message = self._message

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until cancelled; says OFFLINE at the end. Raises OSError if the broker's access cannot be written."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._access.write)
        self._link.start()
        try:
            async with asyncio.TaskGroup() as group:
                for name, step in self._steps().items():
                    group.create_task(self._health.keep_going(name, step))
        finally:
            await self._lanes.stop()
            await self._recall.stop()
            await self._asks.stop()
            if self._link.connected.is_set():
                with contextlib.suppress(LinkDown, TimeoutError):
                    await asyncio.wait_for(self._link.publish(self._status_topic, OFFLINE, retain=True), _GOODBYE_S)
            await self._link.stop()

    def _steps(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What goes on, each beside the others and again and again."""
        console = {"the console": self._console} if self._console is not None else {}
        rendering = {f"rendering {n}" if n else "rendering": turns.step for n, turns in enumerate(self._turns)}
        rendering |= {"serving": self._pump.step, "forwarding": self._asks.uploads.forwarding.step}
        return {
            **{"the index": self._watch, **rendering, "heads": self._heads, **console},
            **{"tidying": self._tidy, "the store": self._keep_store, "the audit trail's anchor": self._keep_anchored},
        }

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
            "requests_dropped": self._lanes.dropped,
            "store": self._evictor.status(),
            "troubles": self._health.troubles,
        }

    # ── the broker comes and goes ─────────────────────────────────────────────────────────────────────────────────

    def _arrive(self) -> None:
        self._connections += 1
        self._herald.greet()
        root = topics.site_root(self._config.site)
        self._link.subscribe(
            [
                f"{root}/device/+/object/+/+",
                f"{root}/device/+/request",
                f"{root}/device/+/status",
                f"{root}/enrol/+/request",
            ]
        )
        self._wake.set()

    async def _greet(self) -> None:
        """All that is retained is published again, because no broker is trusted to have kept it."""
        connection = self._connections
        key_set = await asyncio.to_thread(self._vault.key_set, self._config.site)
        await self._link.publish(topics.gateway_keys(self._config.site), key_set, retain=True)
        await self._herald.look()
        await self._link.publish(self._status_topic, ONLINE, retain=True)
        self._greeted = connection

    def _cut(self) -> None:
        self._pump.reset()
        self._presence.clear()

    def _follow(self, there: People) -> None:
        for device in self._presence.online() - there.devices.keys():
            self._pump.forget_device(device)
        self._presence.follow(there)

    # ── what comes in ─────────────────────────────────────────────────────────────────────────────────────────────

    def _message(self, topic: str, payload: bytes) -> None:
        levels = topic.removeprefix(f"{topics.site_root(self._config.site)}/").split("/")
        match levels:
            case ["device", device, "status"]:
                if not self._presence.status(device, payload):
                    self._pump.forget_device(device)
            case ["device" | "enrol", _, "request"]:
                self._lanes.put("/".join(levels[:2]), topic, payload)
            case ["device", device, "object", object_id, part]:
                self._asks.uploads.part(device, object_id, part, payload)

    async def _handle(self, sender: str, _: str, payload: bytes) -> None:
        kind, _, reference = sender.partition("/")
        if kind == "device":
            await self._requests.handle(reference, payload)
        else:
            await self._enrol(reference, payload)
        self._health.well("a request")

    async def _enrol(self, enrolment: str, payload: bytes) -> None:
        answer = await asyncio.to_thread(self._registry.enrolments.enrol, enrolment, payload)
        if answer is not None:
            await self._welcome(enrolment, answer)
            return
        await asyncio.to_thread(self._access.keep)  # a code that died has no login any more
        if self._config.enrolment.confirm == "operator":
            _log.info("an enrolment was not taken, or waits: `mpacs-gateway devices` shows what is to be confirmed")
        else:
            _log.warning("an enrolment was not taken")

    async def _welcome(self, enrolment: str, answer: bytes) -> None:
        # The device's own credential stands before it hears of it.
        await asyncio.to_thread(self._access.keep)
        try:
            await self._link.publish(topics.enrol_response(self._config.site, enrolment), answer)
            await self._herald.look()
            _log.info("a device was enrolled")
        except LinkDown:
            _log.warning("an enrolment was interrupted")

    async def _answer_confirmed(self) -> None:
        for one in await asyncio.to_thread(self._registry.enrolments.answer_confirmed):
            await self._welcome(one.enrolment, one.payload)

    def _lost(self, object_id: str) -> None:
        """Its file is gone: it is made again, under another id."""
        self._lost_objects.add(object_id)
        self._requests.forget_grants()
        self._wake.set()

    def _loop_call(self, function: Callable[..., None], *arguments: str) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function, *arguments)

    # ── what changed ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), _TICK_S)
        self._wake.clear()
        await asyncio.to_thread(self._tick)
        for turns in self._turns:
            turns.wake()
        if self._link.connected.is_set():
            if self._greeted != self._connections:
                await self._greet()
            await self._answer_confirmed()
            await self._herald.look()
            if not await self._herald.catch_up(_CATCH_UP_S):
                self._wake.set()
        await asyncio.sleep(_BREATH_S)

    def _tick(self) -> None:
        now = time.time()
        before = now - self._config.delivery.settle_s
        with self._engine.connect() as connection:
            must_settle = deliveries.is_quiet_and_unsettled(connection, before)
            must_end = grants.ended(connection, int(now * 1000))
        lost = frozenset(self._lost_objects)
        if must_settle or must_end or lost:
            with self._engine.begin() as connection:
                arrivals.settle_quiet(connection, self._config.delivery.settle_s, now)
                deliveries.lose_objects(connection, lost)
                grants.sweep(connection, int(now * 1000))
            for object_id in lost:
                self._store.remove(object_id)
            self._lost_objects -= lost
        self._access.keep()

    async def _heads(self) -> None:
        await asyncio.sleep(_TICK_S)
        if self._link.connected.is_set():
            await self._herald.heads_due()

    async def _tidy(self) -> None:
        await asyncio.sleep(_TIDY_S)
        await asyncio.to_thread(self._sweep)
        await asyncio.to_thread(self._chores)
        if self._link.connected.is_set():
            await self._herald.tidy()

    async def _keep_store(self) -> None:
        await asyncio.to_thread(self._evictor.step)
        await asyncio.sleep(_STORE_S)

    async def _keep_anchored(self) -> None:
        await asyncio.to_thread(self.anchor)
        await asyncio.sleep(_TICK_S)

    def _sweep(self) -> None:
        self._evictor.note()
        self._replay.sweep()
        self._asks.uploads.sweep()
        with self._engine.begin() as connection:
            people.sweep_invites(connection, time.time())
            devices.sweep_waiting(connection)

    async def _tell(self, study_id: int) -> None:
        try:
            await self._herald.tell(study_id)
        except LinkDown:
            _log.info("the broker went away; devices hear of this when they ask")
