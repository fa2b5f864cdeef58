"""The census: takes movements of patients between beds, and says who lies where. All methods block on the index.

(`census.py` counts the gateway's own people: profiles and devices.)
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection, Engine

from gateway.audit import Event
from gateway.management.index import movements, people, trail
from gateway.management.index.counting import increment
from gateway.management.index.movements import Inpatient
from gateway.management.registry import NotTaken, check_patient, check_text
from gateway.management.routing import Rules, join_patient, split_patient
from gateway.management.stays import NOWHERE, Place
from gateway.middleware.movement import Change, Movement

_ONE_AT_A_TIME = "census"
"""A counter whose row stays locked until the commit: on PostgreSQL two movements could else pass each other."""
_AHEAD_S = 86400.0
"""A sender's clock may be wrong by so much, or its time zone; more is no clock."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a movement changed. ``note`` says what an operator should know of it; it holds no identity."""

    before: Place
    after: Place
    is_new: bool = True
    """False: the same was said before, and nothing was written."""
    note: str = ""


class Occupancy:
    """One for a process; ``wake`` tells the core that studies are for others now."""

    def __init__(
        self,
        engine: Engine,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
        actor: str = "gateway",
    ) -> None:
        """``actor`` is who says what nobody else is named for, for the audit trail."""
        self._engine = engine
        self._actor = actor
        self._wake = wake
        self._clock = clock

    def take(self, movement: Movement, is_told: bool = False, actor: str = "") -> Moved:
        """Enter a movement; idempotent.

        Args:
            movement: as it was told.
            is_told: by a person who can be asked back: what fits nobody's state is refused, not noted.
            actor: who says so.

        Raises:
            NotTaken: it cannot be; the text says why, without any identity.
        """
        now = self._clock()
        movement = _checked(movement, now)
        if movement.change is Change.MERGE:
            return self._merge(movement, actor)
        with self._engine.begin() as connection:
            increment(connection, _ONE_AT_A_TIME)
            _check_authority(connection, movement)
            before = _place(connection, movement)
            if is_told:
                _check_told(movement, before)
            if movements.is_known(connection, movement) or _says_nothing(movement, before):
                return Moved(before or NOWHERE, before or NOWHERE, is_new=False)
            was, after = movements.add(connection, movement, now)
            trail.record(connection, _event(movement, actor or self._actor))
            note = _note(connection, movement, was, after)
        self._wake()
        return Moved(was, after, note=note)

    def _merge(self, movement: Movement, actor: str) -> Moved:
        """The old identifier lies nowhere any more; the new one does in its place, if it did not lie somewhere.

        Studies keep their PatientID: those of the old one leave the wards until the PACS sends them under the new.
        """
        with self._engine.connect() as connection:
            before = _place(connection, movement) or NOWHERE
            new = replace(movement, PatientID=movement.into[0], IssuerOfPatientID=movement.into[1], into=("", ""))
            is_free = _place(connection, new) in (None, NOWHERE)
        if before == NOWHERE:
            return Moved(before, before, is_new=False)
        if is_free:
            # First, and each once: where a cut comes between the two, the sender's next try ends the other.
            self.take(replace(new, change=Change.ADMIT, ward=before.ward, bed=before.bed), actor=actor)
        return self.take(replace(movement, change=Change.DISCHARGE, into=("", "")), actor=actor)

    def complete(self, named: Collection[tuple[str, str]], at: float, source: str) -> list[Inpatient]:
        """A list named all who lie somewhere: whoever else does is discharged; returns these.

        Args:
            named: PatientID and issuer, in canonical form.
            at: POSIX seconds.
            source: of the movements.
        """
        over = [one for one in self.inpatients() if (one.PatientID, one.IssuerOfPatientID) not in named]
        for one in over:
            self.take(Movement(Change.DISCHARGE, one.PatientID, one.IssuerOfPatientID, at, source=source))
        return over

    def inpatients(self, at: float | None = None) -> list[Inpatient]:
        """Who lies where now, or lay at a moment (POSIX seconds), by ward and bed."""
        with self._engine.connect() as connection:
            return movements.inpatients(connection, at)

    def history(self, patient: str) -> list[Inpatient]:
        """The stays of ``ID`` or ``ID^^^ISSUER``, the earliest first. Raises NotTaken."""
        with self._engine.connect() as connection:
            return movements.history(connection, *split_patient(check_patient(patient)))

    def wards_without_profile(self, wards: Collection[str]) -> set[str]:
        """Those that no ward profile has for its identifier or name: nobody hears of who lies there."""
        with self._engine.connect() as connection:
            return _without_profile(connection, wards)


def _checked(movement: Movement, now: float) -> Movement:
    """In canonical form; NotTaken where a field cannot be what it says."""
    joined = (
        f"{movement.PatientID}^^^{movement.IssuerOfPatientID}" if movement.IssuerOfPatientID else movement.PatientID
    )
    patient, issuer = split_patient(check_patient(joined))
    ward, bed = check_text("the ward", movement.ward), check_text("the bed", movement.bed)
    if movement.change in (Change.ADMIT, Change.TRANSFER) and not ward:
        raise NotTaken(f"a patient is {_DONE[movement.change]} to a ward: name it")
    if movement.at > now + _AHEAD_S:
        raise NotTaken("it is said to happen more than a day from now: check the sender's clock")
    if movement.at < 0:
        raise NotTaken("its time is before 1970: check the sender's clock")
    into = split_patient(check_patient(join_patient(*movement.into))) if movement.change is Change.MERGE else ("", "")
    return replace(
        movement,
        into=into,
        PatientID=patient,
        IssuerOfPatientID=issuer,
        # Nothing stands ahead of what comes next, whatever a sender's clock says.
        at=min(movement.at, now),
        ward=ward,
        bed=bed,
        PatientName=check_text("the name", movement.PatientName),
        authority=check_text("the assigning authority", movement.authority),
    )


_DONE = {Change.ADMIT: "admitted", Change.TRANSFER: "transferred"}


def _place(connection: Connection, movement: Movement) -> Place | None:
    located = movements.located(connection, movement.PatientID)
    return located.exactly(movement.PatientID, movement.IssuerOfPatientID)


def _check_authority(connection: Connection, movement: Movement) -> None:
    """Two patients must not become one because two authorities give out the same PatientIDs."""
    known = movements.authorities_of(connection, movement.PatientID, movement.IssuerOfPatientID)
    if movement.authority and known and movement.authority not in known:
        raise NotTaken(
            "another assigning authority gives out this PatientID: set hl7.authority to the one that counts here,"
            " or hl7.issuer to keep"
        )


def _says_nothing(movement: Movement, before: Place | None) -> bool:
    """An update of somebody who lies nowhere; or a list, or a person, that says again where somebody lies."""
    if movement.change is Change.UPDATE:
        return before in (None, NOWHERE)
    is_here = movement.change in _DONE and before == Place(movement.ward, movement.bed)
    return is_here and movement.source != "hl7"


def _check_told(movement: Movement, before: Place | None) -> None:
    lies = before is not None and before != NOWHERE
    if movement.change is Change.ADMIT and before is not None and lies and before.ward != movement.ward:
        raise NotTaken("the patient lies in another ward: use `mpacs-gateway transfer`")
    if movement.change is Change.TRANSFER and not lies:
        raise NotTaken("the patient lies in no ward: use `mpacs-gateway admit`")
    if movement.change is Change.DISCHARGE and not lies:
        raise NotTaken("the patient lies in no ward; `mpacs-gateway census list` shows who does")


def _event(movement: Movement, actor: str) -> Event:
    where = " ".join(filter(None, (str(movement.change), movement.ward, movement.bed)))
    return Event(
        "patient-moved",
        actor,
        patient=join_patient(movement.PatientID, movement.IssuerOfPatientID),
        what=f"{where} at {dt.datetime.fromtimestamp(movement.at, dt.UTC).isoformat(timespec='seconds')}",
    )


def _note(connection: Connection, movement: Movement, was: Place, after: Place) -> str:
    if movement.ward and _without_profile(connection, [movement.ward]):
        return "no ward profile has this identifier or name: no display hears of it"
    if movement.change is not Change.UPDATE and was == after and movement.ward not in ("", after.ward):
        return "it happened before what is known already, which stands"
    return ""


def _without_profile(connection: Connection, wards: Collection[str]) -> set[str]:
    rules = Rules(people.all_profiles(connection, "ward"))
    return {ward for ward in wards if not rules.wards_named(ward)}


def as_rows(found: Sequence[Inpatient]) -> list[dict[str, object]]:
    """As ``mpacs-gateway census --json`` prints them; times stay POSIX seconds."""
    return [
        {
            "PatientID": one.PatientID,
            "IssuerOfPatientID": one.IssuerOfPatientID,
            "PatientName": one.PatientName,
            "ward": one.stay.ward,
            "bed": one.stay.bed,
            "begins": one.stay.begins,
            "ends": one.stay.ends,
        }
        for one in found
    ]
