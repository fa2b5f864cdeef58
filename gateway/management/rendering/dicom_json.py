"""Attributes in the DICOM JSON model (PS3.18 annex F)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

_MAX_VALUES: Final = 64
_MAX_TEXT: Final = 64
_INTEGER: Final = frozenset({"IS", "US", "UL", "SS", "SL"})
_REAL: Final = frozenset({"DS", "FD", "FL"})

Told = dict[str, Any]
"""One attribute: its value representation and its values."""
Json = dict[str, Told]
"""Attributes by tag."""


@cache
def tag_of(keyword: str) -> str:
    """A keyword's tag as DICOM JSON spells it."""
    return f"{tag_for_keyword(keyword):08X}"


@cache
def vr_of(keyword: str) -> str:
    """The value representation that the data dictionary has for a keyword."""
    return dictionary_VR(keyword)


def json_values(value: Any, vr: str) -> list[int | float | str]:
    """JSON values of a fitting type; empty when one of them is none, or there are more than a viewer needs."""
    several = list(value) if hasattr(value, "__iter__") and not isinstance(value, str | bytes) else [value]
    if len(several) > _MAX_VALUES:
        return []
    values: list[int | float | str] = []
    try:
        for each in several:
            if vr in _INTEGER:
                values.append(int(each))
            elif vr in _REAL:
                values.append(float(each))
            else:
                values.append(str(each)[:_MAX_TEXT])
    except (TypeError, ValueError, OverflowError):
        return []
    numbers = [each for each in values if isinstance(each, float)]
    return values if all(map(math.isfinite, numbers)) else []


def told(value: Any, keyword: str) -> Told | None:
    """An attribute with this value; None where no JSON value fits."""
    values = json_values(value, vr_of(keyword))
    return {"vr": vr_of(keyword), "Value": values} if values else None
