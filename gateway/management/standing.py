"""In which relation a profile stands to a study now: by profiles, terms, header, census, release and shares."""

from sqlalchemy.engine import Connection

from gateway.management.access import Relation
from gateway.management.census import People
from gateway.management.index import grants, movements
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.people import Profile
from gateway.management.routing import canonical
from gateway.management.whereabouts import relations


def relation_of(connection: Connection, there: People, profile: Profile, study: StudyRow, now_ms: int) -> Relation:
    """The strongest; ``shared`` where it has the study only because somebody gave it who is still there."""
    located = movements.located(connection, canonical(study.PatientID))
    for one, relation in relations(study, there.rules, located):
        if one.reference == profile.reference:
            return relation
    for grant in grants.of_study(connection, study.id, now_ms):
        if grant.recipient == profile.reference and not grant.is_own and grant.giver in there.by_reference:
            return "shared"
    return "none"
