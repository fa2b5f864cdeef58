"""One frame's attributes as a flat data set: functional groups resolved (PS3.3 C.7.6.16)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

if TYPE_CHECKING:
    from collections.abc import Iterator

_MACROS: Final = (
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "FrameContentSequence",
    "FrameAnatomySequence",
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
    "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence",
    "PETFrameTypeSequence",
)
"""The functional group macros of which a viewer or the greyscale pipeline needs something."""


class FrameView:
    """What holds for frame ``index``: the per-frame group first, then the shared one, then the data set itself."""

    def __init__(self, header: Dataset, index: int) -> None:
        self.frame = index
        self._levels = [item for group in _groups(header, index) for item in _macros(group)]
        self._levels.append(header)

    def find(self, keyword: str) -> Dataset | None:
        """The innermost data set that has a value for ``keyword``."""
        tag = _tag(keyword)
        for level in self._levels:
            # asked of the keys: looking the keyword up for every data set takes longer than anything else here
            if tag in level.keys() and level[tag].value not in (None, "", []):  # noqa: SIM118
                return level
        return None

    def numbers(self, keyword: str) -> list[float]:
        """Finite numeric values of ``keyword``; empty when absent or not numeric."""
        level = self.find(keyword)
        return [] if level is None else numbers(level, keyword)

    def text(self, keyword: str) -> str:
        """The (first) value of ``keyword`` as upper-case text."""
        level = self.find(keyword)
        if level is None:
            return ""
        value = level[keyword].value
        first = value[0] if level[keyword].VM > 1 else value
        return str(first).strip().upper()

    def item(self, keyword: str) -> Dataset | None:
        """The first item of a sequence."""
        level = self.find(keyword)
        if level is None or level[keyword].VR != "SQ":
            return None
        first = level[keyword].value[0]
        return first if isinstance(first, Dataset) else None


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Finite numeric values, in order; a value that is none ends up as an empty list, never as a guess."""
    try:
        value = dataset[keyword].value
        values = [float(each) for each in value] if dataset[keyword].VM > 1 else [float(value)]
    except (TypeError, ValueError, KeyError):
        return []
    return values if all(map(math.isfinite, values)) else []


def _groups(header: Dataset, index: int) -> Iterator[Dataset]:
    for keyword, at in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        if keyword in header and header[keyword].VR == "SQ":
            items = header[keyword].value
            if items is not None and len(items) > at:
                yield items[at]


def _macros(group: Dataset) -> Iterator[Dataset]:
    for keyword in _MACROS:
        if keyword in group and group[keyword].VR == "SQ" and group[keyword].value:
            yield group[keyword].value[0]
