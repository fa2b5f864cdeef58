"""What a header says of its pixels, where it says it badly or not at all (PS3.3 C.7.6.3)."""

from __future__ import annotations

import re
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.pixels.utils import as_pixel_options
from pydicom.tag import Tag

from gateway.management.rendering import syntaxes as ts
from gateway.management.rendering.groups import element_of
from gateway.management.rendering.refusal import Refusal

_TAGS: Final = tuple(
    Tag(keyword)
    for keyword in (
        "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
        "BitsAllocated", "BitsStored", "PixelRepresentation",
    )
)  # fmt: skip


def options_of(header: Dataset) -> dict[str, Any]:
    """pydicom's decoding options; raises what that raises for values that are none."""
    held = header.keys()
    return as_pixel_options(Dataset({tag: element_of(header, tag) for tag in _TAGS if tag in held}))


def with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Fill what is derivable, refuse what is not."""
    options.setdefault("samples_per_pixel", 1)
    options.setdefault("photometric_interpretation", "MONOCHROME2")
    if options["pixel_keyword"] != "PixelData":
        options["bits_allocated"] = 64 if options["pixel_keyword"] == "DoubleFloatPixelData" else 32
    options.setdefault("bits_stored", options.get("bits_allocated"))
    options.setdefault("pixel_representation", 0)
    if options["samples_per_pixel"] > 1:
        options.setdefault("planar_configuration", 0)
    for name in ("rows", "columns", "samples_per_pixel", "bits_allocated", "bits_stored"):
        if not isinstance(options.get(name), int) or options[name] <= 0:
            raise Refusal("malformed", name)
    four = options["samples_per_pixel"] == 4 and options["photometric_interpretation"] in ("ARGB", "CMYK")
    if not four and options["samples_per_pixel"] not in (1, 3):
        raise Refusal("unsupported", "SamplesPerPixel")
    return options


def settle_number_of_frames(header: Dataset) -> None:
    """A number that is none counts as far as it is one, as other readers take it; without any digit, as one frame."""
    if "NumberOfFrames" not in header:
        return
    try:
        int(header.NumberOfFrames)
    except (TypeError, ValueError):
        raw = header.get_item("NumberOfFrames")
        text = raw.value if raw is not None else b""
        digits = re.match(r"\s*(\d{0,9})", text.decode("ascii", "replace") if isinstance(text, bytes) else str(text))
        header.NumberOfFrames = int(digits[1]) if digits and digits[1] else 1


def guess_transfer_syntax(header: Dataset) -> str:
    """Files without a meta header are native; pydicom found out how they are encoded."""
    implicit, little = header.original_encoding
    if implicit:
        return ts.IMPLICIT_VR_LITTLE_ENDIAN
    return ts.EXPLICIT_VR_LITTLE_ENDIAN if little else ts.EXPLICIT_VR_BIG_ENDIAN
