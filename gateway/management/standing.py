"""In which relation a profile stands to a study now: by profiles, terms, header, census, release and shares."""

from collections.abc import Iterable

from sqlalchemy.engine import Connection

from gateway.management.access import Relation
from gateway.management.census import People
from gateway.management.index import grants, movements
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.grants import Grant
from gateway.management.index.people import Profile
from gateway.management.routing import canonical
from gateway.management.whereabouts import relations


def relation_of(connection: Connection, there: People, profile: Profile, study: StudyRow, now_ms: int) -> Relation:
    """The strongest; ``shared`` where it has the study only because somebody gave it, see ``holds``."""
    located = movements.located(connection, canonical(study.PatientID))
    found = relations(study, there.rules, located)
    for one, relation in found:
        if one.reference == profile.reference:
            return relation
    by_right = [one for one, _ in found]
    for grant in grants.of_study(connection, study.id, now_ms):
        if grant.recipient == profile.reference and holds(grant, by_right, there):
            return "shared"
    return "none"


def holds(grant: Grant, by_right: Iterable[Profile], there: People) -> bool:
    """Whether a grant that has not ended is a share that counts now.

    It ends with the profile of whoever gave it; and, unless the site has it otherwise, it rests while that one has the
    study itself no more. ``by_right`` are those who have it by their own right.
    """
    if grant.is_own or grant.giver not in there.by_reference or grant.recipient not in there.by_reference:
        return False
    return there.access.shares_outlive_giver or any(one.reference == grant.giver for one in by_right)
