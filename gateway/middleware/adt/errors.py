"""Why a message was not taken, in words without any value from it: they are answered, kept and shown."""

from __future__ import annotations


class AdtError(Exception):
    """A message that is not carried out. ``code`` is of HL7 table 0008, ``condition`` of table 0357."""

    code = "AE"

    def __init__(self, reason: str, condition: int = 207) -> None:
        super().__init__(reason)
        self.reason = reason
        self.condition = condition


class Unreadable(AdtError):
    """It is no HL7 v2 message, or its text cannot be read."""

    code = "AR"

    def __init__(self, reason: str) -> None:
        super().__init__(reason, 100)


class Unsupported(AdtError):
    """A message that is not for this receiver: another type, or one that is for training."""

    code = "AR"


class Incomplete(AdtError):
    """A field that is needed is missing, or cannot be what it says."""

    def __init__(self, reason: str, condition: int = 101) -> None:
        super().__init__(reason, condition)


class NotFollowed(AdtError):
    """It changes who a patient is, which is not followed: an operator has to."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, 207)
