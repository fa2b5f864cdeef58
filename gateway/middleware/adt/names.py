"""Names of persons: HL7 v2 XPN (chapter 2A) as DICOM PN (PS3.5 section 6.2). Pure."""

from __future__ import annotations

from collections.abc import Sequence

_GROUPS = {"": 0, "A": 0, "I": 1, "P": 2}
"""HL7 table 4000: alphabetic, ideographic, phonetic."""
_NOT_MEANT = frozenset({"A", "M", "N", "S"})
"""HL7 table 0200: alias, maiden name, nickname, pseudonym."""
_FAMILY, _GIVEN, _MIDDLE, _SUFFIX, _PREFIX, _TYPE, _REPRESENTATION = 0, 1, 2, 3, 4, 6, 7
_ORDER = (_FAMILY, _GIVEN, _MIDDLE, _PREFIX, _SUFFIX)


def person_name(repetitions: Sequence[Sequence[str]]) -> str:
    """The first legal name of each writing, as ``Hong^Gildong=洪^吉童=홍^길동``; empty where there is none.

    Args:
        repetitions: of PID-5, each its first eight components.
    """
    found = ["", "", ""]
    for one in repetitions:
        group = _GROUPS.get(one[_REPRESENTATION].upper())
        parts = [one[part].replace("^", " ").replace("=", " ").strip() for part in _ORDER]
        if group is None or one[_TYPE].upper() in _NOT_MEANT or not any(parts):
            continue
        # A second name without a mark is another writing where the first group is taken.
        found[group] = found[group] or "^".join(parts).rstrip("^")
    return "=".join(found).rstrip("=")
