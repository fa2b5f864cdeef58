"""Graphic annotations of a presentation state (PS3.3 C.10.5): texts, points, lines, circles and ellipses.

Drawn on the picture as it is shown, after scaling, so that lines and letters stay sharp.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import ImageDraw, ImageFont

from gateway.management.rendering.groups import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL import Image
    from pydicom.dataset import Dataset

    Point = tuple[float, float]
    Place = Callable[[float, float], Point]

_MAX_OBJECTS: Final = 2000
_MAX_POINTS: Final = 20_000
_MAX_TEXT: Final = 500
_LETTER_SHARE: Final = 1 / 40
"""Height of a text without a box, of the picture's longer side."""
_SMALLEST_LETTER: Final = 9
_FONTS: Final = (
    "/usr/share/fonts/truetype/nanum/NanumGothic.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
)
"""For what Pillow's own letters lack, Hangul foremost; where none is installed, boxes stand for such letters."""


class Canvas:
    """A picture to draw on. ``pixel`` places image coordinates, ``display`` fractions of the displayed area."""

    def __init__(self, image: Image.Image, pixel: Place, display: Place) -> None:
        self._image = image
        self._draw = ImageDraw.Draw(image)
        self._places = {"PIXEL": pixel, "DISPLAY": display}
        self._width = max(1, round(max(image.size) / 800))
        self._left = _MAX_OBJECTS

    def annotate(self, annotations: list[Dataset], layers: list[Dataset]) -> None:
        """Draw all, the lowest layer first."""
        order = {str(layer.get("GraphicLayer", "")): layer for layer in layers}
        for item in sorted(annotations, key=lambda item: _order(order.get(str(item.get("GraphicLayer", ""))))):
            grey = _grey(order.get(str(item.get("GraphicLayer", ""))))
            for graphic in item.get("GraphicObjectSequence") or []:
                self._graphic(graphic, grey)
            for text in item.get("TextObjectSequence") or []:
                self._text(text, grey)

    # ── shapes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _graphic(self, graphic: Dataset, grey: int) -> None:
        place = self._places.get(str(graphic.get("GraphicAnnotationUnits", "")))
        data = numbers(graphic, "GraphicData")[: 2 * _MAX_POINTS]
        self._left -= 1
        if place is None or len(data) < 2 or self._left < 0:
            return
        points = list(zip(data[::2], data[1::2], strict=False))
        kind, filled = str(graphic.get("GraphicType", "")), str(graphic.get("GraphicFilled", "N")) == "Y"
        if kind == "POINT":
            self._cross(place(*points[0]), grey)
        elif kind == "POLYLINE":
            self._line([place(*point) for point in points], grey, filled=filled)
        elif kind == "INTERPOLATED":
            self._line([place(*point) for point in _spline(points)], grey, filled=filled)
        elif kind == "CIRCLE" and len(points) >= 2:
            self._line([place(*point) for point in _circle(points[0], points[1])], grey, filled=filled)
        elif kind == "ELLIPSE" and len(points) >= 4:
            self._line([place(*point) for point in _ellipse(*points[:4])], grey, filled=filled)

    def _line(self, points: list[Point], grey: int, *, filled: bool = False) -> None:
        if len(points) == 1:
            points = points * 2
        if filled and len(points) > 2:
            self._draw.polygon(points, fill=self._ink(grey))
        # a dark seam keeps a white line visible on bone
        self._draw.line(points, fill=self._ink(_seam(grey)), width=self._width + 2, joint="curve")
        self._draw.line(points, fill=self._ink(grey), width=self._width, joint="curve")

    def _cross(self, at: Point, grey: int) -> None:
        arm = 4 * self._width
        self._line([(at[0] - arm, at[1]), (at[0] + arm, at[1])], grey)
        self._line([(at[0], at[1] - arm), (at[0], at[1] + arm)], grey)

    # ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _text(self, item: Dataset, grey: int) -> None:
        text = "\n".join(str(item.get("UnformattedTextValue") or "")[:_MAX_TEXT].replace("\r\n", "\n").splitlines())
        self._left -= 1
        if not text.strip() or self._left < 0:
            return
        anchor = self._placed(item, "AnchorPoint", "AnchorPointAnnotationUnits")
        corners = [
            self._placed(item, f"BoundingBox{corner}HandCorner", "BoundingBoxAnnotationUnits")
            for corner in ("TopLeft", "BottomRight")
        ]
        if corners[0] is not None and corners[1] is not None:
            box = _upright(corners[0], corners[1])
            if anchor is not None and str(item.get("AnchorPointVisibility", "")) == "Y":
                self._line([anchor, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)], grey)
            self._boxed(text, box, str(item.get("BoundingBoxTextHorizontalJustification", "LEFT")), grey)
        elif anchor is not None:
            self._write(text, anchor, self._font(text, max(self._image.size) * _LETTER_SHARE), grey)

    def _placed(self, item: Dataset, keyword: str, units: str) -> Point | None:
        place, values = self._places.get(str(item.get(units, ""))), numbers(item, keyword)
        return place(values[0], values[1]) if place is not None and len(values) >= 2 else None

    def _boxed(self, text: str, box: tuple[float, float, float, float], justified: str, grey: int) -> None:
        """As large as the box allows, and never smaller than can be read: it may stand over then."""
        lines = text.count("\n") + 1
        font = self._font(text, (box[3] - box[1]) / lines / 1.2)
        left, top, right, bottom = self._draw.multiline_textbbox((0, 0), text, font=font)
        if right - left > box[2] - box[0] > 0:
            font = self._font(text, (box[3] - box[1]) / lines / 1.2 * (box[2] - box[0]) / (right - left))
            left, top, right, bottom = self._draw.multiline_textbbox((0, 0), text, font=font)
        spare = box[2] - box[0] - (right - left)
        x = box[0] + {"CENTER": spare / 2, "RIGHT": spare}.get(justified, 0.0)
        y = box[1] + (box[3] - box[1] - (bottom - top)) / 2
        self._write(text, (x - left, y - top), font, grey)

    def _write(self, text: str, at: Point, font: Any, grey: int) -> None:
        left, top, right, bottom = self._draw.multiline_textbbox((0, 0), text, font=font, stroke_width=1)
        # what lies at the edge is moved in: a half word tells nobody anything
        x = min(max(at[0], -left), max(-left, self._image.width - right))
        y = min(max(at[1], -top), max(-top, self._image.height - bottom))
        ink, shadow = self._ink(grey), self._ink(_seam(grey))
        self._draw.multiline_text((x, y), text, fill=ink, font=font, stroke_width=1, stroke_fill=shadow)

    def _font(self, text: str, height: float) -> Any:
        size = min(max(height, _SMALLEST_LETTER), max(self._image.size) / 4 + _SMALLEST_LETTER)
        if not text.isascii():
            for path in _FONTS:
                if Path(path).exists():
                    return ImageFont.truetype(path, size)
        return ImageFont.load_default(size)

    def _ink(self, grey: int) -> Any:
        return grey if self._image.mode == "L" else (grey,) * len(self._image.getbands())


def _order(layer: Dataset | None) -> float:
    values = [] if layer is None else numbers(layer, "GraphicLayerOrder")
    return values[0] if values else math.inf


def _grey(layer: Dataset | None) -> int:
    """GraphicLayerRecommendedDisplayGrayscaleValue, a P-value of 16 bits; white where there is none (C.10.7)."""
    values = [] if layer is None else numbers(layer, "GraphicLayerRecommendedDisplayGrayscaleValue")
    return min(255, max(0, int(values[0]) >> 8)) if values else 255


def _seam(grey: int) -> int:
    return 0 if grey >= 128 else 255


def _upright(one: Point, other: Point) -> tuple[float, float, float, float]:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[0], other[0]), max(one[1], other[1])


def _circle(center: Point, on_it: Point) -> list[Point]:
    radius = math.dist(center, on_it)
    angles = [math.tau * step / 72 for step in range(73)]
    return [(center[0] + radius * math.cos(a), center[1] + radius * math.sin(a)) for a in angles]


def _ellipse(a: Point, b: Point, c: Point, d: Point) -> list[Point]:
    """Ends of the major axis, then of the minor one."""
    x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
    major, minor = ((b[0] - a[0]) / 2, (b[1] - a[1]) / 2), ((d[0] - c[0]) / 2, (d[1] - c[1]) / 2)
    angles = [math.tau * step / 72 for step in range(73)]
    return [
        (x + major[0] * math.cos(t) + minor[0] * math.sin(t), y + major[1] * math.cos(t) + minor[1] * math.sin(t))
        for t in angles
    ]


def _spline(points: list[Point]) -> Iterator[Point]:
    """A smooth line through all points (Catmull-Rom); the standard leaves the kind of curve open."""
    ends = [points[0], *points, points[-1]]
    if len(points) > 2 and points[0] == points[-1]:  # a closed curve has no corner where it begins
        ends = [points[-2], *points, points[1]]
    for p0, p1, p2, p3 in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        for t in (step / 8 for step in range(8)):
            yield (_cubic(p0[0], p1[0], p2[0], p3[0], t), _cubic(p0[1], p1[1], p2[1], p3[1], t))
    yield points[-1]


def _cubic(p0: float, p1: float, p2: float, p3: float, t: float) -> float:
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
