"""A file that may hold a report: its data set, read within the limits."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from pydicom import dcmread
from pydicom.charset import python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_file_meta_info

from gateway.management.rendering import syntaxes as ts
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.report_values import is_cut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom.dataset import Dataset, FileDataset

    from gateway.management.rendering.limits import RenderLimits

DEFER_BYTES: Final = 1 << 20
"""Longer values, which are encapsulated documents, stay in the file until they are asked for."""
_TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Those that SpecificCharacterSet bears upon (PS3.5 section 6.1.2.3)."""
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_FIRST_BYTES: Final = 128 + 4 + 12
"""Preamble, prefix and FileMetaInformationGroupLength (PS3.10 section 7.1)."""


def read_report(path: Path, limits: RenderLimits) -> FileDataset:
    """The whole data set. Raises ``Refusal``, MemoryError or RecursionError."""
    try:
        if path.stat().st_size > limits.max_picture_bytes + DEFER_BYTES:
            raise Refusal("too-large", "file")
        data = _read(path, limits)
        if not _declares_characters(data) and _is_utf8(data):
            data = _read(path, limits)  # anew, because what was looked at is decoded
            _take_for_utf8(data)
        return data
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
        return _whole(dcmread(path, defer_size=DEFER_BYTES), path.stat().st_size)
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


# ── characters that nothing, or nothing known, declares ───────────────────────────────────────────────────────────


def _declares_characters(data: FileDataset) -> bool:
    declared: Any = data.get("SpecificCharacterSet")
    names = [declared] if isinstance(declared, str) else list(declared or [])
    return bool(names) and all(str(name).strip() in python_encoding for name in names)


def _is_utf8(data: FileDataset) -> bool:
    """Whether all text is UTF-8 and some of it is more than ASCII; undeclared, each byte was taken for a character."""
    found = False
    try:
        for level in _levels(data):
            for element in level:
                if element.VR in _TEXT_VRS and not (text := str(element.value)).isascii():
                    text.encode("latin-1").decode("utf-8")
                    found = True
    except UnicodeError:
        return False
    return found


def _take_for_utf8(data: FileDataset) -> None:
    implicit, little = data.original_encoding
    for level in _levels(data):
        if level is data or "SpecificCharacterSet" not in level:
            level.set_original_encoding(implicit, little, ["utf8"])


def _levels(data: Dataset) -> Iterator[Dataset]:
    """The data set and all items of its sequences, each before its elements are touched."""
    waiting: list[Dataset] = [data]
    while waiting:
        level = waiting.pop()
        yield level
        waiting += [item for element in level if element.VR == "SQ" for item in element.value]


def _inflated(file: BinaryIO, limits: RenderLimits) -> bytes:
    """A deflated data set (PS3.5 section A.5), bounded."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    found = inflater.decompress(file.read(), limits.max_inflated_bytes)
    if inflater.unconsumed_tail and not inflater.eof:
        raise Refusal("too-large", "inflated data set")
    return found
