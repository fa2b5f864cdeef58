"""Stored values out of pixel cells (PS3.5 8.1.1), and the overlays that lay beside them in old files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.management.rendering import overlays
from gateway.management.rendering import syntaxes as ts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.management.rendering.groups import FrameView
    from gateway.management.rendering.source import FrameSource

_KEPT: Final = ts.NATIVE | {ts.RLE_LOSSLESS, ts.JPEG_LOSSLESS, ts.JPEG_LOSSLESS_SV1}
"""Transfer syntaxes that keep every bit of a pixel cell, used or not."""


class Cells:
    """Where in its cell a sample of this file lies, and which bits beside it are overlays."""

    def __init__(self, source: FrameSource, view: FrameView) -> None:
        options = source.options
        self._bits, allocated = int(options["bits_stored"]), int(options["bits_allocated"])
        high = view.numbers("HighBit")
        self._shift = int(high[0]) + 1 - self._bits if high else 0
        kept = (
            source.transfer_syntax in _KEPT and options["pixel_keyword"] == "PixelData" and self._bits < allocated <= 16
        )
        if not kept or not 0 <= self._shift <= allocated - self._bits:
            self._shift = 0
        used = range(self._shift, self._shift + self._bits)
        self.overlays = overlays.embedded_bits(source.header, allocated, used) if kept else []
        """Bit positions of overlays."""
        self.keep = bool(self.overlays or self._shift)
        """Whether frames are to be read with their unused bits."""

    def values(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Stored values of samples that were read with ``keep``."""
        if not self.keep:
            return samples
        left = samples.dtype.itemsize * 8 - self._bits
        value: NDArray[Any] = np.right_shift(np.left_shift(samples, left - self._shift), left)
        return value
