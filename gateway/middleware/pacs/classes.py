"""Which presentation contexts a C-GET proposes: there is room for 128."""

from __future__ import annotations

from pynetdicom import StoragePresentationContexts

from gateway.middleware.scp_settings import COMPRESSED_SYNTAXES

_FIRST = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near lossless
    "1.2.840.10008.1.2.4.102",  # MPEG-4
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.1.99",  # Deflated
)
_SYNTAXES = (*_FIRST, *(syntax for syntax in COMPRESSED_SYNTAXES if syntax not in _FIRST))

# For a PACS that names no SOP classes: what most studies consist of, uncompressed or as the PACS makes it so.
_COMMON = (
    *(
        "1.2.840.10008.5.1.4.1.1." + end
        for end in ("1", "1.1", "1.2", "2", "2.1", "3.1", "4", "4.1", "6.1", "7", "7.4")
    ),
    *(
        "1.2.840.10008.5.1.4.1.1." + end
        for end in ("12.1", "12.2", "20", "104.1", "128", "130", "88.11", "88.22", "88.33")
    ),
    *(
        "1.2.840.10008.5.1.4.1.1." + end
        for end in ("88.59", "88.67", "11.1", "77.1.4", "66.4", "481.1", "481.2", "481.3")
    ),
)
_KNOWN = tuple(str(one.abstract_syntax) for one in StoragePresentationContexts)
FALLBACK_CLASSES = (*_COMMON, *(one for one in _KNOWN if one not in _COMMON))[:31]


def get_syntaxes(room: int) -> tuple[str, ...]:
    """So many transfer syntaxes, those that are met most first; one at least."""
    return _SYNTAXES[: max(1, room)]
