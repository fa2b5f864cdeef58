"""A file that may hold a report: its data set, read within the limits."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_file_meta_info

from gateway.management.rendering import syntaxes as ts
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.report_values import is_cut
from gateway.middleware.charset import MOST_BYTES, TEXT_VRS, reading_of_values, vr_of
from gateway.middleware.elements import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom.dataset import Dataset, FileDataset

    from gateway.management.rendering.limits import RenderLimits

DEFER_BYTES: Final = 1 << 20
"""Longer values, which are encapsulated documents, stay in the file until they are asked for."""
_ESC: Final = b"\x1b"
_LEAST_ROOM: Final = 256
_MAX_LEVELS: Final = 120_000
"""Items of all sequences: about five for each content item, of which there are fewer anyhow."""
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_FIRST_BYTES: Final = 128 + 4 + 12
"""Preamble, prefix and FileMetaInformationGroupLength (PS3.10 section 7.1)."""


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A data set; ``guessed`` says what its text was taken for, where that is not what it declares."""

    data: FileDataset
    guessed: str


def read_report(path: Path, limits: RenderLimits) -> ReportFile:
    """The whole data set. Raises ``Refusal``, MemoryError or RecursionError."""
    try:
        if path.stat().st_size > limits.max_picture_bytes + DEFER_BYTES:
            raise Refusal("too-large", "file")
        data = _read(path, limits)
        return ReportFile(data, _settle_characters(data))
    except (Refusal, MemoryError, RecursionError):
        raise
    except OSError as error:
        # pydicom says so of sequences that break off, without a number
        raise Refusal("unreadable" if error.errno is not None else "malformed") from error
    except Exception as error:
        raise Refusal("malformed", "data set") from error


def _read(path: Path, limits: RenderLimits) -> FileDataset:
    meta = read_file_meta_info(path)
    if str(meta.get("TransferSyntaxUID", "")) != ts.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        with path.open("rb") as file:
            return _whole(read_file(file, defer_size=DEFER_BYTES), path.stat().st_size)
    with path.open("rb") as file:
        file.seek(_FIRST_BYTES + int(meta.FileMetaInformationGroupLength))
        inflated = _inflated(file, limits)
    return _whole(dcmread(BytesIO(inflated), force=True), len(inflated))


def _whole(data: FileDataset, size: int) -> FileDataset:
    """Refuse what was cut: a report without its conclusion must not be shown. Its sequences are checked when read."""
    ends = [one.value_tell + one.length for one in data._dict.values() if isinstance(one, RawDataElement)]
    if is_cut(data) or max((end for end in ends if end < _UNDEFINED_LENGTH), default=0) > size:
        raise Refusal("malformed", "the file ends inside an element")
    return data


# ── characters ────────────────────────────────────────────────────────────────────────────────────────────────────


def _settle_characters(data: FileDataset) -> str:
    """Have all text read as what it is; if that is a guess, what was guessed and declared, else empty."""
    levels = list(islice(_levels(data), _MAX_LEVELS + 1))
    if len(levels) > _MAX_LEVELS:
        raise Refusal("too-large", "items of sequences")
    reading = reading_of_values(data, _sample(levels))
    implicit, little = data.original_encoding
    for level in levels:
        if level is data or "SpecificCharacterSet" not in level:
            reading.settle(level, bool(implicit), little is not False)
    if not reading.is_guess:
        return ""
    return f"{reading.guess}; {f'{reading.declared} is declared' if reading.declared else 'nothing is declared'}"


def _levels(data: Dataset) -> Iterator[Dataset]:
    """The data set and all items of its sequences; nothing but sequences is converted."""
    waiting: list[Dataset] = [data]
    while waiting:
        level = waiting.pop()
        yield level
        sequences = [tag for tag, element in level._dict.items() if vr_of(element) == "SQ"]
        waiting += [item for tag in sequences for item in level[tag].value]


def _sample(levels: list[Dataset]) -> list[bytes]:
    """Raw text that is more than ASCII, of all places, whole or up to a space: as much as is looked at."""
    found: list[bytes] = []
    room = MOST_BYTES
    for level in levels:
        for element in level._dict.values():
            value = element.value
            if vr_of(element) not in TEXT_VRS or not isinstance(value, bytes):
                continue
            if value.isascii() and _ESC not in value:
                continue
            if len(value) >= room:
                value = value[: max(value.rfind(b" ", 0, room), 0)]
            found.append(value)
            room -= len(value) + 1
            if room < _LEAST_ROOM:
                return found
    return found


def _inflated(file: BinaryIO, limits: RenderLimits) -> bytes:
    """A deflated data set (PS3.5 section A.5), bounded."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    found = inflater.decompress(file.read(), limits.max_inflated_bytes)
    if inflater.unconsumed_tail and not inflater.eof:
        raise Refusal("too-large", "inflated data set")
    return found
