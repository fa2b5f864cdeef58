"""Reading a data set's elements as pydicom does, and sequences of VR UN in big endian as the standard says.

The items of an element of VR UN and undefined length are implicit VR little endian, whatever lies around them (PS3.5
section 6.2.2). pydicom reads them in the data set's own byte order and finds no end. Here it stops in front of them,
they are read by themselves, and it goes on behind. Only at the top level: inside another sequence of big endian they
stay what pydicom makes of them, broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

from pydicom.dataelem import DataElement
from pydicom.filereader import read_dataset, read_partial, read_sequence
from pydicom.tag import BaseTag

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

StopWhen = Callable[[BaseTag, str | None, int], bool]
"""Of tag, VR and length of an element."""
PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_UNDEFINED: Final = 0xFFFFFFFF
_HEAD_BYTES: Final = 12
"""Tag, VR, two bytes reserved and length (PS3.5 table 7.1-1)."""
_LITTLE_ENDIAN_ITEM: Final = b"\xfe\xff\x00\xe0"


def at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    """To stop in front of pixel data."""
    return tag in PIXELS


def read_elements(
    file: BinaryIO,
    implicit: bool,
    little: bool,
    *,
    stop_when: StopWhen,
    defer_size: int | None = None,
    specific_tags: list[BaseTag | int] | None = None,
) -> Dataset:
    """As pydicom's ``read_dataset``; raises what that raises."""
    stop = _Stop(file, stop_when)
    data = read_dataset(file, implicit, little, stop_when=stop, defer_size=defer_size, specific_tags=specific_tags)
    _go_on(data, stop, defer_size, specific_tags)
    return data


def read_file(
    file: BinaryIO, *, stop_when: StopWhen | None = None, defer_size: int | None = None, force: bool = False
) -> FileDataset:
    """As pydicom's ``read_partial`` (all of it without ``stop_when``); raises what that raises."""
    stop = _Stop(file, stop_when)
    data = read_partial(file, stop, defer_size=defer_size, force=force)
    _go_on(data, stop, defer_size, None)
    return data


def _go_on(data: Dataset, stop: _Stop, defer_size: int | None, specific_tags: list[BaseTag | int] | None) -> None:
    file = stop.file
    while (tag := stop.found) is not None:
        stop.found = None
        file.seek(_HEAD_BYTES, 1)
        items = read_sequence(file, True, True, _UNDEFINED, data.original_character_set)
        if specific_tags is None or tag in specific_tags:
            data.add(DataElement(tag, "SQ", items, is_undefined_length=True))
        data.update(
            read_dataset(file, False, False, stop_when=stop, defer_size=defer_size, specific_tags=specific_tags)
        )


class _Stop:
    """``found``: the sequence in front of which reading has stopped; None if it has for another reason."""

    def __init__(self, file: BinaryIO, stop_when: StopWhen | None) -> None:
        self.file, self._stop_when = file, stop_when
        self.found: BaseTag | None = None

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if self._stop_when is not None and self._stop_when(tag, vr, length):
            return True
        if vr == "UN" and length == _UNDEFINED and self._is_little_in_big(tag):
            self.found = tag
            return True
        return False

    def _is_little_in_big(self, tag: BaseTag) -> bool:
        """Asked of the bytes: there are writers that keep to the data set's byte order, and pydicom reads these."""
        value = self.file.tell()
        self.file.seek(value - _HEAD_BYTES)
        head = self.file.read(_HEAD_BYTES + 4)
        self.file.seek(value)
        return head[:4] == tag.to_bytes(4, "big") and head[_HEAD_BYTES:] == _LITTLE_ENDIAN_ITEM
