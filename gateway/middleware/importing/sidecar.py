"""``NAME.json`` beside a file, or ``patient.json`` in its folder: whose it is, where the file itself cannot say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

SUFFIX = ".json"
_FOLDER_NAME = "patient.json"
_MOST_BYTES = 64 << 10
_Text = Annotated[str, Meta(max_length=256)]


class SidecarError(Exception):
    """The sidecar is not valid, or what it says cannot be; the text says why."""


class Sidecar(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """DICOM keywords; one of PatientID and StudyInstanceUID at least."""

    PatientID: _Text = ""
    IssuerOfPatientID: _Text = ""
    PatientName: _Text = ""
    StudyInstanceUID: Annotated[str, Meta(max_length=64)] = ""
    SeriesDescription: Annotated[str, Meta(max_length=64)] = ""
    Modality: Annotated[str, Meta(max_length=16)] = ""
    BurnedInAnnotation: Literal["", "YES", "NO"] = ""


def find_sidecar(path: Path, root: Path) -> tuple[Sidecar | None, Path | None]:
    """What is said of ``path``, and the sidecar that is its alone.

    Not in ``root`` itself: a ``patient.json`` that was left there would make the next file the wrong patient's.
    Raises SidecarError, or OSError where it cannot be read.
    """
    own = path.with_name(path.name + SUFFIX)
    if own.is_file() and not own.is_symlink():
        return _read(own), own
    folder = path.parent
    while folder != root and root in folder.parents:
        shared = folder / _FOLDER_NAME
        if shared.is_file() and not shared.is_symlink():
            return _read(shared), None
        folder = folder.parent
    return None, None


def _read(path: Path) -> Sidecar:
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    try:
        found = msgspec.json.decode(data, type=Sidecar)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        keywords = ", ".join(Sidecar.__struct_fields__)
        raise SidecarError(f"{path.suffix} beside it: not a JSON object of {keywords}") from None
    if not found.PatientID and not found.StudyInstanceUID:
        raise SidecarError("the JSON beside it names neither PatientID nor StudyInstanceUID")
    return found
