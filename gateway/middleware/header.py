"""Reading the header of a stored file: what intake must know, in bounded memory, from bytes that strangers sent.

Pixel data are never read: the parser stops in front of them, and only their extent is held against the file's size.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.encaps import parse_fragments
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from gateway.middleware.attributes import DEFER_BYTES, IDENTITY, SERIES, STUDY, AttributeCache, text
from gateway.middleware.charset import mark_of, reading_of
from gateway.middleware.elements import PIXELS, read_elements
from gateway.middleware.refusal import HeaderError, RefusalReason

_UNDEFINED = 0xFFFFFFFF
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*\Z")
# LO holds 64 characters (PS3.5 table 6.2-1); hospitals exceed it, and a longer identifier harms nothing here.
_IDENTIFIER_LIMIT = 256
_TEXT = tuple(
    tag
    for tag in sorted({*IDENTITY, *STUDY, *SERIES})
    if dictionary_VR(tag) in ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
)
_WANTED: list[BaseTag | int] = sorted({*IDENTITY, *STUDY, *SERIES})

# Of a deflated data set as much is inflated as headers take; the rest is counted, never kept.
_INFLATE_KEPT_BYTES = 16 << 20
_INFLATE_LIMIT_BYTES = 4 << 30
_INFLATE_STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """See ``Arrival`` for the fields."""

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
    study_attributes: bytes
    series_attributes: bytes


def legal_uid(value: str) -> bool:
    """PS3.5 section 9.1: at most 64 characters, components of digits between single dots.

    Leading zeros in a component are let through: the standard forbids them, modalities write them.
    """
    return bool(_UID.match(value))


def data_offset(file: BinaryIO) -> tuple[str, int]:
    """TransferSyntaxUID and offset of the data set of a Part 10 file; leaves the file at the data set.

    Raises:
        HeaderError: no Part 10 file, or none that names its transfer syntax.
    """
    try:
        read_preamble(file, force=False)
        meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        syntax = text(meta, 0x00020010)
    except Exception as error:
        raise HeaderError(RefusalReason.UNREADABLE, "not a DICOM file (PS3.10 section 7.1)") from error
    if not legal_uid(syntax):
        raise HeaderError(RefusalReason.UNREADABLE, "file meta group without a legal TransferSyntaxUID")
    return syntax, file.tell()


def read_header(path: Path, cache: AttributeCache | None = None) -> Header:
    """Read and check the header of a Part 10 file.

    Args:
        path: the file.
        cache: spares encoding the same study's and series' attributes for each slice.

    Raises:
        HeaderError: the reason and the rule, without any value.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        TransferSyntaxUID, _ = data_offset(file)
        try:
            data = _Parsed(file, UID(TransferSyntaxUID))
            return _checked(data, TransferSyntaxUID, cache or AttributeCache())
        except HeaderError:
            raise
        except OSError as error:
            if error.errno is not None:
                raise
            # pydicom says so of sequences that break off
            raise HeaderError(RefusalReason.UNREADABLE, "a sequence is broken") from error
        except RecursionError as error:
            raise HeaderError(RefusalReason.UNREADABLE, "sequences nested too deep") from error
        except Exception as error:  # whatever a parser does with a stranger's bytes, the next object is served
            raise HeaderError(
                RefusalReason.UNREADABLE, f"the data set does not parse ({type(error).__name__})"
            ) from error


class _Parsed:
    """One pass over the top-level elements in front of the pixel data."""

    def __init__(self, file: BinaryIO, syntax: UID) -> None:
        self.has_pixels = False
        self._last_end = 0
        self._seen_any = False
        self._end_of_file = _size(file)
        if syntax == DeflatedExplicitVRLittleEndian:
            file, whole = inflate_head(file)
            # Past what was kept nothing can be checked; the count has said whether the stream is whole.
            self._end_of_file = _size(file) if whole else _INFLATE_LIMIT_BYTES
        self._file = file
        self._implicit = syntax == ImplicitVRLittleEndian
        self._little = syntax != ExplicitVRBigEndian
        self.data = self._read()
        self.reading = reading_of(self.data, _TEXT)
        self.reading.settle(self.data, self._implicit, self._little)
        if not self._seen_any:
            raise HeaderError(RefusalReason.UNREADABLE, "no element of a data set could be read")

    def _read(self) -> Dataset:
        data = read_elements(
            self._file,
            self._implicit,
            self._little,
            stop_when=self._stop,
            defer_size=DEFER_BYTES,
            specific_tags=_WANTED,
        )
        if self._last_end > self._end_of_file or (not self.has_pixels and self._stub_follows()):
            raise HeaderError(RefusalReason.TRUNCATED, "the file ends inside an element")
        return data

    def _stub_follows(self) -> bool:
        """Whether less than an element's eight bytes follow the last element, other than padding."""
        left = self._end_of_file - self._last_end
        if not 0 < left < 8:
            return False
        self._file.seek(self._last_end)
        return self._file.read(left).strip(b"\0") != b""

    def _stop(self, tag: BaseTag, _vr: str | None, length: int) -> bool:
        start = self._file.tell()
        self._seen_any = True
        if tag in PIXELS:
            self.has_pixels = True
            if length == _UNDEFINED:
                self._check_fragments(start)
            elif start + length > self._end_of_file:
                raise HeaderError(RefusalReason.TRUNCATED, "the file ends inside the pixel data")
            return True
        # Of one of undefined length the end is not known, so nothing is held against it.
        self._last_end = start + length if length != _UNDEFINED else self._end_of_file
        return False

    def _check_fragments(self, start: int) -> None:
        """Encapsulated pixel data end with a sequence delimiter (PS3.5 section A.4)."""
        try:
            _, offsets = parse_fragments(self._file)
        except ValueError as error:
            raise HeaderError(RefusalReason.UNREADABLE, "encapsulated pixel data are not a list of items") from error
        end = start
        if offsets:
            self._file.seek(offsets[-1] + 4)
            end = offsets[-1] + 8 + int.from_bytes(self._file.read(4), "little")
        self._file.seek(end)
        if self._file.read(4) != b"\xfe\xff\xdd\xe0":
            raise HeaderError(RefusalReason.TRUNCATED, "encapsulated pixel data without a sequence delimiter")
        self._file.seek(start)


def _checked(parsed: _Parsed, TransferSyntaxUID: str, cache: AttributeCache) -> Header:
    data = parsed.data
    # Before any value is asked for: the cache compares elements that are still raw bytes.
    mark = mark_of(parsed.reading) if parsed.reading.is_guess else {}
    study, series = cache.encode(data, STUDY, mark), cache.encode(data, SERIES)
    return Header(
        StudyInstanceUID=_uid(data, 0x0020000D, "StudyInstanceUID"),
        SeriesInstanceUID=_uid(data, 0x0020000E, "SeriesInstanceUID"),
        SOPInstanceUID=_uid(data, 0x00080018, "SOPInstanceUID"),
        SOPClassUID=_uid(data, 0x00080016, "SOPClassUID"),
        TransferSyntaxUID=TransferSyntaxUID,
        PatientID=_identifier(data, 0x00100020, "PatientID"),
        IssuerOfPatientID=_identifier(data, 0x00100021, "IssuerOfPatientID"),
        PatientName=_displayable(text(data, 0x00100010)),
        Modality=_displayable(text(data, 0x00080060))[:16],
        InstanceNumber=_number(data, 0x00200013, 1 << 40),
        NumberOfFrames=max(1, _number(data, 0x00280008, (1 << 31) - 1) or 1),
        has_pixels=parsed.has_pixels,
        study_attributes=study,
        series_attributes=series,
    )


def _uid(data: Dataset, tag: int, keyword: str) -> str:
    value = text(data, tag)
    if not value:
        raise HeaderError(RefusalReason.MISSING_ATTRIBUTE, f"no {keyword}")
    if not legal_uid(value):
        raise HeaderError(RefusalReason.ILLEGAL_UID, f"{keyword} is not a UID (PS3.5 section 9.1)")
    return value


def _identifier(data: Dataset, tag: int, keyword: str) -> str:
    value = text(data, tag)
    if len(value) > _IDENTIFIER_LIMIT:
        raise HeaderError(RefusalReason.ILLEGAL_VALUE, f"{keyword} is longer than {_IDENTIFIER_LIMIT} characters")
    # A NUL inside is data, but no database and no C library keeps it: shown, never cut off, or "A\0B" would be "A".
    return value.replace("\0", "␀")


def _displayable(value: str) -> str:
    return "".join(character for character in value if character.isprintable()).strip()


def _number(data: Dataset, tag: int, limit: int) -> int | None:
    """IS as an integer; None for what is none, because senders write nonsense here and the image is good."""
    digits = text(data, tag)
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", digits):
        return None
    value = int(digits)
    return value if -limit <= value <= limit else None


def inflate_head(file: BinaryIO) -> tuple[BinaryIO, bool]:
    """Inflate the head of a deflated data set (PS3.5 section A.5) and run over the rest.

    Returns:
        the head, and whether it is the whole data set.

    Raises:
        HeaderError: the stream is broken, cut, or larger than any data set that is taken.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    head, total = bytearray(), 0
    try:
        while not inflater.eof:
            piece = inflater.unconsumed_tail or file.read(_INFLATE_STEP_BYTES)
            if not piece:
                raise HeaderError(RefusalReason.TRUNCATED, "the deflated data set is cut")
            out = inflater.decompress(piece, _INFLATE_STEP_BYTES)
            total += len(out)
            if len(head) < _INFLATE_KEPT_BYTES:
                head += out
            if total > _INFLATE_LIMIT_BYTES:
                raise HeaderError(RefusalReason.TOO_LARGE, "the deflated data set is larger than 4 GiB")
    except zlib.error as error:
        raise HeaderError(RefusalReason.UNREADABLE, "the deflated data set does not inflate") from error
    return BytesIO(bytes(head)), total == len(head)


def _size(file: BinaryIO) -> int:
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end
