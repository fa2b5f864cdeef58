"""One HL7 v2 message: its header, and the movements that it tells. Pure; HL7 v2.5.1 chapters 2 and 3.

The message is cut by python-hl7; only the segments that are read here are given to it. Its ``unescape`` is not used: a
count in an escape sequence would have it make gigabytes, and its log quotes what it could not read.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hl7

from gateway.middleware.adt.charset import decode
from gateway.middleware.adt.errors import AdtError, Incomplete, NotFollowed, Unreadable, Unsupported
from gateway.middleware.adt.names import person_name
from gateway.middleware.movement import Change, Movement

_CHANGES = {
    "A01": Change.ADMIT,
    "A02": Change.TRANSFER,
    "A03": Change.DISCHARGE,
    "A06": Change.ADMIT,  # an outpatient becomes an inpatient
    "A07": Change.DISCHARGE,  # and the other way round
    "A08": Change.UPDATE,
    "A11": Change.CANCEL_ADMIT,
    "A12": Change.CANCEL_TRANSFER,
    "A13": Change.CANCEL_DISCHARGE,
    "A17": Change.TRANSFER,  # two patients change beds: two groups of PID and PV1
}
_SWAP = "A17"
_MERGES = frozenset(["A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47"])
"""The identifier of MRG-1 becomes that of PID-3, by a merge or a change of identifiers."""
_MARK = b"\xef\xbb\xbf"
_OTHER_IDENTITY = frozenset(["A24", "A37", "A43", "A45", "A48"])
"""Links, and what moves parts of one patient's record to another's."""
_READ = frozenset({"MSH", "EVN", "PID", "PV1", "MRG"})
_MOST_SEGMENT_CHARACTERS = 32_768
_MOST_SEGMENTS = 64
_MOMENT = re.compile(r"[0-9]{8}([0-9]{2}){0,3}(\.[0-9]{1,6})?([+-][0-9]{4})?")
_NAME = re.compile(r"[A-Z]{3}\^[A-Z][0-9A-Z]{2}")
_MOST_SENDER_CHARACTERS = 64
_EVENT = re.compile(r"[A-Z][0-9A-Z]{2}")
_TYPES = ("MR", "PI", "PT", "")
"""HL7 table 0203: a medical record number first, then internal and external identifiers of patients."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How messages are read: see the section ``hl7`` of the configuration."""

    authority: str = ""
    keep_issuer: bool = False
    charset: str = ""
    time_zone: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """Of MSH, what the answer repeats or depends on."""

    control_id: str = ""
    type: str = ""
    event: str = ""
    sender: str = ""
    """Application and facility, which with ``control_id`` name the message."""
    application: str = ""
    facility: str = ""
    processing: str = ""
    version: str = ""
    accept: str = ""
    """MSH-15 and MSH-16: which acknowledgements the sender waits for; empty: in the original mode."""
    result: str = ""

    @property
    def name(self) -> str:
        """``ADT^A01``; empty where that is none, for a shifted field may hold anything."""
        name = f"{self.type}^{self.event}"
        return name if _NAME.fullmatch(name) else ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was read so far that it can be answered."""

    header: Header
    parsed: Any = field(repr=False)
    codec: str = "ascii"


def parse(data: bytes, reading: Reading) -> Message:
    """Cut a message into what is read of it. Raises Unreadable."""
    text, codec = decode(data.removeprefix(_MARK).lstrip(b"\r\n\t "), reading.charset)
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line[:3] in _READ]
    if not text.startswith("MSH") or len(lines[0]) < 8:
        raise Unreadable("it does not begin with a segment MSH")
    if len(lines) > _MOST_SEGMENTS or any(len(line) > _MOST_SEGMENT_CHARACTERS for line in lines):
        raise Unreadable("a segment is too long, or there are too many of one kind")
    if any(line[3:4] != lines[0][3] for line in lines if len(line) > 3):
        raise Unreadable("a segment's name is not followed by the field separator")
    try:
        parsed = hl7.parse("\r".join(lines))
    except Exception:  # the library has no one error for what it cannot cut
        raise Unreadable("its segments and fields cannot be told apart") from None
    return Message(_header(_Reader(parsed, codec)), parsed, codec)


def movements(message: Message, reading: Reading, now: float) -> list[Movement]:
    """What the message says; nothing where it is about something else than who lies where.

    Raises:
        AdtError: it is not for this receiver, or lacks what is needed.
    """
    header, reader = message.header, _Reader(message.parsed, message.codec)
    if header.type != "ADT" or not _EVENT.fullmatch(header.event):
        raise Unsupported("only messages of type ADT are taken", 200)
    if header.processing not in ("", "P"):
        raise Unsupported("MSH-11 says that it is for training or debugging", 202)
    if header.event in _OTHER_IDENTITY:
        raise NotFollowed("links of patients and parts of records are not followed: move the patient by hand")
    change = Change.MERGE if header.event in _MERGES else _CHANGES.get(header.event)
    if change is None:
        return []
    at = _moment(reader, reading, now)
    persons = list(reader.groups())
    if not persons:
        raise Incomplete("there is no segment PID", 100)
    if header.event == _SWAP and len(persons) != 2:
        raise Incomplete("A17 names two patients, each with PID and PV1", 100)
    if change is Change.MERGE:
        return [_merge(header, group, at, reading) for group in persons]
    return [_movement(change, header, group, at, reading) for group in persons[: 2 if header.event == _SWAP else 1]]


class _Reader:
    """Fields by their numbers in the standard, from 1; what is not there is empty."""

    def __init__(self, parsed: Any, codec: str) -> None:
        self._parsed = parsed
        self._codec = codec

    def first(self, name: str) -> Any:
        """The first segment of this name, or an empty one."""
        return next((one for one in self._parsed if str(one[0]) == name), [])

    def groups(self) -> Iterator[_Group]:
        """Each PID with the PV1 and the MRG that follow it."""
        found: list[_Group] = []
        for segment in self._parsed:
            if str(segment[0]) == "PID":
                found.append(_Group(self, segment))
            elif str(segment[0]) == "PV1" and found and not found[-1].visit:
                found[-1].visit = segment
            elif str(segment[0]) == "MRG" and found and not found[-1].merged:
                found[-1].merged = segment
        return iter(found)

    def repetitions(self, segment: Any, number: int) -> list[Any]:
        return list(segment[number]) if len(segment) > number else []

    def text(self, repetition: Any, component: int = 1, subcomponent: int = 1) -> str:
        """One component of a repetition; ``""`` (HL7's "delete what you know") is empty too."""
        found = repetition
        for number in (component, subcomponent):
            if isinstance(found, str):
                found = found if number == 1 else ""
            else:
                found = found[number - 1] if len(found) >= number else ""
        text = _unescaped(str(found), self._parsed.separators, self._parsed.esc, self._codec).strip()
        return "" if text == '""' else text

    def field(self, segment: Any, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """The same of a field's first repetition."""
        found = self.repetitions(segment, number)
        return self.text(found[0], component, subcomponent) if found else ""


@dataclass(slots=True)
class _Group:
    reader: _Reader
    person: Any
    visit: Any = ()
    merged: Any = ()


def _header(reader: _Reader) -> Header:
    msh = reader.first("MSH")
    application, facility = (reader.field(msh, number)[:_MOST_SENDER_CHARACTERS] for number in (3, 4))
    return Header(
        control_id=reader.field(msh, 10),
        type=reader.field(msh, 9).upper(),
        event=(reader.field(msh, 9, 2) or reader.field(reader.first("EVN"), 1)).upper(),
        sender=f"{application}|{facility}",
        application=application,
        facility=facility,
        processing=reader.field(msh, 11).upper(),
        version=reader.field(msh, 12),
        accept=reader.field(msh, 15).upper(),
        result=reader.field(msh, 16).upper(),
    )


def _movement(change: Change, header: Header, group: _Group, at: float, reading: Reading) -> Movement:
    reader = group.reader
    patient, authority = _identifier(reader, "PID-3", group.person, (3, 2), reading)
    ward, bed = "", ""
    if change.cancels is None and change is not Change.DISCHARGE:
        ward = reader.field(group.visit, 3)
        bed = "-".join(filter(None, (reader.field(group.visit, 3, 2), reader.field(group.visit, 3, 3))))
        if not ward and change is not Change.UPDATE:
            raise Incomplete("PV1-3 names no point of care")
    names = [[reader.text(one, n) for n in range(1, 9)] for one in reader.repetitions(group.person, 5)]
    return Movement(
        change=change,
        PatientID=patient,
        IssuerOfPatientID=authority if reading.keep_issuer else "",
        at=at,
        ward=ward,
        bed=bed,
        PatientName=person_name(names),
        authority="" if reading.keep_issuer else authority,
        source="hl7",
        message=f"{header.sender}|{header.control_id}" if header.control_id else "",
    )


def _merge(header: Header, group: _Group, at: float, reading: Reading) -> Movement:
    old, authority = _identifier(group.reader, "MRG-1", group.merged, (1,), reading)
    new, its = _identifier(group.reader, "PID-3", group.person, (3, 2), reading)
    return Movement(
        change=Change.MERGE,
        PatientID=old,
        IssuerOfPatientID=authority if reading.keep_issuer else "",
        at=at,
        into=(new, its if reading.keep_issuer else ""),
        authority="" if reading.keep_issuer else authority,
        source="hl7",
        message=f"{header.sender}|{header.control_id}" if header.control_id else "",
    )


def _identifier(reader: _Reader, name: str, segment: Any, fields: tuple[int, ...], reading: Reading) -> tuple[str, str]:
    """``(PatientID, assigning authority)`` of PID-3, or of PID-2 where senders older than v2.3 have it; or of MRG-1."""
    found = []
    for one in [repetition for number in fields for repetition in reader.repetitions(segment, number)]:
        text, authority = reader.text(one), reader.text(one, 4)
        is_wanted = not reading.authority or reading.authority in (authority, reader.text(one, 4, 2))
        if text and is_wanted:
            kind = reader.text(one, 5).upper()
            rank = _TYPES.index(kind) if kind in _TYPES else len(_TYPES)
            found.append((rank, text, authority))
    if not found:
        who = "of the authority that hl7.authority names" if reading.authority else "in it"
        raise Incomplete(f"{name} has no identifier {who}")
    _, text, authority = min(found, key=lambda one: one[0])  # the first of the best
    return text, authority


def _moment(reader: _Reader, reading: Reading, now: float) -> float:
    """When it was recorded (EVN-2), or when the message was made (MSH-7), or now; POSIX seconds."""
    text = reader.field(reader.first("EVN"), 2) or reader.field(reader.first("MSH"), 7)
    if not text:
        return now
    try:
        if not _MOMENT.fullmatch(text):  # the library takes the digits that a text begins with
            raise ValueError("no DTM")
        found: dt.datetime = hl7.parse_datetime(text)
        if found.tzinfo is None and reading.time_zone:
            found = found.replace(tzinfo=zoneinfo.ZoneInfo(reading.time_zone))
        return found.astimezone(dt.UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        raise Incomplete("EVN-2 or MSH-7 is no time", 102) from None


def _unescaped(text: str, separators: str, escape: str, codec: str) -> str:
    """Escape sequences (section 2.7) undone: separators, and bytes in hexadecimal; what formats text is left out."""
    if escape not in text or not escape:
        return text
    known = dict(zip("FRST", separators[1:5], strict=False)) | {"E": escape}
    parts = text.split(escape)
    if len(parts) % 2 == 0:  # one that does not end: it is a character like others
        return text
    return "".join(part if position % 2 == 0 else _meant(part, known, codec) for position, part in enumerate(parts))


def _meant(sequence: str, known: dict[str, str], codec: str) -> str:
    if sequence in known:
        return known[sequence]
    try:
        return bytes.fromhex(sequence[1:]).decode(codec) if sequence[:1] == "X" else ""
    except ValueError:
        raise AdtError("an escape sequence is broken", 102) from None
