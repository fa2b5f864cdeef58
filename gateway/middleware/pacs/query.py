"""A question to a PACS, and what it answers: plain values, which cross between processes. Loads no DICOM library."""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from typing import Any, Literal

from msgspec import Struct, field

from gateway.middleware.pacs.errors import QueryInvalid

Level = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
"""Query/Retrieve levels of PS3.4 section C.6."""

_PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
_STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "ReferringPhysicianName",
    "ModalitiesInStudy",
    "SOPClassesInStudy",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)
_SERIES = (
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "BodyPartExamined",
    "NumberOfSeriesRelatedInstances",
)
_IMAGE = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber", "NumberOfFrames")
RETURNED: dict[Level, tuple[str, ...]] = {
    "PATIENT": _PATIENT,
    "STUDY": _PATIENT + _STUDY,
    "SERIES": ("StudyInstanceUID", *_SERIES),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", *_IMAGE),
}
DOCTORS = (
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
)
"""What a query at level STUDY may ask for beside these: of many PACS it costs a look into each study's files."""
UNIQUE: dict[Level, str] = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
NEEDED: dict[Level, tuple[str, ...]] = {
    "PATIENT": (),
    "STUDY": (),
    "SERIES": ("StudyInstanceUID",),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID"),
}
"""The keys of the levels above, which a hierarchical query states (PS3.4 section C.4.1.2.1)."""
MOST_HITS = 500
_MOST_CHARACTERS = 4096
_DAYS = re.compile(r"[0-9]{8}|[0-9]{8}-|-[0-9]{8}|[0-9]{8}-[0-9]{8}", re.ASCII)
_UIDS = re.compile(r"[0-9.]{1,64}(\\[0-9.]{1,64})*")
_HANGUL_NAME = re.compile(r"[가-힣]{2,5}")


class Query(Struct, frozen=True, forbid_unknown_fields=True):
    """``filters``: keyword to value as C-FIND takes it: ``*`` and ``?``, dates ``20240101-``, UIDs parted by ``\\``."""

    level: Level = "STUDY"
    filters: dict[str, str] = field(default_factory=dict)
    most: int = MOST_HITS
    """No more hits than this of each PACS; more than 5,000 are never given."""
    also: list[str] = field(default_factory=list)
    """Keywords of ``DOCTORS`` that are asked for, too."""

    @property
    def returned(self) -> tuple[str, ...]:
        """Keywords of what is asked for."""
        return tuple(dict.fromkeys((*RETURNED[self.level], *self.also)))

    def check(self) -> None:
        """QueryInvalid names the keyword and the rule, never the value."""
        allowed = {keyword for keywords in RETURNED.values() for keyword in keywords}
        for keyword, value in self.filters.items():
            if keyword not in allowed:
                raise QueryInvalid(f"{keyword[:64]} is no keyword that is searched by")
            if len(value) > _MOST_CHARACTERS * (16 if keyword.endswith("UID") else 1) or not value.isprintable():
                raise QueryInvalid(f"the value of {keyword} is too long, or has control characters")
            if keyword.endswith("UID") and value and not _UIDS.fullmatch(value):
                raise QueryInvalid(f"{keyword} is not a UID (PS3.5 section 9.1)")
            if "\\" in value and not keyword.endswith("UID") and keyword != "ModalitiesInStudy":
                raise QueryInvalid(f"the value of {keyword} must not hold a backslash")
            if keyword.endswith("Date") and value:
                days(value)
        if self.also and (self.level != "STUDY" or not set(self.also) <= set(DOCTORS)):
            raise QueryInvalid("only at level STUDY more is asked for, and of that only who its doctors are")
        for keyword in NEEDED[self.level]:
            if not self.filters.get(keyword):
                raise QueryInvalid(f"a query at level {self.level} states {keyword}")


def days(text: str) -> tuple[dt.date | None, dt.date | None]:
    """First and last day of ``20240131``, ``20240101-20240131``, ``20240101-`` or ``-20240131``; or QueryInvalid."""
    first, dash, last = text.partition("-")
    try:
        if not _DAYS.fullmatch(text):
            raise ValueError
        begin, end = (dt.date.fromisoformat(one) if one else None for one in (first, last))
    except ValueError:
        raise QueryInvalid(
            "a date is a day such as 20240131, or a range: 20240101-20240131, 20240101- or -20240131"
        ) from None
    if begin and end and begin > end:
        raise QueryInvalid("a range of dates begins before it ends: 20240101-20240131")
    return begin, end if dash else begin


class Hit(Struct, frozen=True):
    """One match: DICOM JSON (PS3.18 annex F) of what was asked, and the PACS that has it."""

    pacs: str
    attributes: dict[str, Any]


class Away(Struct, frozen=True):
    """A PACS that could not be asked; its hits are lacking."""

    pacs: str
    reason: str


class Found(Struct, frozen=True):
    """All hits, and who did not answer; ``cut``: PACS that had more than were asked for."""

    hits: list[Hit] = field(default_factory=list)
    away: list[Away] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


class Progress(Struct, frozen=True):
    """Of a retrieval: instances that are here, of so many that there are (0: not known yet)."""

    here: int
    total: int
    from_pacs: int = 0
    """How many of ``here`` this retrieval fetched."""


class Retrieved(Struct, frozen=True):
    """How a retrieval ended.

    complete: all that the PACS has is here, ``here`` of ``total`` (fetched now: ``from_pacs``).
    partial: some is here; the rest was refused or the PACS went away, ``reason`` says which.
    absent: no PACS that could be asked has the study, and nothing of it is here.
    """

    outcome: Literal["complete", "partial", "absent"]
    here: int = 0
    total: int = 0
    from_pacs: int = 0
    pacs: str = ""
    """Which PACS was asked; empty: none, what is here was known to be whole."""
    reason: str = ""


class Stored(Struct, frozen=True):
    """How a PACS took one instance: ``status`` as of C-STORE (PS3.4 table B.2-1), 0 and 0xBxxx are success."""

    ok: bool
    status: int = 0
    reason: str = ""
    SOPClassUID: str = ""
    SOPInstanceUID: str = ""


def value(attributes: dict[str, Any], tag: str) -> str:
    """The first value of an element of DICOM JSON as text; of names the alphabetic group, else another one."""
    values = attributes.get(tag, {}).get("Value") or [""]
    first = values[0]
    if isinstance(first, dict):
        return str(first.get("Alphabetic") or first.get("Ideographic") or first.get("Phonetic") or "")
    return str(first)


# ── names in other letters than ASCII ─────────────────────────────────────────────────────────────────────────────


def wide_name(pattern: str) -> str:
    """A pattern that also finds ``pattern`` in a later component group, and ``홍길동`` where ``홍^길동`` stands.

    A name that is stored as ``Hong^Gildong=洪^吉洞=홍^길동`` (PS3.5 annex I) is not matched by its third group:
    the PACS is asked for anything around it; ``is_named`` sorts out what came too much.
    """
    if pattern.isascii() or "=" in pattern:
        return pattern
    if _HANGUL_NAME.fullmatch(pattern):
        pattern = f"{pattern[0]}*{pattern[1:]}"
    return re.sub(r"\*+", "*", f"*{pattern}*")


def is_named(pattern: str, attributes: dict[str, Any]) -> bool:
    """Whether a hit's PatientName is what was looked for; also where the PACS left the letters out of its answer."""
    groups = (attributes.get("00100010", {}).get("Value") or [{}])[0]
    found = [str(text) for text in groups.values()] if isinstance(groups, dict) else [str(groups)]
    if pattern.isascii() or "=" in pattern or all(text.isascii() for text in found):
        return True
    wanted = re.compile(fnmatch.translate(_joined(pattern).replace("[", "[[]")))
    return any(wanted.match(_joined(text)) for text in found)


def _joined(text: str) -> str:
    return text.replace("^", "").replace(" ", "").casefold()
