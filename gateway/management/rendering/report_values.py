"""Values of content items as a person reads them: codes, names, dates, measurements, references, coordinates.

Every text that leaves here is free of control characters: it goes to terminals and into HTML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID

from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

# Controls of ASCII and Latin-1 (an escape sequence would command a terminal), what reorders lines (U+202A to U+202E,
# U+2066 to U+2069), halves of surrogate pairs, and what no XML may hold.
_CONTROLS: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_LINE_BREAK: Final = re.compile("\r\n|\n\r|\r|\n|\x0b|\x0c|\x85|\u2028|\u2029")
_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*\Z")
_CJK: Final = re.compile("[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_MAX_SHOWN: Final = 12
"""Frames, channels or samples that are listed by number."""


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str

    @property
    def readable(self) -> str:
        """Its meaning; without one, the code itself."""
        return self.meaning or self.designation

    @property
    def designation(self) -> str:
        """``value, scheme``."""
        return ", ".join(part for part in (self.value, self.scheme) if part)


@dataclass(frozen=True, slots=True)
class Reference:
    """Another SOP Instance. ``frames`` count from 1, empty: all of it; ``note`` says which part is meant otherwise."""

    kind: str
    instance: str
    frames: tuple[int, ...] = ()
    note: str = ""

    @property
    def is_legal(self) -> bool:
        """Whether ``instance`` can stand in a link."""
        return is_uid(self.instance)

    @property
    def readable(self) -> str:
        """``CT Image, frame 5``."""
        frames = f"{'frame' if len(self.frames) == 1 else 'frames'} {numbers(self.frames)}" if self.frames else ""
        return ", ".join(part for part in (self.kind, frames, self.note) if part)


def is_uid(value: str) -> bool:
    """PS3.5 section 9.1; zeros that lead a component are let through, because modalities write them."""
    return bool(_UID.match(value))


# ── elements ──────────────────────────────────────────────────────────────────────────────────────────────────────


def clean(value: str) -> str:
    """``value`` with plain line breaks and without control characters; trailing space is padding (PS3.5 6.2)."""
    return _CONTROLS.sub("", _LINE_BREAK.sub("\n", value)).rstrip(" \n")


def text(data: Dataset, keyword: str) -> str:
    """An element's value as text, as it was written; empty when absent. Several values keep their backslash."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    try:
        element = data.get(tag)
        value = None if element is None else element.value
    except (MemoryError, RecursionError):
        raise
    except Exception:  # a number that is none, say: what was written is shown all the same
        value = getattr(data._dict.get(BaseTag(tag)), "value", b"")
    if value is None:
        return ""
    several = isinstance(value, MultiValue | list | tuple)
    return clean("\\".join(map(_one, value)) if several else _one(value))


def _one(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if isinstance(value, Sequence | Dataset) else str(value)


def items(data: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent.

    Raises ``Refusal`` for one that does not parse or breaks off: a report must not be shown without a part of it.
    """
    try:
        value = data.get(keyword)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise Refusal("malformed", keyword) from error
    found = list(value) if isinstance(value, Sequence) else []
    if (value and not found) or any(map(is_cut, found)):
        raise Refusal("malformed", keyword)
    return found


def is_cut(data: Dataset) -> bool:
    """Whether an element that was not looked at yet has fewer bytes than its length says."""
    raw: list[Any] = [element for element in data._dict.values() if element.is_raw]
    return any(one.value is not None and one.length not in (len(one.value), _UNDEFINED_LENGTH) for one in raw)


def integers(data: Dataset, keyword: str) -> list[int]:
    """All values as integers; none where one of them is no integer."""
    try:
        return [int(one) for one in _several(_value(data, keyword))]
    except (TypeError, ValueError, OverflowError):
        return []


def _value(data: Dataset, keyword: str) -> Any:
    try:
        return data.get(keyword)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # of the wrong kind
        return None


def _several(value: Any) -> Iterable[Any]:
    if value is None or value == "":
        return ()
    return value if isinstance(value, MultiValue | list | tuple) else (value,)


def numbers(found: Iterable[Any]) -> str:
    """``1, 2, 3``; long lists are cut, and say so."""
    listed = [str(one) for one in found]
    more = len(listed) - _MAX_SHOWN
    return ", ".join(listed[:_MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


# ── codes and measurements ────────────────────────────────────────────────────────────────────────────────────────


def code(data: Dataset, keyword: str) -> Code | None:
    """The first item of a code sequence (PS3.3 section 8.8); None where there is none or it is empty."""
    for item in items(data, keyword)[:1]:
        value = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
        found = Code(value.strip(), text(item, "CodingSchemeDesignator").strip(), text(item, "CodeMeaning").strip())
        return found if found.value or found.meaning else None
    return None


def measurement(data: Dataset) -> str:
    """A NUM item's values with their units; where there is none, the reason that stands in its place."""
    found = [_measured(item) for item in items(data, "MeasuredValueSequence")]
    qualifier = code(data, "NumericValueQualifierCodeSequence")
    if qualifier is not None:
        found.append(f"({qualifier.readable})" if found else qualifier.readable)
    return " ".join(one for one in found if one) or "(no value)"


def _measured(item: Dataset) -> str:
    number = text(item, "NumericValue").strip() or text(item, "FloatingPointValue").strip()
    units = code(item, "MeasurementUnitsCodeSequence")
    if not number:
        return ""
    return number if units is None else f"{number} {unit(units)}"


def unit(units: Code) -> str:
    """``cm (centimeter)``: the UCUM symbol is read by everybody, its meaning stands beside it.

    UCUM's unit ``1`` behind a number would be read as a part of it: there the meaning stands alone.
    """
    symbol = "" if units.value == "1" else units.value
    if not symbol or units.meaning in ("", symbol):
        return symbol or units.meaning
    return f"{symbol} ({units.meaning})"


# ── names and times ───────────────────────────────────────────────────────────────────────────────────────────────


def person(value: str) -> str:
    """A person's name (PS3.5 section 6.2.1): ``Hong, Gildong (洪吉童, 홍길동)`` from its up to three groups."""
    groups = [one for group in value.split("=")[:3] if (one := _name_group(group))]
    if len(groups) < 2:
        return "".join(groups)
    return f"{groups[0]} ({', '.join(groups[1:])})"


def _name_group(group: str) -> str:
    family, given, middle, prefix, suffix = ([part.strip() for part in group.split("^")] + [""] * 5)[:5]
    if _CJK.search(group):
        name = family + given + middle
    else:
        forenames = " ".join(part for part in (given, middle) if part)
        name = ", ".join(part for part in (family, forenames) if part)
    name = " ".join(part for part in (prefix, name) if part)
    return ", ".join(part for part in (name, suffix) if part)


def date(value: str) -> str:
    """DA as ``2000-12-06``; what is no date stays as it is."""
    value = value.strip()
    found = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", value)
    return "-".join(found.groups()) if found else value


def time(value: str) -> str:
    """TM as ``12:00:00``, with a fraction where it is not zero."""
    value = value.strip()
    found = re.fullmatch(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(\.\d{1,6})?)?)?", value)
    if not found:
        return value
    clock = ":".join(part for part in found.groups()[:3] if part)
    return clock + (found[4] if found[4] and found[4].strip(".0") else "")


def moment(value: str) -> str:
    """DT as ``2001-02-13 18:47:46 +0100``."""
    value = value.strip()
    found = re.fullmatch(r"(\d{4})(\d{2})?(\d{2})?(\d[\d.]*)?([+-]\d{4})?", value)
    if not found:
        return value
    day = "-".join(part for part in found.groups()[:3] if part)
    return " ".join(part for part in (day, time(found[4] or ""), found[5] or "") if part)


# ── references and coordinates ────────────────────────────────────────────────────────────────────────────────────


def references(data: Dataset) -> tuple[Reference, ...]:
    """What an IMAGE, WAVEFORM or COMPOSITE item points to (PS3.3 sections C.18.3 to C.18.5)."""
    return tuple(_reference(item) for item in items(data, "ReferencedSOPSequence"))


def _reference(item: Dataset) -> Reference:
    notes = []
    if segments := integers(item, "ReferencedSegmentNumber"):
        notes.append(f"segment {numbers(segments)}")
    channels = integers(item, "ReferencedWaveformChannels")
    if channels:
        pairs = zip(channels[::2], channels[1::2], strict=False)
        notes.append(f"channels {numbers(f'{group}/{channel}' for group, channel in pairs)}")
    states = items(item, "ReferencedSOPSequence")[:1]
    notes += [f"as {_class_name(text(state, 'ReferencedSOPClassUID'))}" for state in states]
    return Reference(
        kind=_class_name(text(item, "ReferencedSOPClassUID")),
        instance=text(item, "ReferencedSOPInstanceUID").strip(),
        frames=tuple(one for one in integers(item, "ReferencedFrameNumber") if one > 0),
        note=", ".join(notes),
    )


def _class_name(uid: str) -> str:
    uid = uid.strip()
    name = UID(uid).name if is_uid(uid) else ""
    known = name not in ("", uid)
    return name.removesuffix(" Storage") if known else "Object"


def graphic(data: Dataset) -> str:
    """SCOORD (PS3.3 section C.18.6): its type and its points, column first; a single point says where."""
    points = [_short(value) for value in _several(_value(data, "GraphicData"))]
    return _figure(text(data, "GraphicType"), points, 2, "at column {}, row {}", "column, row")


def graphic_3d(data: Dataset) -> str:
    """SCOORD3D (PS3.3 section C.18.9): millimetres in the patient's coordinate system."""
    points = [_short(value) for value in _several(_value(data, "GraphicData"))]
    return _figure(text(data, "GraphicType"), points, 3, "at x {}, y {}, z {} mm", "x, y, z in mm")


def _figure(kind: str, values: list[str], size: int, place: str, axes: str) -> str:
    figure = kind.strip().lower() or "figure"
    if len(values) == size:
        return f"{figure} {place.format(*values)}"
    points = [f"({', '.join(values[at : at + size])})" for at in range(0, len(values) - size + 1, size)]
    if not points:
        return f"{figure} without points"
    return f"{figure} of {len(points)} points ({axes}): {numbers(points)}"


def _short(value: Any) -> str:
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return clean(str(value))[:16]


def time_range(data: Dataset) -> str:
    """TCOORD (PS3.3 section C.18.7)."""
    kind = text(data, "TemporalRangeType").strip().lower() or "time"
    if samples := integers(data, "ReferencedSamplePositions"):
        return f"{kind}, samples {numbers(samples)}"
    if offsets := text(data, "ReferencedTimeOffsets"):
        return f"{kind}, {numbers(offsets.split(chr(92)))} s from the start"
    moments = text(data, "ReferencedDateTime")
    return ", ".join([kind, *(moment(one) for one in moments.split("\\") if one)])
