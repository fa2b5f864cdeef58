"""What each role may do, in one table. Pure; asked at every request, with the relation of that moment.

A relation is what joins a profile to a study: ``own`` (its patient), ``attending`` (a doctor who attends the patient,
for good or for a term), ``referring`` (a doctor whom the header names, for some days), ``emergency`` (break-glass, for
hours), ``ward`` (where the patient lies, or who attends it), ``shared`` (by a colleague, until when it says), ``none``.
"""

from typing import Literal

from wire.messages import Layer
from wire.names import Kind

Relation = Literal["own", "attending", "referring", "emergency", "ward", "shared", "none"]
Op = Literal[
    "sync",
    "want",
    "receipt",
    "order",
    "search",
    "retrieve",
    "directory",
    "share",
    "unshare",
    "release",
    "break_glass",
    "receipts",
    "upload",
]
Role = Literal["patient", "doctor", "ward", "administrator"]

_HAVING: frozenset[Relation] = frozenset({"own", "attending", "referring", "emergency", "ward", "shared"})
_TREATING: frozenset[Relation] = frozenset({"attending", "emergency"})
_EVERY: frozenset[Relation] = frozenset({*_HAVING, "none"})
_NOBODY: frozenset[Relation] = frozenset()

TABLE: dict[Role, dict[Op, frozenset[Relation]]] = {
    "patient": {
        "sync": _EVERY,
        "want": frozenset({"own"}),
        "receipt": frozenset({"own"}),
        "order": frozenset({"own"}),
        "search": _EVERY,  # among its own
        "retrieve": frozenset({"own"}),
    },
    "doctor": {
        "sync": _EVERY,
        "want": _HAVING,
        "receipt": _HAVING,
        "order": _HAVING - {"shared"},
        "search": _EVERY,  # what it may not have is not found
        "retrieve": _HAVING,
        "directory": _EVERY,
        "share": frozenset({"attending", "referring"}),
        "unshare": _EVERY,  # what it gave before, whatever it has now
        "release": frozenset({"attending"}),
        "break_glass": _EVERY,
        "receipts": frozenset({"attending", "referring", "emergency"}),
        "upload": _TREATING,
    },
    "ward": {
        "sync": _EVERY,
        "want": frozenset({"ward", "attending", "shared"}),
        "receipt": frozenset({"ward", "attending", "shared"}),
        "order": frozenset({"ward", "attending", "shared"}),
    },
    # Devices and policy, on the gateway's own machine; no images.
    "administrator": {},
}


def judge(role: Kind | Literal["administrator"], op: Op, relation: Relation, layer: Layer | None = None) -> str | None:
    """None if it may, else why not. ``relation`` is ``none`` where a request concerns no study."""
    if relation not in TABLE[role].get(op, _NOBODY):
        return "forbidden"
    if role == "ward" and layer in ("report", "original"):
        return "forbidden"
    if relation == "shared" and layer == "original":
        return "forbidden"
    return None
