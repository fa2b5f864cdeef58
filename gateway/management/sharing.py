"""Who else gets a study: shares, who may be shared with, and who has read it. All methods block on the index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

from sqlalchemy.engine import Connection, Engine

from gateway.management import matching
from gateway.management.access import Op, judge
from gateway.management.census import Census, People
from gateway.management.index import arrivals_read, grants, told
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.grants import Grant
from gateway.management.index.people import Profile
from gateway.management.standing import holds, relation_of
from wire import asks
from wire.limits import MAX_HITS, MAX_READ
from wire.messages import Layer
from wire.names import decode_reference, encode_reference

Verdict = Literal["done", "forbidden", "busy"]


def with_shared(
    by_right: Iterable[Profile], given: Iterable[Grant], there: People, announced: Iterable[Profile] | None = None
) -> list[Profile]:
    """Who has a study by their own right, and with whom it is shared; each once, in the order of all profiles.

    ``announced``: those of ``by_right`` to whom it is told of by that right; all, unless given.
    """
    by_right = list(by_right)
    shared = {grant.recipient for grant in given if holds(grant, by_right, there)}
    references = {profile.reference for profile in (by_right if announced is None else announced)} | shared
    return [profile for profile in there.profiles if profile.reference in references]


def may(
    op: Op, connection: Connection, there: People, profile: Profile, study: StudyRow, layer: Layer | None = None
) -> bool:
    """Whether the profile may do this with the study, or a layer of it, as it stands to it now."""
    return judge(profile.kind, op, relation_of(connection, there, profile, study, _now_ms()), layer) is None


class Sharing:
    """One for the gateway."""

    def __init__(self, engine: Engine, census: Census) -> None:
        """What is shared stands in the index."""
        self._engine = engine
        self._census = census

    def share(self, profile: Profile, share: asks.Share) -> Verdict:
        """Announce a study to another, too."""
        now = _now_ms()
        if 0 < share.until <= now:
            return "forbidden"
        return self._change(
            profile,
            share,
            lambda connection, study, to: grants.put(connection, study, to, profile.reference, share.until, now),
        )

    def unshare(self, profile: Profile, unshare: asks.Unshare) -> Verdict:
        """Take back what this profile shared; also where it shared nothing of what it has."""
        return self._change(
            profile, unshare, lambda connection, study, to: grants.remove(connection, study, to, profile.reference)
        )

    def _change(
        self,
        profile: Profile,
        ask: asks.Share | asks.Unshare,
        change: Callable[[Connection, int, str], bool],
    ) -> Verdict:
        to = encode_reference(ask.to)
        with self._engine.begin() as connection:
            there = self._census.look_within(connection)
            other = there.by_reference.get(to)
            study = arrivals_read.study(connection, ask.study)
            if study is None or other is None or other.kind != ask.to_kind or not is_colleague(profile, other):
                return "forbidden"
            # Who has the study no more may still take back what it gave.
            if not may("share" if isinstance(ask, asks.Share) else "unshare", connection, there, profile, study):
                return "forbidden"
            if change(connection, study.id, to):
                return "done"
            if isinstance(ask, asks.Share):
                return "busy"
            # Of what it may not know of, it hears what it would of what there is not.
            return "done" if may("want", connection, there, profile, study) else "forbidden"

    def directory(self, profile: Profile, ask: asks.Directory) -> asks.People:
        """With whom this profile may share."""
        found = [
            other
            for other in self._census.look().profiles
            if is_colleague(profile, other) and _is_named(ask.name, other)
        ]
        found.sort(key=lambda one: (one.kind, one.name or one.identifier, one.identifier))
        page = found[ask.page * MAX_HITS : (ask.page + 1) * MAX_HITS]
        return asks.People(
            people=[
                asks.Person(one.kind, decode_reference(one.reference), plain(one.identifier), plain(one.name))
                for one in page
            ],
            more=len(found) > (ask.page + 1) * MAX_HITS,
        )

    def receipts(self, profile: Profile, ask: asks.Receipts) -> asks.Account | None:
        """Who received and opened a study; None where this profile has it not by its own right."""
        with self._engine.connect() as connection:
            there = self._census.look_within(connection)
            study = arrivals_read.study(connection, ask.study)
            if study is None or not may("receipts", connection, there, profile, study):
                return None
            noted = told.receipts_of(connection, study.id, MAX_READ)
        read = []
        for one in noted:
            reader = there.by_reference.get(one.recipient)
            if reader is not None:
                at = int(one.at * 1000)
                read.append(
                    asks.Read(reader.kind, plain(reader.identifier), plain(reader.name), one.layer, one.event, at)
                )
        return asks.Account(read=read)


def is_colleague(profile: Profile, other: Profile) -> bool:
    """Whether a doctor may share with the other: with doctors and wards. Patients get what is released to them."""
    return profile.kind == "doctor" and other.kind != "patient" and other.reference != profile.reference


def _is_named(pattern: str, profile: Profile) -> bool:
    return not pattern or matching.is_named(pattern, [profile.name]) or matching.is_named(pattern, [profile.identifier])


def plain(text: str) -> str:
    """As the wire's texts are: one line, bounded."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:256]


def _now_ms() -> int:
    return int(time.time() * 1000)
