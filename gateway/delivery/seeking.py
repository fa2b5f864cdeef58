"""Searches of devices: what is here and what each PACS has, as far as the asker may know of it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy.engine import Engine

from gateway.management import searching
from gateway.management.census import Census
from gateway.management.index import movements
from gateway.management.index.people import Device, Profile
from gateway.management.searching import Line
from gateway.middleware.pacs.client import PacsClient
from gateway.middleware.pacs.errors import PacsError, QueryInvalid
from gateway.middleware.pacs.query import Hit, Query
from wire import asks

_FOUND_KEPT_S = 60.0
_FOUND_KEPT = 64
_SERIES_ASKED = 50
_BEAT_S = 0.5
"""A PACS takes the longer the more it finds, of whomever: answers leave on a beat, so that their time tells nothing."""


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    hits: list[Hit]
    silent: list[str]


def until_beat(elapsed_s: float) -> float:
    """Seconds from then to the next beat."""
    return -elapsed_s % _BEAT_S


class Seeking:
    """One for a gateway; remembers for a minute what the PACS answered."""

    def __init__(self, engine: Engine, census: Census, pacs: PacsClient, names: Sequence[str]) -> None:
        """``names`` of all PACS that the site has."""
        self._engine = engine
        self._census = census
        self._pacs = pacs
        self._names = names
        self._found: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()

    async def search(self, device: Device, profile: Profile, search: asks.Search) -> asks.Found:
        """A page of what matches; QueryInvalid if the keys are none."""
        began = time.monotonic()
        hits, silent = await self._hits(device, profile, search)
        # Who may know of what is asked for each page, whatever the PACS are asked for only once.
        own = await asyncio.to_thread(self._own, profile, search)
        theirs = await asyncio.to_thread(self.theirs, profile, hits)
        page = searching.page_of(searching.merged(own, theirs)[: searching.MOST], search.page, silent)
        if self._names:
            await asyncio.sleep(until_beat(time.monotonic() - began))
        return page

    async def _hits(self, device: Device, profile: Profile, search: asks.Search) -> tuple[list[Hit], list[str]]:
        """What the PACS answered, and which did not; for further pages what they did a moment ago."""
        key = (device.device, msgspec.json.encode(msgspec.structs.replace(search, recipient=b"", page=0)))
        kept = self._found.pop(key, None)
        if kept is None or search.page == 0 or kept.until < time.monotonic():
            query = searching.query_of(profile, search)
            hits, silent = await self.ask(query, search.BodyPartExamined)
            kept = _Kept(time.monotonic() + _FOUND_KEPT_S, hits, silent)
        self._found[key] = kept
        if len(self._found) > _FOUND_KEPT:
            self._found.popitem(last=False)
        return kept.hits, kept.silent

    def _own(self, profile: Profile, search: asks.Search) -> list[Line]:
        with self._engine.connect() as connection:
            there = self._census.look_within(connection)
            return searching.own_lines(connection, there, profile, search, int(time.time() * 1000))

    def theirs(self, profile: Profile, hits: Sequence[Hit]) -> list[Hit]:
        """Those of the hits that are for the profile."""
        with self._engine.connect() as connection:
            there = self._census.look_within(connection)
            located = movements.located(connection)
            return [hit for hit in hits if searching.is_for(there, located, profile, hit.attributes)]

    async def ask(self, query: Query | None, body_part: str = "") -> tuple[list[Hit], list[str]]:
        """Hits, and the PACS that did not answer."""
        if query is None or not self._names:
            return [], []
        try:
            found = await self._pacs.find(query)
            hits = found.hits
            if body_part.strip("*"):
                hits = [hit for hit in hits[:_SERIES_ASKED] if await self._has_part(hit, body_part)]
        except QueryInvalid:
            raise
        except PacsError:
            return [], list(self._names)
        return hits, [one.pacs for one in found.away]

    async def _has_part(self, hit: Hit, body_part: str) -> bool:
        """A study's query does not say which part of the body it shows: its series' do."""
        uid = searching.Line(hit.attributes).uid
        query = Query("SERIES", {"StudyInstanceUID": uid, "BodyPartExamined": body_part}, 1)
        return bool((await self._pacs.find(query, [hit.pacs])).hits)
