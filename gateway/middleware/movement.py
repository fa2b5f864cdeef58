"""One movement of a patient between beds: what every way in makes of what it was told, before anybody judges it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Change(StrEnum):
    """What happened; HL7 v2 chapter 3 has an ADT event for each."""

    ADMIT = "admit"
    TRANSFER = "transfer"
    DISCHARGE = "discharge"
    UPDATE = "update"
    MERGE = "merge"
    CANCEL_ADMIT = "cancel-admit"
    CANCEL_TRANSFER = "cancel-transfer"
    CANCEL_DISCHARGE = "cancel-discharge"

    @property
    def cancels(self) -> Change | None:
        """What it takes back; None if it is no cancellation."""
        return _CANCELS.get(self)


_CANCELS = {
    Change.CANCEL_ADMIT: Change.ADMIT,
    Change.CANCEL_TRANSFER: Change.TRANSFER,
    Change.CANCEL_DISCHARGE: Change.DISCHARGE,
}


@dataclass(frozen=True, slots=True)
class Movement:
    """``at`` is when it happened, in POSIX seconds: movements are put in order by it, however late they come."""

    change: Change
    PatientID: str
    IssuerOfPatientID: str
    at: float
    ward: str = ""
    """Of admissions and transfers: the ward's identifier or name, as profiles have it."""
    bed: str = ""
    PatientName: str = ""
    """As a DICOM PN; empty: not said."""
    authority: str = ""
    """Who gives out the PatientID, where the sender said so and the issuer is not used."""
    into: tuple[str, str] = ("", "")
    """Of a merge: PatientID and issuer under which the patient is known from now on."""
    source: str = ""
    """How it came: ``command``, ``csv`` or ``hl7``."""
    message: str = ""
    """What names the message at its sender, so that one that is sent again is known; empty: nothing does."""
