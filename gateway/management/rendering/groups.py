"""One frame's attributes as a flat data set: functional groups resolved (PS3.3 C.7.6.16)."""

from __future__ import annotations

import math
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from gateway.management.rendering.dicom_json import Told, told

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


_PLAIN: Final = frozenset({"CS", "DS", "IS", "UI", "DA", "TM", "US", "SS", "UL", "SL", "FD", "FL"})
"""Value representations whose values depend on nothing but their own bytes."""
_MAX_PLAIN_BYTES: Final = 256


class FrameView:
    """What holds for frame ``index``: the per-frame group first, then the shared one, then the data set itself."""

    def __init__(self, header: Dataset, index: int) -> None:
        self.frame = index
        self._levels = [item for group in _groups(header, index) for item in _macros(group)]
        self._levels.append(header)
        self._found: dict[str, tuple[Dataset, Held] | None] = {}

    def find(self, keyword: str) -> Dataset | None:
        """The innermost data set that has a value for ``keyword``."""
        found = self._look(keyword)
        return None if found is None else found[0]

    def element(self, keyword: str) -> DataElement | None:
        """The innermost element that has a value for ``keyword``."""
        found = self._look(keyword)
        return None if found is None else found[1].element

    def told(self, keyword: str) -> Told | None:
        """The innermost element that has a value for ``keyword`` as DICOM JSON; None where no JSON value fits."""
        found = self._look(keyword)
        return None if found is None else found[1].told

    def _look(self, keyword: str) -> tuple[Dataset, Held] | None:
        """Remembered: several modules ask for the same, and pydicom takes its time for each answer."""
        if keyword not in self._found:
            self._found[keyword] = self._search(_tag(keyword))
        return self._found[keyword]

    def _search(self, tag: BaseTag) -> tuple[Dataset, Held] | None:
        for level in self._levels:
            # asked of the keys: looking the keyword up for every data set takes longer than anything else here
            if tag in level.keys() and not (held := _held(level, tag)).is_empty:  # noqa: SIM118
                return level, held
        return None

    def numbers(self, keyword: str) -> list[float]:
        """Finite numeric values of ``keyword``; empty when absent or not numeric."""
        element = self.element(keyword)
        return [] if element is None else _numbers(element)

    def text(self, keyword: str) -> str:
        """The (first) value of ``keyword`` as upper-case text."""
        element = self.element(keyword)
        if element is None:
            return ""
        first = element.value[0] if element.VM > 1 else element.value
        return str(first).strip().upper()

    def item(self, keyword: str) -> Dataset | None:
        """The first item of a sequence."""
        element = self.element(keyword)
        if element is None or element.VR != "SQ":
            return None
        first = element.value[0]
        return first if isinstance(first, Dataset) else None


class Held:
    """An element, to be read only, and what is made of it once for all slices that repeat it."""

    def __init__(self, element: DataElement) -> None:
        self.element = element
        self.is_empty = element.value in (None, "", [])

    @cached_property
    def told(self) -> Told | None:
        """As DICOM JSON, not to be changed."""
        return told(self.element.value, self.element.keyword)


def element_of(level: Dataset, tag: BaseTag) -> DataElement:
    """An element that ``level`` has, to be read only."""
    return _held(level, tag).element


def _held(level: Dataset, tag: BaseTag) -> Held:
    """The slices of a series repeat most of what their headers say: what was converted for one serves the next."""
    raw: Any = level.get_item(tag, keep_deferred=True)
    if not isinstance(raw, RawDataElement) or raw.VR not in _PLAIN or not raw.value or raw.length > _MAX_PLAIN_BYTES:
        return Held(level[tag])
    return _converted(tag, raw.VR, raw.value, raw.is_little_endian)


@lru_cache(maxsize=512)
def _converted(tag: BaseTag, vr: str, value: bytes, is_little_endian: bool) -> Held:
    raw = RawDataElement(tag, vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=is_little_endian)
    return Held(convert_raw_data_element(raw))


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Finite numeric values, in order; a value that is none ends up as an empty list, never as a guess."""
    try:
        return _numbers(dataset[keyword])
    except (TypeError, ValueError, KeyError):
        return []


def _numbers(element: DataElement) -> list[float]:
    try:
        values = [float(each) for each in element.value] if element.VM > 1 else [float(element.value)]
    except (TypeError, ValueError):
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
