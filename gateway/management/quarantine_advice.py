"""What an operator is told of an item of the quarantine: what its reason means, and what can be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.management.rendering.refusal import EXPLAINED

if TYPE_CHECKING:
    from gateway.management.quarantine import Item

_ORIGINAL: Final = "devices get the file by `mpacs-device request STUDY`"
_LARGER: Final = (
    "it may be beyond this machine's memory or time: `quarantine retry` when it is idle, or after an update"
)
_NOT_RENDERED: Final = {
    "unreadable": "see whether its disk is well, then `quarantine retry`; or have it sent again",
    "malformed": "have it sent again; if it comes the same, its sender writes it wrongly: tell its vendor",
    "no-pixels": f"nothing, there is no picture in it: {_ORIGINAL}",
    "no-frame": "have it sent again; if it comes the same, its sender writes it wrongly: tell its vendor",
    "unsupported": f"have its sender or the PACS send it in another transfer syntax, or update; {_ORIGINAL}",
    "video": "nothing: it goes as the layer video",
    "too-large": f"nothing here, it is beyond what a worker may take; {_ORIGINAL}",
    "decode": "have it sent again from the PACS; if it comes the same, the pixels were damaged before",
    "memory": _LARGER,
    "timeout": _LARGER,
    "crashed": "`quarantine retry`; if it crashes a worker again, keep the file and report it",
    "closed": "`quarantine retry`: the gateway was being stopped",
}
_REFUSED: Final = {
    "unreadable": "see with another program whether it is DICOM; have it sent again",
    "truncated": "have it sent again: a part is lacking",
    "missing-attribute": "have its sender configured to write the attribute, then sent again",
    "illegal-uid": "have its sender configured to write legal UIDs, then sent again",
    "illegal-value": "have its sender configured to write legal values, then sent again",
    "mismatch": "look at what its header says; `quarantine retry` takes it for that",
}
_APART: Final = {
    "conflict-bytes": "compare it with the one that stayed (`--identity` shows its UIDs), then `quarantine drop`",
    "conflict-patient": "have the PACS correct whose it is and send it again, then `quarantine drop`",
}


def meaning(item: Item) -> str:
    """What the reason says, in words."""
    if item.what == "not rendered" and item.reason == "decode":
        return "the pixel data is damaged, or does not fit what the header says of it"
    if item.what == "not rendered":
        return next((words for reason, words in EXPLAINED.items() if reason == item.reason), item.detail)
    return item.detail


def advice(item: Item) -> str:
    """What to do about it; ``quarantine drop`` is always possible, and not said."""
    if item.what == "HL7 message":
        return "correct its sender or the gateway's hl7 settings, then `quarantine retry`"
    known = {"not rendered": _NOT_RENDERED, "refused": _REFUSED, "kept apart": _APART}[item.what]
    return known.get(item.reason, "`quarantine retry` after an update")
