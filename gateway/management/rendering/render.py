"""One frame of a DICOM file as a picture of eight bits, full size. Runs inside a worker only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from gateway.management.rendering import colour, grey, overlays, pet
from gateway.management.rendering.cells import Cells
from gateway.management.rendering.groups import FrameView
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.luts import LookupTable, apply_palette, palette
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.source import FrameSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from gateway.management.rendering.presentation import Presentation

Picture = np.ndarray[Any, np.dtype[np.uint8]]
_MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")


def render_frame(path: Path, frame: int, limits: RenderLimits | None = None) -> Picture:
    """Frame ``frame`` (from 0) as uint8: (rows, columns) grey or (rows, columns, 3) RGB.

    Greyscale pipeline, palette, colour conversion and overlays applied; neither scaled nor compressed.
    Raises ``Refusal``.
    """
    with Renderer(path, limits or RenderLimits()) as renderer:
        return next(renderer.pictures(frame, 1))


class Renderer:
    """An opened file whose frames are rendered in order; its header is read once."""

    def __init__(
        self,
        path: Path,
        limits: RenderLimits,
        *,
        presentation: Presentation | None = None,
        hot_iron: bool = False,
        finish: bool = True,
    ) -> None:
        """``presentation`` is applied where it names this instance, ``hot_iron`` to PET alone.

        Without ``finish`` supplemental palettes and ICC profiles are left out, for a comparison with what knows none.
        """
        self.source = FrameSource(path, limits)
        self.header = self.source.header
        options = self.source.options
        self.photometric = str(options["photometric_interpretation"])
        self._little_endian = bool(self.header.original_encoding[1])
        self._stored = grey.Stored(
            bits=int(options["bits_stored"]),
            signed=options["pixel_representation"] == 1,
            integer=options["pixel_keyword"] == "PixelData",
        )
        self._view: FrameView | None = None
        self._palette: tuple[int, NDArray[np.uint8]] | None = None
        self.presentation = presentation if presentation and presentation.refers_to(self.header) else None
        self._finish = finish
        self._to_srgb = self._profile() if finish else None
        self._hot_iron = pet.hot_iron() if hot_iron and self.view(0).text("Modality") in pet.MODALITIES else None
        self._fallback: dict[object, grey.Window] = {}
        self._transfer: tuple[object, Callable[[NDArray[Any]], Picture]] | None = None
        self.shown: grey.Window | None = None
        """The window of the frame rendered last, if it was one."""
        self._cells = Cells(self.source, self.view(0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.source.__exit__(*exc)

    def view(self, frame: int) -> FrameView:
        """The attributes that hold for ``frame``; that of the last frame is kept."""
        if self._view is None or self._view.frame != frame:
            self._view = FrameView(self.header, frame)
        return self._view

    def pictures(self, first: int, count: int) -> Iterator[Picture]:
        """``count`` pictures from frame ``first`` on."""
        frames = self.source.frames(first, count, keep_unused_bits=self._cells.keep)
        for frame, (samples, photometric) in enumerate(frames, first):
            if samples.shape[:2] != (self.source.options["rows"], self.source.options["columns"]):
                raise Refusal("decode", "the frame's shape contradicts the header")
            picture = self._picture(samples, photometric, frame)
            if self._to_srgb is not None and picture.ndim == 3:
                picture = self._to_srgb(picture)
            if self.presentation is not None:
                yield self.presentation.finish(picture, self.header, frame)
            else:
                overlays.burn(picture, self.header, frame)
                yield picture

    def _picture(self, samples: NDArray[Any], photometric: str, frame: int) -> Picture:
        if samples.ndim == 3:
            self.shown = None
            if photometric == "ARGB":
                return self._argb(samples)
            rgb = colour.to_rgb8(samples, photometric, self._stored.bits)
            return rgb if rgb.flags.writeable else rgb.copy()
        values = self._values(samples)
        if self.photometric == "PALETTE COLOR":
            self.shown = None
            self._palette = self._palette or palette(self.header, little_endian=self._little_endian)
            return apply_palette(values, *self._palette)
        if self.photometric not in _MONOCHROME:
            raise Refusal("unsupported", "PhotometricInterpretation")
        picture = self._grey(values, frame)
        if self._cells.overlays and self.presentation is None:
            overlays.burn_bits(picture, samples, self._cells.overlays)
        if self._finish and self.view(frame).text("PixelPresentation") in ("COLOR", "MIXED"):
            picture = self._supplement(picture, values)
        return picture if self._hot_iron is None or picture.ndim == 3 else self._hot_iron[picture]

    def _argb(self, samples: NDArray[Any]) -> Picture:
        """Retired in 2001: where the first sample is not 0 it is looked up in the palette, else it is RGB."""
        rgb = colour.to_rgb8(samples[:, :, 1:], "RGB", self._stored.bits).copy()
        mapped = samples[:, :, 0] > 0
        if mapped.any():
            self._palette = self._palette or palette(self.header, little_endian=self._little_endian)
            rgb[mapped] = apply_palette(samples[:, :, 0][mapped][np.newaxis], *self._palette)[0]
        return rgb

    def _profile(self) -> colour.ToSrgb | None:
        """The instance's own profile, or that of its first optical path; None where there is none to be used."""
        path = self.view(0).item("OpticalPathSequence")
        for level in (self.header, path):
            if level is not None and "ICCProfile" in level and self.photometric not in _MONOCHROME:
                try:
                    return colour.ToSrgb(level.ICCProfile)
                except (TypeError, ValueError):
                    return None
        return None

    def _supplement(self, picture: Picture, values: NDArray[Any]) -> Picture:
        """Colour for the stored values that a supplemental palette maps, grey for the others (C.8.16.2.1.1.1)."""
        if "RedPaletteColorLookupTableDescriptor" not in self.header:
            return picture
        self._palette = self._palette or palette(self.header, little_endian=self._little_endian)
        first, colours = self._palette
        picture = np.repeat(picture[:, :, np.newaxis], 3, axis=2)
        mapped = values >= first
        picture[mapped] = apply_palette(values[mapped][np.newaxis], first, colours)[0]
        return picture

    def _values(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Stored values out of pixel cells, of at most two bytes where Bits Stored allows it."""
        if self._cells.keep:
            return self._cells.values(samples)
        if self._stored.tabled and samples.dtype.itemsize > 2:
            return samples.astype(np.int16 if self._stored.signed else np.uint16)
        return samples

    def _grey(self, values: NDArray[Any], frame: int) -> Picture:
        to_real, voi, invert = self._steps(values, frame)
        self.shown = voi if isinstance(voi, grey.Window) else None
        lut = self.presentation.lut if self.presentation else None
        key = (to_real.key, voi if isinstance(voi, grey.Window) else voi.key, invert)
        if self._transfer is None or self._transfer[0] != key:
            function = grey.transfer(to_real, voi, invert=invert, presentation=lut)
            self._transfer = key, grey.Table(function, self._stored) if self._stored.tabled else _banded(function)
        return self._transfer[1](values)

    def _steps(self, values: NDArray[Any], frame: int) -> tuple[grey.Modality, grey.Window | LookupTable, bool]:
        """Modality and VOI transformation of one frame, and whether it is inverted."""
        view, state = self.view(frame), self.presentation
        if state is not None:
            to_real = state.modality()
            return to_real, state.voi(self.header, frame) or self._whole_range(to_real), state.inverse
        to_real = grey.modality(view, little_endian=self._little_endian)
        if self._hot_iron is not None and (factor := pet.suv_factor(view)):
            low, high = (suv / factor for suv in pet.SUV_WINDOW)
            return to_real, grey.Window((low + high) / 2, high - low, "LINEAR_EXACT"), False
        voi: grey.Window | LookupTable | None = grey.voi_table(view, little_endian=self._little_endian)
        if voi is None:
            offered = grey.windows(view)
            voi = offered[0] if offered else self._default_window(to_real, values)
        return to_real, voi, grey.inverted(view, self.photometric)

    def _whole_range(self, to_real: grey.Modality) -> grey.Window:
        """All values that can be stored: what identity means for a VOI transformation."""
        low, high = sorted(to_real(np.array(self._stored.span)).tolist())
        return grey.Window((low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")

    def _default_window(self, to_real: grey.Modality, values: NDArray[Any]) -> grey.Window:
        """No window in the file: all of eight bits, else the percentiles of a few frames of the instance.

        The same for every frame and job of the instance, or a cine would flicker.
        """
        if self._stored.integer and self._stored.bits <= 8:
            return self._whole_range(to_real)
        if to_real.key not in self._fallback:
            ends = grey.spread(self._probes(values), self._padding())
            low, high = sorted(to_real(np.array(ends)).tolist())
            self._fallback[to_real.key] = grey.Window((low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")
        return self._fallback[to_real.key]

    def _probes(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        count = self.source.number_of_frames
        if count == 1:
            return [values]
        return [
            self._values(self.source.probe(probe, keep_unused_bits=self._cells.keep))
            for probe in sorted({0, count // 2, count - 1})
        ]

    def _padding(self) -> tuple[float, float] | None:
        """The range of stored values that is padding (C.7.5.1.1.2)."""
        view = self.view(0)
        value = view.numbers("PixelPaddingValue") or view.numbers("FloatPixelPaddingValue")
        if not value:
            return None
        limit = view.numbers("PixelPaddingRangeLimit") or value
        return min(value[0], limit[0]), max(value[0], limit[0])


def _banded(function: Callable[[NDArray[Any]], Picture]) -> Callable[[NDArray[Any]], Picture]:
    """For samples of more than 16 bits, which have no table."""

    def apply(values: NDArray[Any]) -> Picture:
        out = np.empty(values.shape, dtype=np.uint8)
        for band in grey.bands(values.shape):
            out[band] = function(values[band])
        return out

    return apply
