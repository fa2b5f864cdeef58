"""What a recipient is told of a study that it has by a share alone: who gave it, until when. Pure."""

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gateway.management.census import People
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.grants import Grant
from gateway.management.index.people import Profile
from gateway.management.private_block import SHARED_BY, SHARED_UNTIL, with_elements
from gateway.management.rights import is_masked
from gateway.management.standing import holds

_MOST = 8
_MOST_CHARACTERS = 64
"""Of an LO (PS3.5 section 6.2)."""


@dataclass(frozen=True, slots=True, order=True)
class Loan:
    """``until`` in milliseconds, 0: without an end."""

    by: str
    until: int


def loans(profile: Profile, by_right: Collection[Profile], given: Iterable[Grant], there: People) -> tuple[Loan, ...]:
    """By whom the profile has a study; nothing where it has it by its own right, or is told no names."""
    if is_masked(profile.kind) or any(one.reference == profile.reference for one in by_right):
        return ()
    mine = [grant for grant in given if grant.recipient == profile.reference and holds(grant, by_right, there)]
    givers = [(there.by_reference[grant.giver], grant.until) for grant in mine]
    return tuple(sorted(Loan(giver.name or giver.identifier, until) for giver, until in givers))[:_MOST]


def marked(study: StudyRow, given: tuple[Loan, ...]) -> StudyRow:
    """The study with the marks of its loans."""
    if not given:
        return study
    givers = [one.by.replace("\\", " ")[:_MOST_CHARACTERS] for one in given]
    untils = [_moment(one.until) for one in given]
    return with_elements(study, {SHARED_BY: {"vr": "LO", "Value": givers}, SHARED_UNTIL: {"vr": "DT", "Value": untils}})


def _moment(until: int) -> str | None:
    return f"{dt.datetime.fromtimestamp(until / 1000, dt.UTC):%Y%m%d%H%M%S}+0000" if until else None
