"""What a file's header says of it, for an operator who looks at one that was refused: as much as can be read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from gateway.middleware.attributes import DEFER_BYTES, tags, text
from gateway.middleware.elements import at_pixels, read_elements
from gateway.middleware.header import data_offset, inflate_head
from gateway.middleware.refusal import HeaderError

_SAFE = tags(
    "SOPClassUID",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SpecificCharacterSet",
    "BurnedInAnnotation",
)
_IDENTITY = tags(
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "StudyDate",
    "AccessionNumber",
    "StudyDescription",
)
_MOST_CHARACTERS = 256


def summarise(path: Path, with_identity: bool) -> dict[str, str]:
    """Keywords and values; with ``with_identity`` those that name somebody too.

    Of a file that is no DICOM, or does not parse, what was found before that; ``unreadable`` says why. Raises OSError
    where the file itself cannot be read.
    """
    found: dict[str, str] = {}
    with path.open("rb") as file:
        try:
            syntax, _ = data_offset(file)
            found["TransferSyntaxUID"] = _named(syntax)
            data = _header(file, UID(syntax), [*_SAFE, *_IDENTITY])
        except HeaderError as error:
            return {**found, "unreadable": error.detail}
        except OSError as error:
            if error.errno is not None:
                raise
            return {**found, "unreadable": "a sequence is broken"}
        except Exception as error:  # it was refused for a reason
            return {**found, "unreadable": f"the data set does not parse ({type(error).__name__})"}
    for tag in (*_SAFE, *(_IDENTITY if with_identity else ())):
        try:
            value = text(data, tag)
        except Exception as error:
            value = f"? ({type(error).__name__})"
        if value:
            keyword = keyword_for_tag(tag)
            found[keyword] = _named(value) if keyword == "SOPClassUID" else value[:_MOST_CHARACTERS]
    return found


def _header(file: BinaryIO, syntax: UID, wanted: list[int]) -> Dataset:
    if syntax == DeflatedExplicitVRLittleEndian:
        file, _ = inflate_head(file)
    return read_elements(
        file,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=at_pixels,
        defer_size=DEFER_BYTES,
        specific_tags=sorted(wanted),
    )


def _named(uid: str) -> str:
    """A UID with its name, where the standard has one."""
    name = UID(uid).name
    return uid if name == uid else f"{uid} ({name})"
