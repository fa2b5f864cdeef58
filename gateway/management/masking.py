"""A study as a ward's wall may show it: a closed list of attributes, and the patient's name under a mask. Pure.

What tells one bed from the next is enough on a wall: no identifiers, birth dates or physicians.
"""

import json
import unicodedata
from dataclasses import replace
from typing import Any, Literal

from gateway.management.index.arrivals_rows import SeriesRow, StudyRow

Names = Literal["masked", "initials", "none"]
Json = dict[str, Any]

_NAME = "00100010"
_STUDY = frozenset(
    {
        "00080020",  # StudyDate
        "00080030",  # StudyTime
        "00080061",  # ModalitiesInStudy
        "00080201",  # TimezoneOffsetFromUTC
        "00081030",  # StudyDescription
        "0020000D",  # StudyInstanceUID
        "00380300",  # CurrentPatientLocation
        "00401003",  # RequestedProcedurePriority
        "04000561",  # OriginalAttributesSequence: the mark of text that was guessed
    }
)
_SERIES = frozenset(
    {
        "00080021",  # SeriesDate
        "00080031",  # SeriesTime
        "00080060",  # Modality
        "0008103E",  # SeriesDescription
        "00180015",  # BodyPartExamined
        "0020000E",  # SeriesInstanceUID
        "00200011",  # SeriesNumber
        "00200060",  # Laterality
    }
)
_FREE_TEXTS = ("00081030", "0008103E", "00380300")
_IDENTIFIERS = (_NAME, "00100020", "00101000", "00080050", "00380010")
"""PatientName, PatientID, OtherPatientIDs, AccessionNumber, AdmissionID: none of their words may stand in free text."""
_LEAST_WORD = 2
_STARS = "**"


def mask_study(study: StudyRow, names: Names) -> StudyRow:
    """The study with what a ward may know of it."""
    attributes = json.loads(study.attributes)
    words = _words(attributes)
    kept = _without(words, {tag: element for tag, element in attributes.items() if tag in _STUDY})
    if names != "none" and (element := _mask_element(attributes.get(_NAME), names)):
        kept[_NAME] = element
    return replace(study, attributes=_dump(kept))


def mask_series(series: SeriesRow, study: StudyRow) -> SeriesRow:
    """A series of ``study``, which is not masked itself, with what a ward may know of it."""
    attributes = json.loads(series.attributes)
    kept = {tag: element for tag, element in attributes.items() if tag in _SERIES}
    return replace(series, attributes=_dump(_without(_words(json.loads(study.attributes)), kept)))


def mask_name(group: str, names: Names) -> str:
    """One group of a name: ``Hong^Gildong`` becomes ``H**^G**``, ``홍^길동`` ``홍^*동``; initials are ``H^G``."""
    parts = [part for part in unicodedata.normalize("NFC", group).split("^")[:3] if part.strip()]
    if names == "initials":
        return "^".join(part.strip()[0] for part in parts)
    if not any(map(_is_syllabic, parts)):
        return "^".join(part.strip()[0] + _STARS for part in parts)
    # As Korean wards write it: the first syllable and the last stay, whether the family name stands apart or not.
    whole = "".join(parts)
    first, last = whole[0], whole[-1] if len(whole) > _LEAST_WORD else "*"
    masked = first + "*" * (len(whole) - 2) + last if len(whole) > 1 else "*"
    return f"{masked[: len(parts[0])]}^{masked[len(parts[0]) :]}" if len(parts) > 1 else masked


def _is_syllabic(text: str) -> bool:
    """Hangul syllables, Hanja, Kana: a few characters are the whole name."""
    return any("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7a3" for character in text)


def _mask_element(element: Any, names: Names) -> Json | None:
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list) or not values or not isinstance(values[0], dict):
        return None
    groups = {name: mask_name(text, names) for name, text in values[0].items() if isinstance(text, str) and text}
    return {"vr": "PN", "Value": [groups]} if groups else None


def _words(attributes: Json) -> set[str]:
    """Every word of who the patient is, folded; of a name also all of it in one, as Hangul is written."""
    found: set[str] = set()
    for tag in _IDENTIFIERS:
        element = attributes.get(tag)
        for value in (element.get("Value") if isinstance(element, dict) else None) or []:
            for text in value.values() if isinstance(value, dict) else [value]:
                tokens = _tokens(str(text))
                found.update([*tokens, "".join(tokens)])
    return {word for word in found if len(word) >= _LEAST_WORD}


def _without(words: set[str], attributes: Json) -> Json:
    """``attributes`` without the free texts in which one of ``words`` stands."""
    return {
        tag: element
        for tag, element in attributes.items()
        if tag not in _FREE_TEXTS or not words & set(_tokens(json.dumps(element, ensure_ascii=False)))
    }


def _tokens(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in _fold(text)).split()


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _dump(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
