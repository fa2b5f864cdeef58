"""Which encodings a data set's text really has (PS3.5 section 6.1): as declared, or guessed where that cannot be.

A declaration that its bytes fit is believed. Single-byte sets fit any bytes, so there UTF-8 is recognised by its form,
which other text does not have by chance, and Korean, Japanese and Chinese text by consisting of nothing else.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding
from pydicom.dataset import Dataset

CHARSET = 0x00080005
_ESC = b"\x1b"
_ESCAPE = re.compile(rb"\x1b(?:\$[()]|[()\-$]).")
_LATIN = frozenset({"iso8859", "latin_1"})
_STAND_ALONE = frozenset({"utf8", "gb18030", "gbk", "shift_jis"})
_EXTENSIONS = {"euc_kr": ("euc_kr", "cp949"), "iso_ir_58": ("gb2312", "gb18030"), "gb2312": ("gb2312", "gb18030")}
"""Of these, text without the escapes that it should have is still read; names go beyond the standard's repertoire."""
_OTHER_NAMES = frozenset({"utf-8", "euc_kr", "cp949", "johab", "gbk", "gb18030", "gb2312", "big5", "shift_jis", "cp932",
                          "euc_jp", "tis-620", "iso8859-1", "iso8859-15", "cp1250", "cp1251", "cp1252", "cp1253",
                          "cp1254"})  # fmt: skip
"""Names of Python's codecs that a declaration may mean though DICOM has no such term."""
_TYPO = re.compile(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?([0-9]+)", re.IGNORECASE)
MOST_BYTES = 4096

# What text must consist of, besides ASCII, to be taken for such.
_HANGUL = re.compile(r"[\x00-\x7f가-힣ㄱ-ㅣ]*")
_HAN = re.compile(r"[\x00-\x7f一-鿿]*")
_JAPANESE = re.compile(r"[\x00-\x7f一-鿿ぁ-ヿー々･-ﾟ]*")
_C1 = re.compile(rb"[\x81-\x9f]")
"""Control characters in every single-byte set: nobody's name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a data set's text."""

    encodings: tuple[str, ...]
    """Python's names, for pydicom; empty: as it reads the declaration by itself."""
    is_guess: bool
    """Whether the text is marked as read against its declaration, or without one."""
    declared: str
    """Printable, values parted by backslashes."""


def reading_of(data: Dataset, tags: tuple[int, ...]) -> Reading:
    """Look at the raw bytes of those ``tags``; call before any of them was converted. Raises nothing."""
    return reading_of_values(data, [value for tag in tags if (value := _raw(data, tag)) is not None])


def reading_of_values(data: Dataset, values: Iterable[bytes]) -> Reading:
    """Look at these raw values, of which the first 4,096 bytes count, under what ``data`` declares."""
    declared = _declared(data)
    said = "\\".join(declared)[:64]
    joined = b"\\".join(values)[:MOST_BYTES]
    if joined.isascii() and _ESC not in joined:
        return Reading((), False, said)
    names, is_known = _python_names(declared)
    if _ESC in joined:
        return _with_escapes(joined, names, is_known, said)
    chosen, is_guess = _without_escapes(joined, names, is_known)
    return Reading(chosen, is_guess, said)


def _declared(data: Dataset) -> list[str]:
    element = data.get(CHARSET)
    value: Any = None if element is None else element.value
    several = [value] if isinstance(value, str) else list(value or [])
    return ["".join(c for c in str(one) if c.isprintable()).strip() for one in several]


def _raw(data: Dataset, tag: int) -> bytes | None:
    element = data.get_item(tag)
    value = getattr(element, "value", None)
    return value if isinstance(value, bytes) and tag != CHARSET else None


def _python_names(declared: list[str]) -> tuple[list[str], bool]:
    """Codecs of the declared terms, and whether all of them are DICOM's, give or take their punctuation."""
    names, is_known = [], True
    for term in declared or [""]:
        typo = _TYPO.fullmatch(term)
        tidy = f"ISO{' 2022 IR' if typo[1] else '_IR'} {typo[2]}" if typo else term
        name = python_encoding.get(tidy) or python_encoding.get(term)
        if name is None:
            is_known = False
            name = _other_name(term)
        if name:
            names.append(name.lower())
    return names or ["iso8859"], is_known


def _other_name(term: str) -> str:
    """``KSC5601``, ``EUC-KR``, ``UTF-8`` and the like."""
    try:
        name = codecs.lookup(re.sub(r"[^A-Za-z0-9_-]", "", term)).name
    except (LookupError, ValueError):
        return ""
    return name if name in _OTHER_NAMES else ""


def _with_escapes(joined: bytes, names: list[str], is_known: bool, said: str) -> Reading:
    """Code extensions (PS3.5 section 6.1.2.5). What is escaped to but not declared is declared by that."""
    used = [CODES_TO_ENCODINGS[code] for code in dict.fromkeys(_ESCAPE.findall(joined)) if code in CODES_TO_ENCODINGS]
    lacking = [name for name in used if name not in names and name != "iso8859"]
    together = [*names, *lacking]
    for name, (strict, wide) in _EXTENSIONS.items():
        # Text that should have been escaped and was not reads right, and ASCII stays what it is.
        if name in together and together[0] in _LATIN:
            bare = _ESCAPE.sub(b"", joined)
            first = strict if _reads(bare, strict) else wide
            if _reads(bare, first):
                together = [first, *together]
    changed = together != names
    return Reading(tuple(together) if changed else (), bool(lacking) or not is_known, said)


def _without_escapes(joined: bytes, names: list[str], is_known: bool) -> tuple[tuple[str, ...], bool]:
    first = names[0]
    if not is_known:
        return ((first,), True) if first not in _LATIN and _reads(joined, first) else (_guess(joined), True)
    if first in _STAND_ALONE or first in _EXTENSIONS:
        for name in _EXTENSIONS.get(first, (first,)):
            if _reads(joined, name):
                return (() if name == first else (name,)), False
        return _guess(joined), True
    for name in names[1:]:
        # Declared as an extension, and never escaped to.
        for candidate in _EXTENSIONS.get(name, ()):
            if _reads(joined, candidate):
                return (candidate,), False
    if _reads(joined, "utf8"):
        return ("utf8",), True
    if first in _LATIN and (found := _asian(joined)):
        return (found,), True
    # Without a declaration there are seven bits; Latin-1 is what most such senders mean.
    is_declared = first != "iso8859" and _reads(joined, first)
    return (), not is_declared


def _guess(joined: bytes) -> tuple[str, ...]:
    for name in ("utf8", _asian(joined), "latin_1"):
        if name and _reads(joined, name):
            return (name,)
    return ()


def _asian(joined: bytes) -> str:
    """A multi-byte encoding in which the text makes sense; empty where none does."""
    if _C1.search(joined):
        return "shift_jis" if _consists(joined, "shift_jis", _JAPANESE) else ""
    if _consists(joined, "euc_kr", _HANGUL):
        return "euc_kr"
    return "gb18030" if _consists(joined, "gb2312", _HAN) else ""


def _consists(joined: bytes, name: str, of: re.Pattern[str]) -> bool:
    try:
        text = joined.decode(name)
    except UnicodeDecodeError:
        return False
    return of.fullmatch(text) is not None and sum(not c.isascii() for c in text) >= 2


def _reads(joined: bytes, name: str) -> bool:
    try:
        joined.decode(name)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def mark_of(reading: Reading) -> dict[str, Any]:
    """The mark in DICOM JSON: an Original Attributes Sequence (PS3.3 C.12.1) with what was declared."""
    original = {"vr": "CS", **({"Value": reading.declared.split("\\")} if reading.declared else {})}
    item = {
        "04000550": {"vr": "SQ", "Value": [{"00080005": original}]},
        "04000563": {"vr": "LO", "Value": ["mPACS Edge"]},
        "04000565": {"vr": "CS", "Value": ["CORRECT"]},
    }
    return {"04000561": {"vr": "SQ", "Value": [item]}}
