"""Names in pixels: which pictures a masked view must not show. Importable without numpy or pydicom."""

from __future__ import annotations

from typing import Final

_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
"""Single-frame secondary capture; the multi-frame ones continue this UID (.1 to .4)."""
_OFTEN_BURNED_IN: Final = frozenset({"US", "IVUS", "SC"})


def may_show_identity(*, modality: str, sop_class_uid: str, burned_in_annotation: str) -> bool:
    """Whether the pixels may carry identifying text (BurnedInAnnotation, PS3.3 C.7.6.1.1).

    What says YES does; ultrasound and secondary captures do unless they say NO, because their makers often burn a
    name in and leave the attribute out.
    """
    stated = burned_in_annotation.strip().upper()
    if stated in ("YES", "NO"):
        return stated == "YES"
    capture = sop_class_uid == _SECONDARY_CAPTURE or sop_class_uid.startswith(f"{_SECONDARY_CAPTURE}.")
    return capture or modality.strip().upper() in _OFTEN_BURNED_IN
