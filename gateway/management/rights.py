"""What a recipient may have, by its kind. Pure; asked where objects are announced, and again at every request."""

from typing import get_args

from wire.messages import Layer
from wire.names import Kind

LAYERS: frozenset[Layer] = frozenset(get_args(Layer))
_NOT_FOR_WARDS: frozenset[Layer] = frozenset({"report", "original"})
"""A display on a ward's wall shows pictures under a masked name. A report's text and a DICOM file hold the name."""
_NOT_LENT: frozenset[Layer] = frozenset({"original"})
"""The DICOM files are for those who have a study by their own right."""


def layers_for(kind: Kind, is_lent: bool = False) -> frozenset[Layer]:
    """The layers that a recipient of this kind may have; ``is_lent``: of a study that it has by a share alone."""
    return LAYERS - _NOT_FOR_WARDS if kind == "ward" else LAYERS - _NOT_LENT if is_lent else LAYERS


def is_masked(kind: Kind) -> bool:
    """Whether a recipient of this kind sees studies without who the patient is."""
    return kind == "ward"


def may_have(kind: Kind, layer: Layer) -> bool:
    """Whether a recipient of this kind may have this layer."""
    return layer in layers_for(kind)
