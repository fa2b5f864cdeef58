"""What a file is, by its first bytes: a name is a claim, and is believed only where there is nothing else."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_HEAD_BYTES = 1024
_MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
"""Media Storage Directory Storage, which the file meta group of a DICOMDIR names (PS3.10 section 8.6)."""
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


class Kind(StrEnum):
    """Stable names: scripts see them."""

    DICOM = "dicom"
    DICOMDIR = "dicomdir"
    ZIP = "zip"
    TIFF = "tiff"
    JPEG = "jpeg"
    PNG = "png"
    PDF = "pdf"
    OTHER = "other"

    @property
    def becomes_dicom(self) -> bool:
        """Whether it is none yet, and can be made into one for a patient who is named."""
        return self in (Kind.TIFF, Kind.JPEG, Kind.PNG, Kind.PDF)


_MAGIC = (
    (b"PK\x03\x04", Kind.ZIP),
    (b"PK\x05\x06", Kind.ZIP),  # an empty one
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"%PDF-", Kind.PDF),
    (b"II*\x00", Kind.TIFF),
    (b"MM\x00*", Kind.TIFF),
    (b"II+\x00", Kind.TIFF),  # BigTIFF
    (b"MM\x00+", Kind.TIFF),
)


def kind_of(path: Path, name: str = "") -> Kind:
    """The kind of the file at ``path``, which is called ``name``. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[128:132] == b"DICM":
        return Kind.DICOMDIR if _MEDIA_STORAGE_DIRECTORY in head else Kind.DICOM
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    # Damaged or without a preamble: the door says so, where a file that only lies beside others is passed over.
    return Kind.DICOM if (name or path.name).lower().endswith(_DICOM_SUFFIXES) else Kind.OTHER
