"""Whether a study matches a search: the keys of C-FIND over DICOM JSON (PS3.4 section C.2.2.2). Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from wire.asks import Search

Attributes = dict[str, Any]
"""DICOM JSON model (PS3.18 annex F)."""

_NAME, _ID, _ACCESSION, _DATE = "00100010", "00100020", "00080050", "00080020"
_DESCRIPTION, _MODALITIES, _BODY_PART, _MODALITY = "00081030", "00080061", "00180015", "00080060"
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def texts(attributes: Attributes, tag: str) -> Iterator[str]:
    """The values of an element as text; of a name each of its groups."""
    for value in (attributes.get(tag) or {}).get("Value") or ():
        if isinstance(value, dict):
            yield from (str(value[group]) for group in _GROUPS if value.get(group))
        elif value is not None:
            yield str(value)


def matches(search: Search, study: Attributes, series: Sequence[Attributes]) -> bool:
    """Whether a study and its series match all keys that are not empty."""
    return matches_study(search, study) and _matches_series(search, study, series)


def matches_study(search: Search, study: Attributes) -> bool:
    """The keys that stand in the study's own attributes."""
    return (
        _any(search.PatientID, texts(study, _ID))
        and _any(search.AccessionNumber, texts(study, _ACCESSION))
        and _any(search.StudyDescription, texts(study, _DESCRIPTION))
        and is_within(search.StudyDate, next(texts(study, _DATE), ""))
        and (not search.PatientName or is_named(search.PatientName, texts(study, _NAME)))
    )


def _matches_series(search: Search, study: Attributes, series: Sequence[Attributes]) -> bool:
    if search.ModalitiesInStudy:
        there = {*texts(study, _MODALITIES), *(text for one in series for text in texts(one, _MODALITY))}
        if there.isdisjoint(search.ModalitiesInStudy):
            return False
    return _any(search.BodyPartExamined, (text for one in series for text in texts(one, _BODY_PART)))


def _any(pattern: str, values: Iterable[str]) -> bool:
    if not pattern.strip("*"):
        return True
    wanted = _fold(pattern)
    return any(fits(wanted, _fold(value)) for value in values)


def is_named(pattern: str, groups: Iterable[str]) -> bool:
    """Whether one of a name's groups matches; ``홍길동`` and ``홍^길동`` are one, and so are letters' cases."""
    exact, joined = _fold(pattern), _joined(pattern)
    return any(fits(exact, _fold(one)) or fits(joined, _joined(one)) for group in groups for one in group.split("="))


def is_within(wanted: str, date: str) -> bool:
    """Whether a date lies in a range; without a date it lies in none."""
    if not wanted:
        return True
    if not re.fullmatch(r"[0-9]{8}", date):
        return False
    first, dash, last = wanted.partition("-")
    return date == first if not dash else (not first or first <= date) and (not last or date <= last)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().strip()


def _joined(text: str) -> str:
    return _fold(text).replace("^", "").replace(" ", "")


def fits(pattern: str, text: str) -> bool:
    """Whether all of ``text`` matches, in time that grows with both lengths: stars cost no more than that."""
    at = back = 0  # in the pattern, and behind its last star
    seen = kept = 0  # in the text, and where that star's characters end for now
    while seen < len(text):
        if at < len(pattern) and pattern[at] == "*":
            at += 1
            back, kept = at, seen
        elif at < len(pattern) and pattern[at] in ("?", text[seen]):
            at, seen = at + 1, seen + 1
        elif back:
            kept += 1
            at, seen = back, kept
        else:
            return False
    return not pattern[at:].strip("*")
