"""Whether somebody may send a file for a patient and a study. Reads the index."""

from __future__ import annotations

import time

from sqlalchemy.engine import Connection

from gateway.management.access import judge
from gateway.management.census import People
from gateway.management.index import arrivals_read, movements
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.people import Profile
from gateway.management.routing import canonical
from gateway.management.sharing import may
from gateway.management.whereabouts import relations
from wire import asks


def may_upload(connection: Connection, there: People, profile: Profile, ask: asks.Upload) -> bool:
    """A study is one that is here, and this patient's; without a study the profile attends the patient."""
    patient, issuer = canonical(ask.PatientID), canonical(ask.IssuerOfPatientID)
    if ask.study:
        study = arrivals_read.study(connection, ask.study)
        if study is None or canonical(study.PatientID) != patient:
            return False
        return canonical(study.IssuerOfPatientID) in (issuer, "") and may("upload", connection, there, profile, study)
    now = time.time()
    new = StudyRow(0, "", patient, issuer, "", b"{}", True, now, now, 0, 0)
    located = movements.located(connection, patient)
    return any(
        one.reference == profile.reference and judge(profile.kind, "upload", relation) is None
        for one, relation in relations(new, there.rules, located)
    )
