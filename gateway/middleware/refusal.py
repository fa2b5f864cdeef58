"""Why an instance was not taken: a closed set of reasons, each with its C-STORE status (PS3.4 table B.2-1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RefusalReason(StrEnum):
    """Stable codes: they are stored in the index and shown to operators."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    MISSING_ATTRIBUTE = "missing-attribute"
    ILLEGAL_UID = "illegal-uid"
    ILLEGAL_VALUE = "illegal-value"
    MISMATCH = "mismatch"
    TOO_LARGE = "too-large"
    OUT_OF_RESOURCES = "out-of-resources"
    PROCESSING_FAILURE = "processing-failure"

    @property
    def status(self) -> int:
        """The C-STORE status that says so: 0xA7xx, 0xA9xx, 0xCxxx (PS3.4 section B.2.3), 0x0110 (PS3.7 annex C)."""
        return _STATUS[self]

    @property
    def quarantined(self) -> bool:
        """Whether the bytes are kept for an operator to look at; not when there was no room for them."""
        return self not in _NOT_KEPT


_STATUS = {
    RefusalReason.UNREADABLE: 0xC000,
    RefusalReason.TRUNCATED: 0xC101,
    RefusalReason.MISSING_ATTRIBUTE: 0xC102,
    RefusalReason.ILLEGAL_UID: 0xC103,
    RefusalReason.ILLEGAL_VALUE: 0xC104,
    RefusalReason.MISMATCH: 0xA900,
    RefusalReason.TOO_LARGE: 0xA701,
    RefusalReason.OUT_OF_RESOURCES: 0xA700,
    RefusalReason.PROCESSING_FAILURE: 0x0110,
}
_NOT_KEPT = frozenset({RefusalReason.TOO_LARGE, RefusalReason.OUT_OF_RESOURCES, RefusalReason.PROCESSING_FAILURE})


@dataclass(frozen=True, slots=True)
class Refusal:
    """One instance that was not taken. Carries no identity, so all of it may be logged."""

    reason: RefusalReason
    digest: str
    """Hex SHA-256 of the quarantined file; empty when nothing was kept."""
    path: str
    """Of the quarantined file, relative to the archive's root; empty when nothing was kept."""
    detail: str
    """Which rule was broken, in words without any value from the data set."""
    size_bytes: int = 0
    source: str = ""


class HeaderError(ValueError):
    """The data set's header broke a rule; the text names the rule and the keyword, never a value."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
