"""Display shutters of a presentation state (PS3.3 C.7.6.11): what of an image is covered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from gateway.management.rendering.groups import numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from gateway.management.rendering.render import Picture


def cover(picture: Picture, state: Dataset) -> None:
    """Paint what lies outside every shutter with ShutterPresentationValue, in place; rows and columns as stored."""
    shapes = state.get("ShutterShape") or ()
    named = {str(each).strip().upper() for each in ([shapes] if isinstance(shapes, str) else shapes)}
    shown = np.ones(picture.shape[:2], dtype=bool)
    for name, seen in (("RECTANGULAR", _rectangle), ("CIRCULAR", _circle), ("POLYGONAL", _polygon)):
        if name in named and (part := seen(picture.shape[0], picture.shape[1], state)) is not None:
            shown &= part
    if not shown.all():
        values = numbers(state, "ShutterPresentationValue")
        picture[~shown] = min(255, int(values[0]) >> 8) if values else 0  # a P-value of 16 bits


def _rectangle(rows: int, columns: int, state: Dataset) -> NDArray[Any] | None:
    keywords = ("ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge", "ShutterLeftVerticalEdge",
                "ShutterRightVerticalEdge")  # fmt: skip
    edges = [numbers(state, keyword) for keyword in keywords]
    if not all(edges):
        return None
    top, bottom, left, right = (int(edge[0]) for edge in edges)
    shown = np.zeros((rows, columns), dtype=bool)
    shown[max(0, top - 1) : max(0, bottom), max(0, left - 1) : max(0, right)] = True
    return shown


def _circle(rows: int, columns: int, state: Dataset) -> NDArray[Any] | None:
    center, radius = numbers(state, "CenterOfCircularShutter"), numbers(state, "RadiusOfCircularShutter")
    if len(center) != 2 or not radius or radius[0] <= 0:
        return None
    y = np.arange(1, rows + 1, dtype=np.float32)[:, np.newaxis] - center[0]
    x = np.arange(1, columns + 1, dtype=np.float32)[np.newaxis] - center[1]
    within: NDArray[Any] = y * y + x * x <= radius[0] ** 2
    return within


def _polygon(rows: int, columns: int, state: Dataset) -> NDArray[Any] | None:
    vertices = numbers(state, "VerticesOfThePolygonalShutter")
    if len(vertices) < 6 or len(vertices) % 2:
        return None
    mask = Image.new("1", (columns, rows))
    points = [(x - 1, y - 1) for y, x in zip(vertices[::2], vertices[1::2], strict=True)]
    ImageDraw.Draw(mask).polygon(points, fill=1, outline=1)
    return np.asarray(mask)
