"""What the receiver said is on the board: typed from the plain values of ``device_client.board``. Pure."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

Store = Literal["open", "lease-ended", "receiver-gone", "card-gone", "not-enrolled"]
URGENT = ("STAT", "HIGH")
"""RequestedProcedurePriority (PS3.3 C.4.11)."""
_DATE_TIME = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})?)?")


@dataclass(frozen=True)
class Study:
    """A study in the list. ``at_ms`` is when it was made, or announced where the file does not say; ``version`` changes
    with its pictures."""

    study: str
    name: str
    bed: str
    modalities: tuple[str, ...]
    description: str
    at_ms: int
    urgent: bool
    settled: bool
    frames: int
    percent: int
    version: tuple[int, ...]


@dataclass(frozen=True)
class Board:
    """All that is known at ``now_ms`` of the device's clock. ``issued_ms`` is the head's, 0 before the first.

    ``blank_after_s`` is the site's limit: the strictest of those that came with the studies, 0 where it sets none.
    """

    store: Store = "receiver-gone"
    now_ms: int = 0
    connected: bool = False
    gateway_online: bool = True
    label: str = ""
    issued_ms: int = 0
    overdue: bool = True
    revoked: bool = False
    behind: int = 0
    reason: str = ""
    storage: str = ""
    blank_after_s: int = 0
    studies: tuple[Study, ...] = field(default=())


@dataclass(frozen=True)
class Frame:
    """A picture that is here as a whole: where it lies, what is said of it. ``rate_hz`` 0: the file says nothing."""

    object: str
    start: int
    end: int
    series: str
    rate_hz: float
    lossy: bool
    ratio: int


def read_board(value: dict[str, Any], zone: tzinfo | None = None) -> Board:
    """From the answer to ``{"op": "board"}``; ``zone`` is where studies are made, None for this machine's."""
    shelves = value.get("recipients", [])
    open_shelves = [one for one in shelves if not one["revoked"]]
    return Board(
        store=value["store"],
        now_ms=value["now"],
        connected=value["connected"],
        gateway_online=value["gateway"],
        label=", ".join(one["label"] for one in shelves),
        issued_ms=min((one["issued"] for one in open_shelves), default=0),
        overdue=any(one["overdue"] for one in open_shelves),
        revoked=bool(shelves) and not open_shelves,
        behind=sum(one["behind"] for one in open_shelves),
        reason=str(value.get("reason", "")),
        storage=value.get("storage", ""),
        blank_after_s=min(filter(None, (one["blank_after_s"] for one in value.get("studies", []))), default=0),
        studies=tuple(sort(read_study(one, zone) for one in value.get("studies", []))),
    )


def sort(studies: Any) -> list[Study]:
    """Critical ones first, then the newest."""
    return sorted(studies, key=lambda one: (not one.urgent, -one.at_ms, one.study))


def read_study(value: dict[str, Any], zone: tzinfo | None = None) -> Study:
    """One of the board's studies."""
    received, segments = value["received"], value["segments"]
    return Study(
        study=value["study"],
        name=shown_name(value),
        bed=shown_bed(value["CurrentPatientLocation"]),
        modalities=tuple(value["modalities"]),
        description=_printable(value["StudyDescription"]),
        at_ms=made_at(value["StudyDate"], value["StudyTime"], zone) or value["issued"],
        urgent=value["RequestedProcedurePriority"].strip() in URGENT,
        settled=value["settled"],
        frames=value["frames"],
        percent=100 * received // segments if segments else 0,
        version=tuple(value["version"]),
    )


def read_frames(values: list[dict[str, Any]]) -> tuple[Frame, ...]:
    """From the answer to ``{"op": "frames"}``."""
    return tuple(
        Frame(one["object"], one["start"], one["end"], one["series"], one["rate"], one["lossy"], one["ratio"])
        for one in values
    )


def shown_name(value: dict[str, Any]) -> str:
    """Hangul first where there is any: Korean headers have it in the phonetic group (PS3.5 annex I)."""
    groups = [value.get(f"PatientName{group}", "").strip("^= ") for group in ("Phonetic", "Ideographic", "")]
    chosen = next((text for text in groups if _has_hangul(text)), "") or groups[1] or groups[2] or groups[0]
    # A name that came as one text with all its groups: one of them is shown, and never a delimiter.
    parts = [part for part in chosen.split("=") if part.strip("^ ")]
    chosen = next((part for part in reversed(parts) if _has_hangul(part)), parts[-1] if parts else "")
    return _printable("".join(chosen.split("^")) if _has_cjk(chosen) else " ".join(chosen.replace("^", " ").split()))


def shown_bed(location: str) -> str:
    """Room and bed of ``WARD^ROOM^BED`` (as HL7 v2 PL writes it), or the text as it is."""
    parts = [part.strip() for part in location.split("^")]
    shown = "-".join(part for part in parts[1:3] if part) if len(parts) > 1 else ""
    return _printable(shown or parts[0])


def made_at(date: str, time: str, zone: tzinfo | None) -> int:
    """StudyDate and StudyTime as milliseconds, 0 where they are not legal."""
    match = _DATE_TIME.match(f"{date.strip()}{time.strip().partition('.')[0]}")
    if match is None:
        return 0
    year, month, day, hour, minute = (int(part or 0) for part in match.groups())
    try:
        made = datetime(year, month, day, hour, minute, tzinfo=zone or UTC)
        made = made if zone else made.replace(tzinfo=None).astimezone()
        return int(made.timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0


def _has_hangul(text: str) -> bool:
    return any("\uac00" <= character <= "\ud7a3" for character in text)


def _has_cjk(text: str) -> bool:
    return any("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7a3" for character in text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
