"""What intake knows of one instance once its bytes are safe, and what the index answers.

Imports nothing heavy: the index, the core and the tests load this without a DICOM library.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StoreOutcome(StrEnum):
    """What the index made of an arrival."""

    NEW = "new"
    """The instance was not there (or its file had been evicted); it is now."""
    SAME = "same"
    """This very file is already indexed."""
    TWIN = "twin"
    """The same data set is already indexed in another Part 10 wrapping (other AE titles, another
    implementation's file meta group): the first file stays, this one is not needed."""
    CONFLICT = "conflict"
    """Kept apart and reported: different bytes under a known SOP Instance UID, or another patient under a
    known Study Instance UID."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance whose bytes are fsynced under their final name.

    Text is decoded; padding is removed as PS3.5 section 6.2 has it. ``PatientID`` and ``IssuerOfPatientID`` are
    compared exactly as they stand here; a NUL inside them is shown as U+2400 (SYMBOL FOR NULL), so that
    an identifier with a NUL never equals one without. No field but ``digest``, ``path`` and ``source`` may reach a log.
    """

    StudyInstanceUID: str
    SeriesInstanceUID: str
    SOPInstanceUID: str
    SOPClassUID: str
    TransferSyntaxUID: str
    PatientID: str
    IssuerOfPatientID: str
    PatientName: str
    Modality: str
    InstanceNumber: int | None
    NumberOfFrames: int
    has_pixels: bool
    digest: str
    """Hex SHA-256 of the file as stored."""
    size_bytes: int
    path: str
    """Relative to the archive's root; made from the digest alone."""
    study_attributes: bytes
    """DICOM JSON (PS3.18 annex F, UTF-8) of the patient's and study's attributes that a list shows."""
    series_attributes: bytes
    """DICOM JSON of the series' attributes."""
    source: str
    """Opaque reference of the sender: a configured label, never an identity."""
    data_digest: str = ""
    """Hex SHA-256 of transfer syntax and data set, without the file meta group: two senders, or a file and
    a C-STORE, give the same instance the same value. Empty where unknown; then ``digest`` decides."""
