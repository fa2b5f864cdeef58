"""The text of an HL7 v2 message: which characters its bytes are (MSH-18, HL7 table 0211)."""

from __future__ import annotations

from gateway.middleware.adt.errors import Unreadable

_CODECS = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR14": "iso2022_jp",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "KS X 1001": "cp949",  # EUC-KR, and the syllables that Korean systems write beyond it
    "EUC-KR": "cp949",
    "CP949": "cp949",
    "GB 18030-2000": "gb18030",
    "BIG-5": "big5",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
}
"""The values of the table, and what senders write for some of them."""
_CHARACTER_SET = 17
"""MSH-18 among the fields of MSH cut at its separator, which is itself MSH-1."""


def is_known(name: str) -> bool:
    """Whether ``name`` is a character set of the table that can be read here."""
    return name.strip().upper() in _CODECS


def decode(data: bytes, undeclared: str = "") -> tuple[str, str]:
    """The text of a message, and Python's name of its encoding.

    Args:
        data: one message, from ``MSH`` on.
        undeclared: what bytes beyond ASCII are where the message does not say, and they are no UTF-8; empty: nothing.

    Raises:
        Unreadable
    """
    codec = _declared(data)
    if codec not in ("", "ascii"):
        return _decode(data, codec), codec
    # ASCII is what senders declare who never looked.
    for guess in ("utf-8", _CODECS.get(undeclared.strip().upper(), "")):
        try:
            return data.decode(guess or "ascii"), guess or "ascii"
        except UnicodeDecodeError:
            continue
    raise Unreadable("MSH-18 declares no character set, and the bytes are no UTF-8: set hl7.charset")


def _declared(data: bytes) -> str:
    header = data.split(b"\r", 1)[0].split(b"\n", 1)[0]
    fields = header.split(data[3:4]) if len(data) > 3 else []
    stated = fields[_CHARACTER_SET] if len(fields) > _CHARACTER_SET else b""
    names = [name.strip().upper() for name in stated.decode("ascii", "replace").split("~")]
    found = ""
    for name in filter(None, names):
        if name not in _CODECS:
            raise Unreadable("MSH-18 names a character set that is not read here; UNICODE UTF-8 is")
        found = _CODECS[name] if found in ("", "ascii") else found
    return found


def _decode(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        raise Unreadable("the bytes do not fit the character set that MSH-18 declares") from None
