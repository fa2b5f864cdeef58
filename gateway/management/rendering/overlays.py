"""Overlay planes (PS3.3 C.9.2), as their own bits in 60xx,3000 or, of old, in the unused bits of the pixel cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.management.rendering.groups import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_GROUPS: Final = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES = 0x0010, 0x0011, 0x0015
_ACTIVATION = 0x1001
_ORIGIN, _FRAME_ORIGIN, _ALLOCATED, _POSITION, _DATA = 0x0050, 0x0051, 0x0100, 0x0102, 0x3000


def embedded_bits(header: Dataset, bits_allocated: int, used: range) -> list[int]:
    """Bit positions of overlays inside the pixel cells (retired in 2004; PS3.5-2004 8.1.2)."""
    return [
        position
        for group in _groups(header)
        if (group, _DATA) not in header
        and _number(header, group, _ALLOCATED, 0) == bits_allocated
        and (position := _number(header, group, _POSITION, 0)) not in used
        and 0 < position < bits_allocated
    ]


def burn(picture: NDArray[np.uint8], header: Dataset, frame: int) -> None:
    """Paint the overlays that have their own bits white into ``picture``, in place."""
    for group in _groups(header):
        if (group, _DATA) not in header:
            continue
        plane = _plane(header, group, frame)
        if plane is not None:
            _stamp(picture, plane, *_origin(header, group))


def burn_activated(picture: NDArray[np.uint8], header: Dataset, state: Dataset, frame: int) -> None:
    """Paint the overlays, of the image or the presentation state, that the state activates (C.11.7), in place."""
    for group in _GROUPS:
        if (group, _ACTIVATION) not in state or not state[group, _ACTIVATION].value:
            continue
        holder = state if (group, _DATA) in state else header
        if (group, _DATA) in holder and group in _groups(holder):
            plane = _plane(holder, group, frame)
            if plane is not None:
                _stamp(picture, plane, *_origin(holder, group))


def burn_bits(picture: NDArray[np.uint8], cells: NDArray[Any], positions: list[int]) -> None:
    """Paint the overlays that lie in the pixel cells themselves."""
    for position in positions:
        picture[(cells >> position) & 1 == 1] = 255


def _groups(header: Dataset) -> Iterator[int]:
    held = header.keys()  # asked a fifth as dear as the data set itself
    return (group for group in _GROUPS if group << 16 | _ROWS in held and group << 16 | _COLUMNS in held)


def _plane(header: Dataset, group: int, frame: int) -> NDArray[np.bool_] | None:
    """The bits that lie over ``frame``, unpacked; only these, because OverlayData may span all frames."""
    rows, columns = _number(header, group, _ROWS, 0), _number(header, group, _COLUMNS, 0)
    count = _number(header, group, _FRAMES, 1) or 1
    index = frame + 1 - (_number(header, group, _FRAME_ORIGIN, 1) or 1) if count > 1 else 0
    data = header[group, _DATA].value
    size = rows * columns
    if not isinstance(data, bytes) or size <= 0 or not 0 <= index < count or len(data) * 8 < (index + 1) * size:
        return None
    start = index * size
    packed = np.frombuffer(data[start // 8 : (start + size + 7) // 8], dtype=np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + size]
    return bits.reshape(rows, columns).astype(np.bool_)


def _origin(header: Dataset, group: int) -> tuple[int, int]:
    """Row and column of the overlay's first pixel, from 0; may be negative."""
    if (group, _ORIGIN) not in header:
        return 0, 0
    value = header[group, _ORIGIN].value
    try:
        return int(value[0]) - 1, int(value[1]) - 1
    except (TypeError, ValueError, IndexError):
        return 0, 0


def _stamp(picture: NDArray[np.uint8], plane: NDArray[np.bool_], top: int, left: int) -> None:
    rows, columns = picture.shape[:2]
    y, x = slice(max(top, 0), min(top + plane.shape[0], rows)), slice(max(left, 0), min(left + plane.shape[1], columns))
    if y.start >= y.stop or x.start >= x.stop:
        return
    part = plane[y.start - top : y.stop - top, x.start - left : x.stop - left]
    picture[y, x][part] = 255


def _number(header: Dataset, group: int, element: int, default: int) -> int:
    if (group, element) not in header:
        return default
    values = numbers(header, f"{group:04x}{element:04x}")
    return int(values[0]) if values else default
