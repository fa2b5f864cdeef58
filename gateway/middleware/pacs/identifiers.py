"""Queries as data sets and answers as DICOM JSON: the character sets of both ways stand here."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from gateway.middleware.attributes import AttributeCache, tags
from gateway.middleware.charset import TEXT_VRS, mark_of, reading_of
from gateway.middleware.pacs.query import Query, wide_name

log = logging.getLogger(__name__)

_ELEMENT_LIMIT = 4096
_ESCAPES = {"ISO 2022 IR 149": ("euc_kr", b"\x1b$)C"), "ISO 2022 IR 58": ("gb2312", b"\x1b$)A")}
"""Sets that stand in G1 beside ASCII, so that wildcards need no escape back."""
_keys = functools.cache(tags)


@functools.cache
def _texts(*keywords: str) -> tuple[int, ...]:
    return tuple(tag for tag in _keys(*keywords) if dictionary_VR(tag) in TEXT_VRS)


def identifiers(query: Query, charsets: Sequence[str]) -> Iterator[Dataset]:
    """The C-FIND identifier, once in each character set that can say it; only one where all is ASCII."""
    filters = dict(query.filters)
    if "PatientName" in filters:
        filters["PatientName"] = wide_name(filters["PatientName"])
    if all(text.isascii() for text in filters.values()):
        yield _identifier(query, filters, "")
        return
    for charset in charsets:
        if _says(charset, filters):
            yield _identifier(query, filters, charset)


def _identifier(query: Query, filters: dict[str, str], charset: str) -> Dataset:
    data = Dataset()
    if charset:
        # A code extension is added to the default repertoire (PS3.5 section 6.1.2.5), a set of its own replaces it.
        data.SpecificCharacterSet = ["", charset] if charset.startswith("ISO 2022") else charset
    data.QueryRetrieveLevel = query.level
    for keyword in query.returned:
        setattr(data, keyword, None)
    for keyword, text in filters.items():
        is_list = keyword.endswith("UID") or keyword == "ModalitiesInStudy"
        setattr(data, keyword, text.split("\\") if is_list and "\\" in text else text)
    if charset in _ESCAPES and (name := filters.get("PatientName", "")).startswith("*"):
        # pydicom writes the escape sequence first of all, where no stored name has it: a PACS that compares bytes
        # (many do) would find nothing. Both forms are right (PS3.5 section 6.1.2.5.3).
        codec, escape = _ESCAPES[charset]
        encoded = b"*" + escape + name[1:].encode(codec)
        data.PatientName = PersonName(encoded, ["iso8859", codec])
    return data


def _says(charset: str, filters: dict[str, str]) -> bool:
    try:
        for text in filters.values():
            text.encode(python_encoding.get(charset, charset))
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def retrieve_identifier(StudyInstanceUID: str, SeriesInstanceUID: str, SOPInstanceUIDs: Sequence[str]) -> Dataset:
    """The identifier of C-GET and C-MOVE at the lowest level that is named (PS3.4 section C.4.2.1.4)."""
    data = Dataset()
    data.QueryRetrieveLevel = "IMAGE" if SOPInstanceUIDs else "SERIES" if SeriesInstanceUID else "STUDY"
    data.StudyInstanceUID = StudyInstanceUID
    if SeriesInstanceUID:
        data.SeriesInstanceUID = SeriesInstanceUID
    if SOPInstanceUIDs:
        data.SOPInstanceUID = list(SOPInstanceUIDs)
    return data


def attributes(query: Query, answer: Dataset) -> dict[str, Any]:
    """One answer as DICOM JSON: of it what was asked for, in bounds, its text read as it was meant. Raises nothing."""
    reading = reading_of(answer, _texts(*query.returned))
    is_implicit, is_little = answer.original_encoding
    reading.settle(answer, bool(is_implicit), is_little is not False)
    more = mark_of(reading) if reading.is_guess else {}
    found: dict[str, Any] = {}
    cache = AttributeCache()
    for tag in _keys(*query.returned):
        try:
            found |= json.loads(cache.encode(answer, (tag,)))
        except Exception as error:  # whatever a parser does with a stranger's bytes, the other elements are read
            log.info("an element of an answer cannot be read: %s", type(error).__name__)
    return {**found, **more}


def trimmed(query: Query, answer: dict[str, Any]) -> dict[str, Any]:
    """The same of an answer that is DICOM JSON already (QIDO-RS)."""
    names = [f"{tag:08X}" for tag in _keys(*query.returned)]
    return {name: answer[name] for name in names if _is_element(answer.get(name))}


def _is_element(element: Any) -> bool:
    """Whether it is an element of DICOM JSON, of a length that an answer has."""
    if not isinstance(element, dict) or not isinstance(element.get("Value", []), list):
        return False
    return len(json.dumps(element)) <= _ELEMENT_LIMIT


def tag_name(keyword: str) -> str:
    """``0020000D`` of ``StudyInstanceUID``."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return f"{tag:08X}"
