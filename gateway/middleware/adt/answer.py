"""The acknowledgement of an HL7 v2 message (section 2.9): MSH, MSA, and ERR where it was not taken. Pure."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from gateway.middleware.adt.message import Header

_MOST_CHARACTERS = 199
_COMMIT = {"AA": "CA", "AE": "CE", "AR": "CR"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """``code`` is AA, AE or AR; ``text`` says why, without any value from the message."""

    code: str
    text: str = ""
    condition: int = 0
    """HL7 table 0357; 0: accepted."""


def answer(header: Header, verdict: Verdict, now: float) -> bytes | None:
    """The acknowledgement's bytes, or None where the sender asked for none.

    Args:
        header: of the message; an empty one where it could not be read.
        verdict: what became of it.
        now: POSIX seconds.
    """
    code = _code(header, verdict.code)
    if code is None:
        return None
    stamp = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y%m%d%H%M%S+0000")
    version = _plain(header.version) or "2.5.1"
    kind = f"ACK^{_plain(header.event)}^ACK" if header.event else "ACK"
    own = f"{_plain(header.application)}|{_plain(header.facility)}"
    msh = f"MSH|^~\\&|MPACS||{own}|{stamp}||{kind}|{uuid.uuid4().hex[:20]}|{_plain(header.processing) or 'P'}|{version}"
    segments = [msh, f"MSA|{code}|{_plain(header.control_id)}|{_plain(verdict.text)}"]
    if verdict.condition:
        segments.append(f"ERR|||{verdict.condition}^^HL70357|E||||{_plain(verdict.text)}")
    return "".join(f"{one}\r" for one in segments).encode("utf-8", "replace")


def _code(header: Header, code: str) -> str | None:
    """In the enhanced mode (section 2.9.3) one acknowledgement stands for both: what is answered is carried out."""
    if not header.accept and not header.result:
        return code
    for condition, is_commit in ((header.result, False), (header.accept, True)):
        if condition == "AL" or (condition == "SU" and code == "AA") or (condition == "ER" and code != "AA"):
            return _COMMIT[code] if is_commit else code
    return None


def _plain(text: str) -> str:
    """Without separators and control characters, which would make another message of it."""
    return "".join(one for one in text if one.isprintable() and one not in "|^~\\&")[:_MOST_CHARACTERS]
