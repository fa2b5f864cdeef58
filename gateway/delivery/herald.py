"""Tells recipients what changed: keys first, then announcements, then heads. Publishes what the announcer makes."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from sqlalchemy.exc import SQLAlchemyError

from gateway.config import Delivery
from gateway.delivery.health import Health
from gateway.delivery.link import Link, LinkDown
from gateway.management.announcer import Announcer, Outgoing
from gateway.management.census import Census, People
from gateway.management.index.people import Profile
from wire import topics

_log = logging.getLogger(__name__)

_HEAD_EARLY = 0.9
_HEAD_APART_S = 0.5
"""Heads of one recipient come no closer: a study of many objects must not cost a head for each."""
_RETRY_S = 60.0


class Herald:
    """One for the gateway. Where the link is down nothing is announced: it stays to be done."""

    def __init__(
        self, link: Link, announcer: Announcer, census: Census, site: str, settings: Delivery, health: Health
    ) -> None:
        """Before use set ``on_told`` (who may fetch what changed) and ``on_people`` (profiles or devices did)."""
        self._link = link
        self._announcer = announcer
        self._census = census
        self._site = site
        self._settings = settings
        self._health = health
        self.on_told: Callable[[], None] = lambda: None
        self.on_people: Callable[[People], None] = lambda people: None
        self._people = People((-1, -1), ())
        self._keyed: dict[str, tuple[Profile, frozenset[str]]] = {}
        self._revision = 0
        self._failed: set[int] = set()
        self._retry_at = 0.0
        self._dirty: dict[str, Profile] = {}
        self._headed_at: dict[str, float] = {}
        self._connection = 0
        self._telling = asyncio.Lock()
        self._heading = asyncio.Lock()
        self._looking = asyncio.Lock()

    def greet(self) -> None:
        """The link is up: no broker is trusted to have kept what is retained, so all of it is published again."""
        self._connection += 1
        self._people = People((-1, -1), ())
        self._keyed.clear()
        self._headed_at.clear()

    # ── people ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> None:
        """Follow profiles and devices: keys of whom a device came or went, then what is routed otherwise now."""
        async with self._looking:
            connection = self._connection
            there = await asyncio.to_thread(self._census.look)
            if there.version == self._people.version:
                return
            self.on_people(there)
            await self._publish_keys(there)
            ids = await asyncio.to_thread(self._announcer.outdated)
            if there.version[1] != self._people.version[1]:
                ids = sorted({*ids, *await asyncio.to_thread(self._announcer.misrouted)})
            otherwise = await asyncio.to_thread(self._announcer.told_otherwise)
            await self._tell_all(sorted({*ids, *otherwise}))
            await asyncio.to_thread(self._announcer.all_told)
            if connection != self._connection:
                raise LinkDown  # another connection came meanwhile, which knows nothing of this
            self._people = there
        await self.flush()

    async def _publish_keys(self, there: People) -> None:
        connection = self._connection
        for reference, devices in there.active.items():
            profile = there.by_reference[reference]
            if self._keyed.get(reference, (profile, frozenset()))[1] != devices:
                await self._publish(await asyncio.to_thread(self._announcer.keys, profile))
                if connection != self._connection:
                    raise LinkDown
                self._keyed[reference] = (profile, devices)
                self._dirty[reference] = profile
        for reference in [reference for reference in self._keyed if reference not in there.active]:
            profile, _ = self._keyed[reference]
            if reference in there.by_reference:
                await self._publish(await asyncio.to_thread(self._announcer.keys, profile))
            else:
                await self._withdraw(profile)
            del self._keyed[reference]

    async def _withdraw(self, profile: Profile) -> None:
        """Nobody is left for whom anything could be current: the broker forgets what it retained."""
        for topic in (
            topics.head(self._site, profile.kind, profile.reference),
            topics.keys(self._site, profile.kind, profile.reference),
        ):
            await self._link.publish(topic, b"", retain=True)
        self._dirty.pop(profile.reference, None)
        self._headed_at.pop(profile.reference, None)

    # ── studies ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def catch_up(self, budget_s: float) -> bool:
        """Announce the studies that changed since they were announced; False if ``budget_s`` was not enough for all."""
        ends = time.monotonic() + budget_s
        revision = self._revision
        while stale := await asyncio.to_thread(self._announcer.stale, revision):
            for study_id, at in stale:
                await self._tell(study_id)
                # Several may catch up at once; none goes back behind another.
                revision = max(revision, at)
                self._revision = max(self._revision, revision)
                if time.monotonic() > ends:
                    return False
        await self.flush()
        return True

    async def tell(self, study_id: int) -> None:
        """Announce one study, if the broker is there."""
        if self._link.connected.is_set():
            await self._tell(study_id)
            await self.flush()

    async def tidy(self) -> None:
        """What nothing else triggers: studies leave the window, and what failed is tried again."""
        await self._tell_all(await asyncio.to_thread(self._announcer.outdated))
        if time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + _RETRY_S
            await self._tell_all(sorted(self._failed))
        await self.flush()

    async def _tell_all(self, study_ids: Iterable[int]) -> None:
        for study_id in study_ids:
            await self._tell(study_id)
            await self.flush()

    async def _tell(self, study_id: int) -> None:
        part = "announcing"
        async with self._telling:
            try:
                changes = await asyncio.to_thread(self._announcer.refresh, study_id)
            except SQLAlchemyError:
                raise
            except Exception as error:
                # One study that cannot be announced must not hold up the others.
                self._failed.add(study_id)
                self._health.trouble(part, error)
                return
            self._failed.discard(study_id)
            if changes.outgoing or changes.heads:
                self.on_told()
            self._dirty |= changes.heads
            for outgoing in changes.outgoing:
                await self._publish(outgoing)
        if not self._failed:
            self._health.well(part)

    async def _publish(self, outgoing: Outgoing) -> None:
        await self._link.publish(outgoing.topic, outgoing.payload, outgoing.retain)

    # ── heads ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def flush(self) -> None:
        """Publish the heads of those for whom something changed, but not one closely behind another."""
        now = time.monotonic()
        for reference, profile in list(self._dirty.items()):
            if now - self._headed_at.get(reference, -_HEAD_APART_S) >= _HEAD_APART_S:
                self._dirty.pop(reference, None)
                if reference in self._keyed:
                    await self.head(profile)

    async def heads_due(self) -> None:
        """Heads fall due whether anything changed or not: silence must be noticed."""
        await self.flush()
        now = time.monotonic()
        for reference, (profile, _) in list(self._keyed.items()):
            due_s = self._settings.head_ward_s if profile.kind == "ward" else self._settings.head_s
            if now - self._headed_at.get(reference, float("-inf")) >= due_s * _HEAD_EARLY:
                await self.head(profile)

    async def head(self, profile: Profile) -> Outgoing:
        """Publish the recipient's next head and return it. One after the other, so that the last is the latest."""
        async with self._heading:
            head = await asyncio.to_thread(self._announcer.head, profile)
            self._headed_at[profile.reference] = time.monotonic()
            await self._publish(head)
        return head
