"""Takes files in by the door that everything comes through: check, keep, index, and only then say so."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import cast

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.middleware.admission import Admission, Admitted, Expected
from gateway.middleware.arrival import StoreOutcome
from gateway.middleware.attributes import AttributeCache
from gateway.middleware.header import Header, read_header
from gateway.middleware.importing import compose, part10
from gateway.middleware.importing.compose import Original, Place
from gateway.middleware.importing.decoder import Decoder, Decoding, NotDecodedError
from gateway.middleware.importing.find import Finder, Found, Passed
from gateway.middleware.importing.kinds import Kind
from gateway.middleware.importing.protocol import MAX_INSTANCE_BYTES, DecodedKind, DecodeLimits, Image
from gateway.middleware.importing.subject import Subject, Wishes, uid
from gateway.middleware.refusal import HeaderError, Refusal, RefusalReason
from gateway.middleware.spool import Spool

log = logging.getLogger(__name__)

_STEP_BYTES = 1 << 20
_TRANSIENT = frozenset({RefusalReason.OUT_OF_RESOURCES, RefusalReason.PROCESSING_FAILURE})


class Outcome(StrEnum):
    """What happened to a file; scripts see these."""

    NEW = "new"
    KNOWN = "known"
    """It was here already; nothing changed."""
    APART = "kept-apart"
    """Other bytes under a known SOPInstanceUID, or another patient under a known StudyInstanceUID."""
    REFUSED = "refused"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Report:
    """One file's fate. ``detail`` holds no value from the file; ``name`` is for terminals, never for logs."""

    name: str
    kind: str
    outcome: Outcome
    detail: str = ""
    StudyInstanceUID: str = ""
    instances: list[str] = field(default_factory=list)
    """SOPInstanceUIDs."""
    is_transient: bool = False
    """It may well be taken when tried again."""
    is_anothers: bool = False
    """A DICOM file of another patient or study than was named."""


class Importer:
    """One batch: what is given to ``take`` belongs together. Not for several threads at once."""

    def __init__(
        self,
        admission: Admission,
        is_known: Callable[[str], bool],
        source: str,
        subject: Subject | None = None,
        wishes: Wishes | None = None,
        limits: DecodeLimits | None = None,
    ) -> None:
        """
        Args:
            admission: the door.
            is_known: whether the index holds an instance, by its SOPInstanceUID, with its file.
            source: opaque label.
            subject: whose the files are. DICOM of anybody else is refused; without it pictures and documents are.
            wishes: what to write into those.
            limits: of the process that decodes them.
        """
        self._admission = admission
        self._is_known = is_known
        self._source = source
        self._subject = subject
        self._wishes = wishes or Wishes()
        self._decoder = Decoder(limits or DecodeLimits())
        self._cache = AttributeCache()
        self._finder = Finder(admission.archive.spool)
        self._lead = ""
        self._made = 0

    def take(self, paths: Sequence[Path], is_named: bool = True) -> Iterator[Report]:
        """Take in all that is found in ``paths``; says of each file what became of it. Raises nothing.

        Of files that nobody named by themselves, those that cannot be taken at all are passed over, not refused.
        """
        try:
            for found in self._finder.find(paths, is_named):
                if isinstance(found, Passed):
                    outcome = Outcome.REFUSED if found.is_refused else Outcome.SKIPPED
                    yield Report(found.name, "", outcome, found.detail)
                else:
                    yield self._found(found)
        finally:
            self._decoder.close()

    def _found(self, found: Found) -> Report:
        try:
            return self._dicom(found) if found.kind is Kind.DICOM else self._other(found)
        except OSError as error:
            detail = f"it cannot be read ({error.strerror or type(error).__name__})"
            return Report(found.name, found.kind, Outcome.REFUSED, detail)

    # ── DICOM ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _dicom(self, found: Found) -> Report:
        if self._subject is not None and (wrong := self._stranger(found.path, self._subject)):
            return Report(found.name, found.kind, Outcome.REFUSED, wrong, is_anothers=True)
        result = self._admission.admit_file(found.path, self._source, self._cache)
        return _report(found, [result])

    def _stranger(self, path: Path, subject: Subject) -> str:
        """Why a DICOM file is not the subject's; empty where it is, or where the door will refuse it anyway."""
        try:
            header = read_header(path, self._cache)
        except HeaderError:
            return ""
        return _mismatch(header, subject)

    # ── what becomes DICOM ────────────────────────────────────────────────────────────────────────────────────────

    def _other(self, found: Found) -> Report:
        if self._subject is None:
            detail = f"a {found.kind.upper()}, and nothing says whose it is: name the patient"
            return Report(found.name, found.kind, Outcome.REFUSED if found.is_named else Outcome.SKIPPED, detail)
        original = _original(found.path, found.kind)
        self._lead = self._lead or original.digest
        study = self._subject.StudyInstanceUID or uid(
            "study", self._subject.PatientID, self._subject.IssuerOfPatientID, self._lead
        )
        first = compose.SOPInstanceUID(original, study, 0)
        if found.kind is not Kind.TIFF and self._is_known(first):
            return Report(found.name, found.kind, Outcome.KNOWN, "", study, [first])
        place = Place(self._subject, study, self._lead, 0, self._wishes)
        results: list[Admitted | Refusal | str] = []
        try:
            kind = cast(DecodedKind, found.kind.value)
            with self._decoder.decoding(found.path, kind) as process:
                for index, answer in enumerate(process.answers()):
                    self._made += 1
                    place = Place(self._subject, study, self._lead, self._made, self._wishes)
                    if isinstance(answer, Image):
                        results.append(self._image(original, place, index, answer, process))
                    else:
                        results.append(self._document(found.path, original, place))
        except NotDecodedError as error:
            made = [one for one in results if isinstance(one, Admitted)]
            rest = f"; {len(made)} instances before it were taken" if made else ""
            return Report(found.name, found.kind, Outcome.REFUSED, f"{error}{rest}")
        return _report(found, results, study)

    def _image(
        self, original: Original, place: Place, index: int, head: Image, process: Decoding
    ) -> Admitted | Refusal | str:
        """One instance; the UID alone where it is known."""
        icc = b"".join(process.read(head.icc_bytes))
        size = head.frame_bytes * len(head.pages)
        if not _is_consistent(head):
            raise NotDecodedError("its decoder contradicts itself")
        known = compose.SOPInstanceUID(original, place.StudyInstanceUID, index)
        pixels = process.read(size)
        if self._is_known(known):
            for _ in pixels:
                pass  # on to the next instance
            return known
        data, syntax = compose.image(original, place, index, head)
        if icc:
            data.ICCProfile = icc + b"\0" * (len(icc) % 2)
        vr = b"OB" if head.bits_allocated == 8 else b"OW"
        native = part10.native(part10.PIXEL_DATA, vr, size, pixels)
        bulk = part10.encapsulated(size, pixels) if head.is_jpeg else native
        spool = self._admission.archive.spool()
        try:
            part10.write(spool, data, syntax, bulk)
        except BaseException:
            spool.discard()
            raise
        return self._admit(spool, data)

    def _document(self, path: Path, original: Original, place: Place) -> Admitted | Refusal:
        if original.size_bytes > MAX_INSTANCE_BYTES:
            raise NotDecodedError("the document is too large")
        data, _ = compose.document(original, place, original.size_bytes)
        spool = self._admission.archive.spool()
        try:
            pieces = _pieces(path, original.size_bytes)
            bulk = part10.native(part10.ENCAPSULATED_DOCUMENT, b"OB", original.size_bytes, pieces)
            part10.write(spool, data, ExplicitVRLittleEndian, bulk)
        except BaseException:
            spool.discard()
            raise
        return self._admit(spool, data)

    def _admit(self, spool: Spool, data: Dataset) -> Admitted | Refusal:
        expected = Expected(str(data.SOPClassUID), str(data.SOPInstanceUID))
        return self._admission.admit(spool, self._source, expected, self._cache)


def _is_consistent(head: Image) -> bool:
    if head.is_jpeg:
        return len(head.pages) == 1
    size = head.rows * head.columns * head.samples * head.bits_allocated // 8
    total = head.frame_bytes * len(head.pages)
    return bool(head.pages) and head.frame_bytes == size and total <= MAX_INSTANCE_BYTES


def _mismatch(header: Header, subject: Subject) -> str:
    if header.PatientID != subject.PatientID:
        return "its PatientID is not that of the patient who was named"
    if subject.IssuerOfPatientID and header.IssuerOfPatientID != subject.IssuerOfPatientID:
        return "its IssuerOfPatientID is not that of the patient who was named"
    if subject.StudyInstanceUID and header.StudyInstanceUID != subject.StudyInstanceUID:
        return "its StudyInstanceUID is not that of the study that was named"
    return ""


def _original(path: Path, kind: Kind) -> Original:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_STEP_BYTES):
            digest.update(piece)
        size = file.tell()
    return Original(kind, digest.hexdigest(), size, path.stat().st_mtime)


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """Exactly so many bytes, whatever happens to the file meanwhile."""
    with path.open("rb") as file:
        while size:
            piece = file.read(min(size, _STEP_BYTES))
            if not piece:
                raise NotDecodedError("the file was cut while it was read")
            size -= len(piece)
            yield piece


def _report(found: Found, results: Sequence[Admitted | Refusal | str], study: str = "") -> Report:
    refusals = [one for one in results if isinstance(one, Refusal)]
    admitted = [one for one in results if isinstance(one, Admitted)]
    known = [one for one in results if isinstance(one, str)]
    uids = known + [one.arrival.SOPInstanceUID for one in admitted]
    study = study or (admitted[0].arrival.StudyInstanceUID if admitted else "")
    if refusals:
        first = refusals[0]
        is_transient = first.reason in _TRANSIENT
        return Report(found.name, found.kind, Outcome.REFUSED, first.detail, study, uids, is_transient)
    if any(one.outcome is StoreOutcome.CONFLICT for one in admitted):
        detail = "`mpacs-gateway quarantine list` shows why"
        return Report(found.name, found.kind, Outcome.APART, detail, study, uids)
    is_new = any(one.outcome is StoreOutcome.NEW for one in admitted)
    return Report(found.name, found.kind, Outcome.NEW if is_new else Outcome.KNOWN, "", study, uids)
