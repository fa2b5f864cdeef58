"""What devices' requests leave in the audit trail: who got what, and what was refused. What writes blocks.

Devices ask for the same again and again; a line is written for what is new: a study's layer that is taken up, a lease
that is renewed for the first time in an hour. Refusals are bounded, or a hostile device could fill the disk with them.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

from sqlalchemy.engine import Connection, Engine

from gateway.audit import Event, Kind, Outcome
from gateway.management.index import arrivals_read, deliveries, people, told, trail, uses
from gateway.management.index.people import Device, Profile

_REMEMBERED = 20_000
_HOUR_S = 3600.0
_LEASE_EVERY_S = _HOUR_S
_REFUSALS_AN_HOUR = 100


class Accounts:
    """One for a gateway's requests."""

    def __init__(self, engine: Engine) -> None:
        """Nothing was asked yet."""
        self._engine = engine
        self._seen: OrderedDict[Hashable, float] = OrderedDict()
        self._refusals: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._remembering = threading.Lock()

    def renewed(self, device: Device, profile: Profile) -> None:
        """A lease was given."""
        if self._is_new(("lease", device.device), _LEASE_EVERY_S):
            self._write(device, profile, "lease-renewed", "success", None, "", "")

    def is_first(self, device: Device, study_id: int, layer: str) -> bool:
        """Whether it asks for a layer of a study for the first time; does not block, since each Want asks this."""
        return self._is_new((device.device, study_id, layer), float("inf"))

    def taken_up(self, device: Device, profile: Profile, study_id: int, layer: str) -> None:
        """It begins to take a layer of a study."""
        self._write(device, profile, "retrieve", "success", study_id, layer, "")

    def not_given(self, device: Device, profile: Profile, object_id: str) -> None:
        """It wanted an object that is not for it, or that there is not: once for each, unless that was evicted."""
        if self._refusals_left(device.device) and self._is_new((device.device, object_id), float("inf")):
            with self._engine.connect() as connection:
                found = deliveries.object_by_id(connection, object_id)
                if found is not None and uses.is_evicted(connection, object_id):
                    return
            self._may_note_refusal(device.device)
            study_id, layer = (found.study_id, found.layer) if found is not None else (None, "")
            self._write(device, profile, "retrieve", "refused", study_id, layer, "")

    def received(
        self, device: Device, profile: Profile, study_ref: str, layer: str, event: str, outcome: Outcome = "success"
    ) -> None:
        """A receipt: it has, or somebody opened, a layer of an announced study."""
        if outcome == "refused" and not self._may_note_refusal(device.device):
            return
        with self._engine.connect() as connection:
            study_id = told.study_announced(connection, device.reference, study_ref)
        kind: Kind = "accessed" if event == "opened" else "transferred"
        self._write(device, profile, kind, outcome, study_id, layer, "")

    def asked(
        self, device: Device, profile: Profile, kind: Kind, outcome: Outcome, study_ref: str, what: str, reason: str
    ) -> None:
        """A request was carried out or refused; ``study_ref`` is one of the announced, or empty."""
        if outcome == "refused" and not self._may_note_refusal(device.device):
            return
        with self._engine.connect() as connection:
            study_id = told.study_announced(connection, device.reference, study_ref) if study_ref else None
        self._write(device, profile, kind, outcome, study_id, what, reason)

    def note(
        self, device: Device, profile: Profile, kind: Kind, outcome: Outcome, study: str, whom: str, what: str
    ) -> None:
        """A request about ``study`` (StudyInstanceUID) or about none; ``whom`` is a profile's reference, or empty."""
        if outcome == "refused" and not self._may_note_refusal(device.device):
            return
        with self._engine.begin() as connection:
            row = arrivals_read.study(connection, study) if study else None
            other = people.profile_by_reference(connection, whom) if whom else None
            event = Event(
                kind,
                f"{profile.kind}:{profile.identifier}",
                outcome,
                device=device.device,
                whom=f"{other.kind}:{other.identifier}" if other is not None else "",
                patient=row.PatientID if row is not None else "",
                study=study,
                what=what,
            )
            trail.record(connection, event)

    def _is_new(self, key: Hashable, for_s: float) -> bool:
        now = time.monotonic()
        with self._remembering:
            at = self._seen.get(key)
            if at is not None and now - at < for_s:
                return False
            self._seen[key] = now
            self._seen.move_to_end(key)
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return True

    def _refusals_left(self, device: str) -> bool:
        with self._remembering:
            began, count = self._refusals.get(device, (0.0, 0))
        return count < _REFUSALS_AN_HOUR or time.monotonic() - began > _HOUR_S

    def _may_note_refusal(self, device: str) -> bool:
        now = time.monotonic()
        with self._remembering:
            began, count = self._refusals.pop(device, (now, 0))
            if now - began > _HOUR_S:
                began, count = now, 0
            self._refusals[device] = (began, count + 1)
            if len(self._refusals) > _REMEMBERED:
                self._refusals.popitem(last=False)
        return count < _REFUSALS_AN_HOUR

    def _write(
        self,
        device: Device,
        profile: Profile,
        kind: Kind,
        outcome: Outcome,
        study_id: int | None,
        what: str,
        reason: str,
    ) -> None:
        with self._engine.begin() as connection:
            patient, uid = _named(connection, study_id)
            who = f"{profile.kind}:{profile.identifier}"
            event = Event(
                kind, who, outcome, device=device.device, patient=patient, study=uid, what=what, reason=reason
            )
            trail.record(connection, event)


def _named(connection: Connection, study_id: int | None) -> tuple[str, str]:
    study = arrivals_read.study_by_id(connection, study_id) if study_id is not None else None
    return (study.PatientID, study.StudyInstanceUID) if study is not None else ("", "")
