"""Which segments are there: a bitmap, and the ranges of what is not."""

import re
from collections.abc import Iterable, Iterator

from wire.errors import Malformed

_NOT_FULL = re.compile(rb"[^\xff]", re.DOTALL)

Range = tuple[int, int]
"""First and last index, both included."""


class Bitmap:
    """A fixed number of bits, least significant first in each byte; as bytes it is what a device keeps."""

    def __init__(self, size: int, data: bytes | None = None) -> None:
        """``data`` is what ``to_bytes`` gave earlier; Malformed if it does not fit ``size``."""
        self.size = size
        self._bits = bytearray(data) if data is not None else bytearray(-(-size // 8))
        if len(self._bits) != -(-size // 8) or (size % 8 and self._bits[-1] >> (size % 8)):
            raise Malformed("a bitmap that does not fit its object")
        self.count = sum(byte.bit_count() for byte in self._bits)
        self._cursor = 0

    def __contains__(self, index: int) -> bool:
        """Whether bit ``index`` is set."""
        return 0 <= index < self.size and bool(self._bits[index >> 3] >> (index & 7) & 1)

    def add(self, index: int) -> None:
        """Set bit ``index``."""
        if not 0 <= index < self.size:
            raise Malformed("there is no such segment")
        if index not in self:
            self._bits[index >> 3] |= 1 << (index & 7)
            self.count += 1

    @property
    def complete(self) -> bool:
        """Whether all bits are set."""
        return self.count == self.size

    def missing(self) -> Iterator[int]:
        """The indices that are not set, ascending."""
        # All bytes before the cursor are full; it only ever moves on, so walking over them is paid once.
        found = _NOT_FULL.search(self._bits, self._cursor)
        self._cursor = found.start() if found else len(self._bits)
        while found:
            position = found.start()
            byte = self._bits[position]
            for bit in range(8):
                index = position * 8 + bit
                if not byte >> bit & 1 and index < self.size:
                    yield index
            found = _NOT_FULL.search(self._bits, position + 1)

    def to_bytes(self) -> bytes:
        """What to keep."""
        return bytes(self._bits)


def to_ranges(indices: Iterable[int]) -> list[Range]:
    """Ascending indices as ranges, first and last included."""
    ranges: list[Range] = []
    for index in indices:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    return ranges


def from_ranges(ranges: Iterable[Range]) -> Iterator[int]:
    """The indices of ``ranges``, in their order."""
    for first, last in ranges:
        yield from range(first, last + 1)
