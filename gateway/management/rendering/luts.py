"""Lookup tables of a header: modality and VOI LUTs (PS3.3 C.11.1, C.11.2) and palettes (C.7.6.3.1.5, C.7.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydicom.pixels.processing import apply_color_lut

from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_COLOURS: Final = ("Red", "Green", "Blue")


@dataclass(frozen=True, slots=True)
class LookupTable:
    """``entries`` for the input values from ``first`` on; inputs outside take the nearest entry (C.11.1.1)."""

    first: int
    bits: int
    entries: NDArray[np.uint16]

    @property
    def maximum(self) -> int:
        """The theoretical largest output. Entries that exceed the stated depth are believed, the depth is not."""
        return int(max((1 << self.bits) - 1, self.entries.max()))

    @property
    def key(self) -> tuple[int, int, bytes]:
        """Equal for equal tables."""
        return self.first, self.bits, self.entries.tobytes()

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        looked_up: NDArray[np.uint16] = self.entries[index.astype(np.intp)]
        return looked_up


def lookup_table(item: Dataset, *, little_endian: bool) -> LookupTable | None:
    """LUT Descriptor and LUT Data of one item; None when they do not make a table.

    pydicom's own readers fail on eight-bit entries in OW and wrap on inputs beyond the table; so only its parsing
    is used.
    """
    if "LUTDescriptor" not in item or "LUTData" not in item:
        return None
    try:
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        entries = _entries(item["LUTData"].value, count or 1 << 16, little_endian=little_endian)
    except (TypeError, ValueError, OverflowError):
        return None
    return LookupTable(first, min(max(bits, 1), 16), entries) if entries.size else None


def _entries(data: Any, count: int, *, little_endian: bool) -> NDArray[np.uint16]:
    if isinstance(data, int):
        data = [data]
    if not isinstance(data, bytes):
        return np.asarray(data, dtype=np.int64).astype(np.uint16)[:count]
    if len(data) < 2 * count:
        return np.frombuffer(data, dtype=np.uint8)[:count].astype(np.uint16)
    return np.frombuffer(data, dtype="<u2" if little_endian else ">u2", count=count).astype(np.uint16)


def palette(header: Dataset, *, little_endian: bool) -> tuple[int, NDArray[np.uint8]]:
    """First mapped stored value, and the colours as (entries, 3) of eight bits."""
    if "RedPaletteColorLookupTableDescriptor" not in header:
        raise Refusal("malformed", "no palette")
    try:
        count, first, bits = (int(value) for value in header.RedPaletteColorLookupTableDescriptor)
        count = count or 1 << 16
        if "RedPaletteColorLookupTableData" in header:
            channels = [
                _entries(header[f"{colour}PaletteColorLookupTableData"].value, count, little_endian=little_endian)
                for colour in _COLOURS
            ]
            colours: NDArray[Any] = np.stack(channels, axis=-1)
        else:
            # only pydicom expands segmented tables; all their inputs in a row give the table itself
            colours = apply_color_lut(np.arange(first, first + count, dtype=np.int32), header)[:, :3]
    except Exception as error:  # whatever a damaged table provokes
        raise Refusal("malformed", "palette") from error
    if not len(colours):
        raise Refusal("malformed", "palette")
    if bits > 8 and colours.max() > 255:
        colours = colours >> 8
    return first, colours.astype(np.uint8)


def apply_palette(samples: NDArray[Any], first: int, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stored values to RGB; values outside the table take its ends."""
    out = np.empty((*samples.shape, 3), dtype=np.uint8)
    for row, line in enumerate(samples):  # an index array of a whole frame would be eight times its size
        out[row] = colours[np.clip(line.astype(np.int64) - first, 0, len(colours) - 1)]
    return out
