"""Admitting one spooled file: check, keep, index, and only then say so. The same way for every source."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.middleware.archive import Archive, Kept
from gateway.middleware.arrival import Arrival, StoreOutcome
from gateway.middleware.attributes import AttributeCache
from gateway.middleware.header import Header, data_offset, read_header
from gateway.middleware.refusal import HeaderError, Refusal, RefusalReason
from gateway.middleware.spool import Spool

log = logging.getLogger(__name__)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What the request around the data set said it was (PS3.7 section 9.1.1)."""

    SOPClassUID: str
    SOPInstanceUID: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """The instance is safe and indexed."""

    arrival: Arrival
    outcome: StoreOutcome


class Admission:
    """Takes spooled files in. One serves many threads; each thread brings its own cache."""

    def __init__(
        self,
        archive: Archive,
        on_arrival: Callable[[Arrival], StoreOutcome],
        on_refused: Callable[[Refusal], None],
    ) -> None:
        """
        Args:
            archive: where files go.
            on_arrival: enters the instance in the index and commits before it returns; may raise.
            on_refused: told of each file that was not taken; what it raises is logged and goes no further.
        """
        self.archive = archive
        self._on_arrival = on_arrival
        self._on_refused = on_refused

    def admit(
        self, spool: Spool, source: str, expected: Expected | None = None, cache: AttributeCache | None = None
    ) -> Admitted | Refusal:
        """Take one spooled Part 10 file in; the spool is used up, whatever comes of it. Raises nothing.

        Args:
            spool: all bytes written.
            source: opaque reference of the sender.
            expected: what the request named, if there was one.
            cache: of this sender.
        """
        try:
            if spool.error is not None:
                raise spool.error
            header = read_header(spool.path, cache)
            _compare(header, expected)
            return self._keep(spool, header, source)
        except HeaderError as error:
            return self._refuse(spool, source, error.reason, error.detail)
        except OSError as error:
            return self._refuse(spool, source, *_disk(error))
        except MemoryError:
            return self._refuse(spool, source, RefusalReason.OUT_OF_RESOURCES, "no memory")
        except Exception as error:
            # Without its text: an exception's text may carry what it stumbled over.
            log.error("instance could not be indexed: %s", type(error).__name__)
            return self._refuse(spool, source, RefusalReason.PROCESSING_FAILURE, "the index did not take it")
        finally:
            spool.discard()

    def admit_file(self, path: Path, source: str, cache: AttributeCache | None = None) -> Admitted | Refusal:
        """Take a copy of a Part 10 file in, byte for byte. Raises OSError when ``path`` cannot be read."""
        return self.admit(self._copy(path), source, None, cache)

    def _copy(self, path: Path) -> Spool:
        with path.open("rb") as file:
            spool = self.archive.spool()
            try:
                syntax, offset = data_offset(file)
            except HeaderError:
                syntax, offset = "", 0  # spooled all the same: refusing it is admit's to do
            file.seek(0)
            spool.write_meta(file.read(offset), syntax)
            while piece := file.read(_COPY_BYTES):
                spool.write(piece)
        return spool

    def _keep(self, spool: Spool, header: Header, source: str) -> Admitted:
        with self.archive.holding(spool.digest):
            kept = self.archive.keep(spool)
            arrival = _arrival(header, kept, source)
            outcome = self._on_arrival(arrival)
            if outcome is StoreOutcome.TWIN:
                self.archive.remove(kept.digest)
        return Admitted(arrival, outcome)

    def _refuse(self, spool: Spool, source: str, reason: RefusalReason, detail: str) -> Refusal:
        refusal = Refusal(reason, "", "", detail, spool.size_bytes, source)
        if reason.quarantined:
            try:
                kept = self.archive.quarantine(spool)
                refusal = Refusal(reason, kept.digest, kept.path, detail, kept.size_bytes, source)
            except OSError as error:
                lost, why = _disk(error)
                refusal = Refusal(lost, "", "", why, spool.size_bytes, source)
        try:
            self._on_refused(refusal)
        except Exception as error:
            log.error("a refusal could not be entered: %s", type(error).__name__)
        return refusal


def _compare(header: Header, expected: Expected | None) -> None:
    if expected is None:
        return
    if header.SOPClassUID != expected.SOPClassUID:
        raise HeaderError(RefusalReason.MISMATCH, "SOPClassUID differs from the request's (PS3.4 section B.2.3)")
    if header.SOPInstanceUID != expected.SOPInstanceUID:
        raise HeaderError(RefusalReason.MISMATCH, "SOPInstanceUID differs from the request's (PS3.4 section B.2.3)")


def _disk(error: OSError) -> tuple[RefusalReason, str]:
    if error.errno == errno.EFBIG:
        return RefusalReason.TOO_LARGE, "larger than the site's limit"
    if error.errno in _NO_ROOM:
        return RefusalReason.OUT_OF_RESOURCES, "no room"
    return RefusalReason.PROCESSING_FAILURE, f"the disk failed ({errno.errorcode.get(error.errno or 0, 'unknown')})"


def _arrival(header: Header, kept: Kept, source: str) -> Arrival:
    return Arrival(
        StudyInstanceUID=header.StudyInstanceUID,
        SeriesInstanceUID=header.SeriesInstanceUID,
        SOPInstanceUID=header.SOPInstanceUID,
        SOPClassUID=header.SOPClassUID,
        TransferSyntaxUID=header.TransferSyntaxUID,
        PatientID=header.PatientID,
        IssuerOfPatientID=header.IssuerOfPatientID,
        PatientName=header.PatientName,
        Modality=header.Modality,
        InstanceNumber=header.InstanceNumber,
        NumberOfFrames=header.NumberOfFrames,
        has_pixels=header.has_pixels,
        digest=kept.digest,
        size_bytes=kept.size_bytes,
        path=kept.path,
        study_attributes=header.study_attributes,
        series_attributes=header.series_attributes,
        source=source,
        data_digest=kept.data_digest,
    )
