"""The greyscale pipeline: stored values to eight bits (PS3.3 C.11.1, C.11.2; PS3.4 N.2).

The functions run once over all stored values; the frame is then looked up in that table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from gateway.management.rendering.luts import LookupTable, lookup_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gateway.management.rendering.groups import FrameView

_BAND_PIXELS: Final = 1 << 20
"""Frames are looked up in bands: numpy widens an index array to eight bytes a pixel."""
_PERCENTILES: Final = (0.5, 99.5)
_XA_XRF: Final = frozenset({"1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2"})


@dataclass(frozen=True, slots=True)
class Window:
    """A window in units of the modality LUT's output."""

    center: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True, slots=True)
class Stored:
    """How samples are stored: Pixel Representation, Bits Stored, and whether they are integers at all."""

    bits: int
    signed: bool
    integer: bool = True

    @property
    def tabled(self) -> bool:
        return self.integer and self.bits <= 16

    @property
    def span(self) -> tuple[int, int]:
        half = 1 << (self.bits - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


@dataclass(frozen=True, slots=True)
class Modality:
    """Modality LUT, or rescale slope and intercept."""

    slope: float = 1.0
    intercept: float = 0.0
    table: LookupTable | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal transformations."""
        return self.slope, self.intercept, self.table.key if self.table else None

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        if self.table is not None:
            return self.table(values).astype(np.float64)
        return values.astype(np.float64) * self.slope + self.intercept


def modality(view: FrameView, *, little_endian: bool) -> Modality:
    """A LUT is preferred to rescale values. XA and XRF keep theirs for measuring, not for display (C.8.7.1.1.2)."""
    if view.text("SOPClassUID") in _XA_XRF and view.text("PixelIntensityRelationship") in ("LOG", "DISP"):
        return Modality()
    item = view.item("ModalityLUTSequence")
    table = lookup_table(item, little_endian=little_endian) if item is not None else None
    slope, intercept = view.numbers("RescaleSlope"), view.numbers("RescaleIntercept")
    return Modality((slope[0] if slope else 1.0) or 1.0, intercept[0] if intercept else 0.0, table)


def windows(view: FrameView) -> list[Window]:
    """All usable windows in the file's order; the first is the one to render."""
    function = view.text("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    least = 1.0 if function == "LINEAR" else 1e-6
    pairs = zip(view.numbers("WindowCenter"), view.numbers("WindowWidth"), strict=False)
    return [Window(center, width, function) for center, width in pairs if width >= least]


def voi_table(view: FrameView, *, little_endian: bool) -> LookupTable | None:
    """The first VOI LUT; where a file has both, the LUT is the finer statement of its maker."""
    item = view.item("VOILUTSequence")
    return lookup_table(item, little_endian=little_endian) if item is not None else None


def inverted(view: FrameView, photometric: str) -> bool:
    """MONOCHROME1 and INVERSE say the same thing, and may both stand in one file (C.8.11.3.1.2): once is enough."""
    return photometric == "MONOCHROME1" or view.text("PresentationLUTShape") == "INVERSE"


def paint(window: Window, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """pydicom's windowing with an output range of 0 to 255 (C.11.2.1.2, C.11.2.1.3)."""
    voi = Dataset()
    voi.PhotometricInterpretation = "MONOCHROME2"
    voi.BitsStored, voi.PixelRepresentation = 8, 0
    voi.VOILUTFunction = window.function
    # the values may have more digits than a decimal string, which pydicom would complain about
    voi.add_new("WindowCenter", "FD", window.center)
    voi.add_new("WindowWidth", "FD", window.width)
    with np.errstate(over="ignore"):  # a sigmoid's far ends
        return apply_windowing(values, voi)


def transfer(
    to_real: Modality, voi: Window | LookupTable, *, invert: bool, presentation: LookupTable | None = None
) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Stored values to eight bits, rounded to the nearest over the function's theoretical output range."""

    def apply(stored: NDArray[Any]) -> NDArray[np.uint8]:
        real = to_real(stored)
        grey = voi(real) * (255.0 / voi.maximum) if isinstance(voi, LookupTable) else paint(voi, real)
        if presentation is not None:
            whole = len(presentation.entries) - 1
            grey = presentation(grey / 255.0 * whole + presentation.first) * (255.0 / presentation.maximum)
        if invert:
            grey = 255.0 - grey
        return np.nan_to_num(np.floor(grey + 0.5), nan=0.0).clip(0, 255).astype(np.uint8)

    return apply


class Table:
    """A transfer function over all stored values of at most 16 bits."""

    def __init__(self, function: Callable[[NDArray[Any]], NDArray[np.uint8]], stored: Stored) -> None:
        self._function = function
        self._low, self._high = stored.span
        self._table = self._build()

    def __call__(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        low, high = int(samples.min()), int(samples.max())
        if low < self._low or high > self._high:  # samples outside BitsStored: some writers do that
            self._low, self._high = min(low, self._low), max(high, self._high)
            self._table = self._build()
        unsigned = samples.view(samples.dtype.str.replace("i", "u"))
        out = np.empty(samples.shape, dtype=np.uint8)
        for band in bands(samples.shape):
            out[band] = self._table[unsigned[band]]
        return out

    def _build(self) -> NDArray[np.uint8]:
        stored = np.arange(self._low, self._high + 1, dtype=np.int32)
        # two's complement as index: negative values lie in the upper half, for 8 and for 16 bits alike
        table = np.zeros(1 << 16, dtype=np.uint8)
        values = self._function(stored)
        table[stored & 0xFFFF] = values
        if self._low < 0 and self._high < 128:
            table[stored & 0xFF] = values
        return table


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Row slices of about a million pixels."""
    step = max(1, _BAND_PIXELS // max(1, shape[1]))
    return (slice(top, top + step) for top in range(0, shape[0], step))


def spread(frames: list[NDArray[Any]], padding: tuple[float, float] | None) -> tuple[float, float]:
    """Stored values at the lower and upper percentile of ``frames``, without the padding range (C.7.5.1.1.2)."""
    parts = []
    for frame in frames:
        step = max(1, int(np.sqrt(frame.size / _BAND_PIXELS)))
        values = frame[::step, ::step].ravel()
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if padding is not None:
            values = values[(values < padding[0]) | (values > padding[1])]
        parts.append(values)
    values = np.concatenate(parts)
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)
