"""DICOM media (PS3.10 section 8, PS3.12): which files a DICOMDIR names, and whether they are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.multival import MultiValue

_MOST_BYTES = 256 << 20
_COMPONENTS = 8
"""Of a File ID (PS3.10 section 8.2)."""


class MediumError(Exception):
    """The DICOMDIR cannot be followed; the text says why, without a value of it."""


def missing(dicomdir: Path) -> tuple[int, int]:
    """How many files the DICOMDIR names, and how many of those are not there.

    Raises MediumError, or OSError where the folder cannot be read.
    """
    named = there = 0
    for components in _file_ids(dicomdir):
        named += 1
        there += _resolve(dicomdir.parent, components) is not None
    return named, named - there


def _file_ids(dicomdir: Path) -> Iterator[tuple[str, ...]]:
    if dicomdir.stat().st_size > _MOST_BYTES:
        raise MediumError("the DICOMDIR is too large")
    try:
        records = dcmread(dicomdir).get("DirectoryRecordSequence") or []
        for record in records:
            value: Any = record.get("ReferencedFileID")
            if value:
                yield tuple(map(str, value)) if isinstance(value, MultiValue | list) else (str(value),)
    except RecursionError as error:
        raise MediumError("the DICOMDIR is nested too deep") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise MediumError("the DICOMDIR is damaged") from error
    except Exception as error:  # whatever a parser does with a stranger's bytes
        raise MediumError("the DICOMDIR is damaged") from error


def _resolve(folder: Path, components: tuple[str, ...]) -> Path | None:
    """The file below ``folder``, in any case of letters: mounts show a medium's names as they like."""
    if not 0 < len(components) <= _COMPONENTS:
        return None
    here = folder
    for component in components:
        # No way up and no way out: each component is a name that stands in the folder itself.
        wanted = component.strip().casefold()
        if wanted in ("", ".", "..") or "/" in wanted:
            return None
        exact = here / component.strip()
        if exact.exists():
            here = exact
            continue
        found = [one for one in here.iterdir() if _bare(one.name) == wanted] if here.is_dir() else []
        if not found:
            return None
        here = found[0]
    return here if here.is_file() else None


def _bare(name: str) -> str:
    """Without what ISO 9660 appends: ``;1`` and a lone dot."""
    return name.casefold().partition(";")[0].rstrip(".")
