"""What the arrivals half of the index hands out: frozen rows, never the database's own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class InstanceState(StrEnum):
    """What became of an instance."""

    RECEIVED = "received"
    RENDERED = "rendered"
    FAILED = "failed"
    EVICTED = "evicted"


class ConflictKind(StrEnum):
    """Why an arrival was kept apart."""

    BYTES = "bytes"
    """Other bytes under a known SOP Instance UID."""
    PATIENT = "patient"
    """Another patient under a known Study Instance UID."""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study. ``attributes`` is DICOM JSON (UTF-8) of the first instance that came; times are POSIX seconds."""

    id: int
    StudyInstanceUID: str
    PatientID: str
    IssuerOfPatientID: str
    PatientName: str
    attributes: bytes
    settled: bool
    first_arrival_at: float
    last_arrival_at: float
    NumberOfStudyRelatedInstances: int
    revision: int


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series of a study; ``attributes`` is DICOM JSON (UTF-8)."""

    id: int
    study_id: int
    SeriesInstanceUID: str
    Modality: str
    attributes: bytes


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance; ``path`` is relative to the archive's root, ``reason`` says why it failed, without identity."""

    id: int
    study_id: int
    series_id: int
    SOPInstanceUID: str
    SOPClassUID: str
    TransferSyntaxUID: str
    InstanceNumber: int | None
    NumberOfFrames: int
    has_pixels: bool
    digest: str
    data_digest: str
    size_bytes: int
    path: str
    source: str
    state: str
    reason: str
    arrived_at: float


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """An arrival that was kept apart: its file lies in the archive under ``digest``, what came first stayed."""

    id: int
    kind: str
    StudyInstanceUID: str
    SOPInstanceUID: str
    digest: str
    path: str
    size_bytes: int
    source: str
    seen_at: float


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A refused file; ``times`` counts how often the same bytes came."""

    id: int
    digest: str
    path: str
    size_bytes: int
    reason: str
    detail: str
    source: str
    refused_at: float
    times: int
