"""Who attends whom for a time, what is released to patients, and access in an emergency. All methods block."""

import time
from dataclasses import replace
from typing import Literal

from sqlalchemy.engine import Connection, Engine

from gateway.audit import Event
from gateway.config import Access
from gateway.management.index import arrivals_read, people, releases, terms, trail
from gateway.management.index.people import Profile
from gateway.management.index.terms import Term
from gateway.management.registry import NotTaken, Unknown, check_patient

Verdict = Literal["done", "forbidden"]
_MOST_REASON_CHARACTERS = 400


class Relations:
    """One for whoever does it: ``actor`` is named in the audit trail."""

    def __init__(self, engine: Engine, access: Access, actor: str) -> None:
        """``access`` says how long an emergency lasts."""
        self._engine = engine
        self._access = access
        self._actor = actor

    # ── terms ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def attend(self, reference: str, patient: str, begins: float, ends: float | None) -> Term:
        """A doctor or ward attends a patient for a time; Unknown without the profile, NotTaken if it cannot be."""
        if ends is not None and ends <= begins:
            raise NotTaken("it would end before it begins")
        term = Term(check_patient(patient), "attending", begins, ends)
        with self._engine.begin() as connection:
            profile = _attending(connection, reference)
            self._put(connection, profile, term)
        return term

    def leave(self, reference: str, patient: str) -> None:
        """It attends the patient no more, whether it did for a time or for good; NotTaken if it did not."""
        patient = check_patient(patient)
        with self._engine.begin() as connection:
            profile = _attending(connection, reference)
            ended = terms.end(connection, profile.reference, patient, time.time())
            if patient in profile.attends:
                left = tuple(one for one in profile.attends if one != patient)
                people.put_profile(connection, replace(profile, attends=left))
                ended += 1
            if not ended:
                raise NotTaken(
                    "it does not attend this patient by name; `mpacs-gateway profile list` shows whom it does"
                )
            people.bump(connection, "profiles")
            whom = f"{profile.kind}:{profile.identifier}"
            trail.record(connection, Event("profile-changed", self._actor, whom=whom, patient=patient, what="left"))

    def _put(self, connection: Connection, profile: Profile, term: Term) -> None:
        terms.put(connection, profile.reference, term)
        people.bump(connection, "profiles")
        is_emergency = term.role == "emergency"
        trail.record(
            connection,
            Event(
                "break-glass" if is_emergency else "profile-changed",
                self._actor,
                whom=f"{profile.kind}:{profile.identifier}",
                patient=term.patient,
                what=_span(term),
                reason=term.reason,
            ),
        )

    # ── in an emergency ───────────────────────────────────────────────────────────────────────────────────────────

    def break_glass(self, profile: Profile, patient: str, reason: str) -> Term:
        """A doctor attends any patient for the hours that the site sets. NotTaken without a reason.

        It is no secret: `status` and `profile list` show it while it lasts, the audit trail for good.
        """
        reason = " ".join(reason.split())[:_MOST_REASON_CHARACTERS]
        if profile.kind != "doctor" or not reason:
            raise NotTaken("emergency access is for doctors, who give a reason")
        now = time.time()
        term = Term(check_patient(patient), "emergency", now, now + self._access.break_glass_h * 3600, reason)
        with self._engine.begin() as connection:
            self._put(connection, profile, term)
        return term

    # ── release ───────────────────────────────────────────────────────────────────────────────────────────────────

    def release(self, StudyInstanceUID: str, held: bool = False) -> bool:
        """Let the study's patient have it, or (``held``) not any more; False if it was so already; or Unknown."""
        with self._engine.begin() as connection:
            study = arrivals_read.study(connection, StudyInstanceUID)
            if study is None:
                raise Unknown("there is no such study; `mpacs-gateway studies` shows all")
            if held:
                changed = releases.hold(connection, study.id)
            else:
                changed = releases.release(connection, study.id, self._actor, time.time())
            if changed:
                what = "held back" if held else "released"
                event = Event("released", self._actor, patient=study.PatientID, study=study.StudyInstanceUID, what=what)
                trail.record(connection, event)
            return changed


def _attending(connection: Connection, reference: str) -> Profile:
    found = people.profile_by_reference(connection, reference)
    if found is None:
        raise Unknown("there is no such profile: add it with `mpacs-gateway profile add`")
    if found.kind == "patient":
        raise NotTaken("a patient attends nobody: terms are for doctors and wards")
    return found


def _span(term: Term) -> str:
    def iso(at: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(at))

    return f"{iso(term.begins)} to {iso(term.ends)}" if term.ends is not None else f"from {iso(term.begins)}"
