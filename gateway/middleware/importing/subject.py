"""Whose a picture or document is, and the UIDs that follow: the same file for the same study is one instance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from gateway.middleware.importing.stated import wrong_modality, wrong_text

_UUID_VERSION_8 = 0x8
_UUID_VARIANT = 0b10


@dataclass(frozen=True, slots=True)
class Subject:
    """A patient, and the study that things are added to; DICOM keywords and values."""

    PatientID: str
    IssuerOfPatientID: str = ""
    PatientName: str = ""
    PatientBirthDate: str = ""
    PatientSex: str = ""
    StudyInstanceUID: str = ""
    """Empty: a new study, whose UID follows from the patient and the first file."""
    study: dict[str, str] = field(default_factory=dict)
    """What is known of the study: StudyDate, StudyTime, AccessionNumber, StudyID, ReferringPhysicianName, ..."""


class WishRefusedError(ValueError):
    """What the operator says cannot stand in a DICOM file; the text says why."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator says of the files. Raises WishRefusedError."""

    description: str = ""
    """SeriesDescription."""
    modality: str = ""
    """Empty: by the kind of file."""
    no_identity_in_pixels: bool = False
    """The operator looked: BurnedInAnnotation NO."""
    taken_at: float = 0.0
    """POSIX seconds; 0: as the file says."""
    photographer: str = ""
    """Who took it for this patient: of one picture a photograph is made, not a capture."""

    def __post_init__(self) -> None:
        if wrong := wrong_text(self.description, "the description") or wrong_modality(self.modality):
            raise WishRefusedError(wrong)


def uid(*parts: str) -> str:
    """A UID of the parts alone (PS3.5 section B.2: 2.25 and a UUID's number; RFC 9562 version 8)."""
    digest = hashlib.sha256("\0".join(("mpacs import", *parts)).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number &= ~(0xF << 76) & ~(0b11 << 62)
    number |= _UUID_VERSION_8 << 76 | _UUID_VARIANT << 62
    return f"2.25.{number}"
