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
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

CHARSET = 0x00080005
TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Those that SpecificCharacterSet bears upon (PS3.5 section 6.1.2.3)."""
_ESC = b"\x1b"
_ESCAPE = re.compile(rb"\x1b(?:\$[()]|[()\-$]).")
_LATIN = frozenset({"iso8859", "latin_1"})
_STAND_ALONE = frozenset({"utf8", "gb18030", "gbk", "shift_jis"})
_EXTENSIONS = {"euc_kr": ("euc_kr", "cp949"), "iso_ir_58": ("gb2312", "gb18030"), "gb2312": ("gb2312", "gb18030")}
"""Of these, text without the escapes that it should have is still read. The second of each holds characters beyond the
standard's repertoire, in which names are written nevertheless (뷁): that is read, and marked."""
_KOREAN_ESCAPE = b"\x1b$)C"
_ASCII_ESCAPE = b"\x1b(B"
_OTHER_NAMES = frozenset({"utf-8", "euc_kr", "cp949", "johab", "gbk", "gb18030", "gb2312", "big5", "shift_jis", "cp932",
                          "euc_jp", "tis-620", "iso8859-1", "iso8859-15", "cp1250", "cp1251", "cp1252", "cp1253",
                          "cp1254"})  # fmt: skip
"""Names of Python's codecs that a declaration may mean though DICOM has no such term."""
_TYPO = re.compile(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?([0-9]+)", re.IGNORECASE)
MOST_BYTES = 4096
_READABLE = {"latin_1": "Latin-1", "iso8859": "Latin-1", "utf8": "UTF-8", "euc_kr": "EUC-KR", "cp949": "CP949",
             "shift_jis": "Shift JIS", "gb18030": "GB 18030", "gb2312": "GB 2312"}  # fmt: skip
_MANY, _SHARE = 16, 0.9

# What text must consist of, besides ASCII, to be taken for such.
_HANGUL = re.compile(r"[\x00-\x7f가-힣ㄱ-ㅣ]*")
_HAN = re.compile(r"[\x00-\x7f一-鿿]*")
_JAPANESE = re.compile(r"[\x00-\x7f一-鿿ぁ-ヿー々･-ﾟ]*")
_KOREAN = re.compile(r"[\x00-\x7f가-힣一-鿿]*")
_NOT_KOREAN = re.compile(r"[가-힣][A-Za-z]|[A-Za-z][가-힣]")
_NOT_JAPANESE = re.compile(r"[･-ﾟ][一-鿿ぁ-ヿ]|[一-鿿ぁ-ヿ][･-ﾟ]")
"""Half-width katakana stand by themselves: beside kanji they are other text's bytes."""
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
    is_bare: bool = False
    """Whether the escapes have to be taken out of the text, for they would lead to a repertoire that is too small."""

    @property
    def guess(self) -> str:
        """What the text was taken for, for people; empty where that is what is declared."""
        names = dict.fromkeys(_READABLE.get(name, name) for name in self.encodings)
        return (" and ".join(names) or "what is declared") if self.is_guess else ""

    def settle(self, data: Dataset, is_implicit: bool, is_little_endian: bool) -> None:
        """Have pydicom read ``data`` so; call before any of its text was converted."""
        if self.is_bare:
            for tag, element in list(data._dict.items()):
                if isinstance(element, RawDataElement) and vr_of(element) in TEXT_VRS and element.value:
                    value = _ESCAPE.sub(b"", element.value)
                    data._dict[tag] = element._replace(value=value, length=len(value))
        if self.encodings:
            data.set_original_encoding(is_implicit, is_little_endian, list(self.encodings))


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
            name = _other_name(term) or (python_encoding.get(f"ISO 2022 IR {typo[2]}") if typo else "")
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
    codes = dict.fromkeys(_ESCAPE.findall(joined))
    used = [CODES_TO_ENCODINGS[code] for code in codes if code in CODES_TO_ENCODINGS]
    lacking = [name for name in used if name not in names and name != "iso8859"]
    if codes.keys() <= {_KOREAN_ESCAPE, _ASCII_ESCAPE} and _is_beyond_korean(joined):
        return Reading(("cp949",), True, said, is_bare=True)
    together = [*names, *lacking]
    for name, (strict, wide) in _EXTENSIONS.items():
        # Text that should have been escaped and was not reads right, and ASCII stays what it is.
        if name in together and together[0] in _LATIN:
            bare = _ESCAPE.sub(b"", joined)
            first = strict if _reads(bare, strict) else wide
            if _reads(bare, first):
                together = [first, *together]
    changed = together != names
    is_wide = together[0] not in names and together[0] in ("cp949", "gb18030")
    return Reading(tuple(together) if changed else (), bool(lacking) or not is_known or is_wide, said)


def _is_beyond_korean(joined: bytes) -> bool:
    """Whether what is escaped to KS X 1001 is Korean text beyond it."""
    pieces = joined.split(_ESC)[1:]
    korean = [piece[3:] for piece in pieces if piece.startswith(_KOREAN_ESCAPE[1:])]
    return not all(_reads(piece, "euc_kr") for piece in korean) and _reads(_ESCAPE.sub(b"", joined), "cp949")


def _without_escapes(joined: bytes, names: list[str], is_known: bool) -> tuple[tuple[str, ...], bool]:
    first = names[0]
    if not is_known:
        candidates = () if first in _LATIN else _candidates(first)
        return next(((name,) for name in candidates if _reads(joined, name)), _guess(joined)), True
    if first in _STAND_ALONE or first in _EXTENSIONS:
        for name in _candidates(first):
            if _reads(joined, name):
                return (() if name == first else (name,)), name != _candidates(first)[0]
        return _guess(joined), True
    for name in names[1:]:
        # Declared as an extension, and never escaped to.
        for candidate in _candidates(name) if name in _EXTENSIONS else ():
            if _reads(joined, candidate):
                return (candidate,), candidate != _candidates(name)[0]
    if _reads(joined, "utf8"):
        return ("utf8",), True
    if (first in _LATIN or _C1.search(joined)) and (found := _asian(joined)):
        return (found,), True
    if not _reads(joined, first):
        return _guess(joined), True
    # Without a declaration there are seven bits; Latin-1 is what most such senders mean.
    return (("latin_1",), True) if first == "iso8859" else ((), False)


def _candidates(declared: str) -> tuple[str, ...]:
    """As what text that is declared so may be read, best first; what does not fit the first is marked."""
    if declared not in _EXTENSIONS:
        return (declared,)
    strict, wide = _EXTENSIONS[declared]
    return strict, "utf8", wide  # in the wide ones nearly any bytes are some character


def _guess(joined: bytes) -> tuple[str, ...]:
    for name in ("utf8", _asian(joined), "latin_1"):
        if name and _reads(joined, name):
            return (name,)
    return ()


def _asian(joined: bytes) -> str:
    """A multi-byte encoding in which the text makes sense; empty where none does."""
    has_controls = _C1.search(joined) is not None
    is_japanese = has_controls and _consists(joined, "shift_jis", _JAPANESE)
    if is_japanese and not _NOT_JAPANESE.search(joined.decode("shift_jis")):
        return "shift_jis"
    if not has_controls and _consists(joined, "euc_kr", _HANGUL):
        return "euc_kr"
    if not has_controls and _consists(joined, "gb2312", _HAN):
        return "gb18030"
    if _is_wide_korean(joined):
        return "cp949"
    return "shift_jis" if is_japanese else ""


def _is_wide_korean(joined: bytes) -> bool:
    """Whether it is Korean beyond KS X 1001; a part, a surname say, is within, for rare syllables alone are chance."""
    if not _consists(joined, "cp949", _KOREAN):
        return False
    text = joined.decode("cp949")
    return not _NOT_KOREAN.search(text) and any("가" <= c <= "힣" and _fits(c, "euc_kr") for c in text)


def _consists(joined: bytes, name: str, of: re.Pattern[str]) -> bool:
    try:
        text = joined.decode(name)
    except UnicodeDecodeError:
        return False
    foreign = sum(not c.isascii() for c in text)
    fitting = foreign if of.fullmatch(text) else sum(not c.isascii() and bool(of.fullmatch(c)) for c in text)
    # In long text stand signs and numerals of which no name consists.
    return fitting >= 2 and (fitting == foreign or (foreign >= _MANY and fitting >= _SHARE * foreign))


def _fits(character: str, name: str) -> bool:
    try:
        character.encode(name)
    except UnicodeEncodeError:
        return False
    return True


def _reads(joined: bytes, name: str) -> bool:
    try:
        joined.decode(name)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def vr_of(element: DataElement | RawDataElement) -> str:
    """An element's VR; where it was not sent, the dictionary's."""
    if element.VR not in (None, "UN"):
        return str(element.VR)
    return dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else "UN"


def mark_of(reading: Reading) -> dict[str, Any]:
    """The mark in DICOM JSON: an Original Attributes Sequence (PS3.3 C.12.1) with what was declared."""
    original = {"vr": "CS", **({"Value": reading.declared.split("\\")} if reading.declared else {})}
    item = {
        "04000550": {"vr": "SQ", "Value": [{"00080005": original}]},
        "04000563": {"vr": "LO", "Value": ["mPACS Edge"]},
        "04000565": {"vr": "CS", "Value": ["CORRECT"]},
    }
    return {"04000561": {"vr": "SQ", "Value": [item]}}
