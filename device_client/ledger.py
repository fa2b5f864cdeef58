"""What is current: heads and announcements of every recipient, judged without IO.

The caller verifies bytes before, and keeps them before it applies them here; times are the device clock's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from wire import limits, objects
from wire.errors import Malformed, Stale
from wire.messages import Announcement, Head, HeadEntry, Layer, ObjectEntry
from wire.names import Kind, encode_reference

GRACE_MS = limits.GRACE_S * 1000


@dataclass(frozen=True)
class Held:
    """An announcement that is here, and SHA-256 of its bytes as received."""

    kind: Kind
    recipient: str
    study: str
    announcement: Announcement
    digest: bytes

    @cached_property
    def attributes(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """``(study, series)`` in the DICOM JSON model; Malformed if they are not of that form."""
        value = objects.inflate_json(self.announcement.attributes)
        if not isinstance(value, dict) or not isinstance(value.get("study"), dict):
            raise Malformed("attributes that hold no study")
        series = value.get("series")
        if not isinstance(series, list) or not all(isinstance(item, dict) for item in series):
            raise Malformed("attributes that hold no list of series")
        return value["study"], series

    def check(self) -> None:
        """Raise Malformed unless attributes and objects fit together."""
        _, series = self.attributes
        if any(index >= len(series) for entry in self.announcement.objects for index in entry.series):
            raise Malformed("an object of a series that is not announced")


@dataclass
class Shelf:
    """One recipient: its head, its studies, and what its heads no longer name."""

    kind: Kind
    recipient: str
    sequence: int = 0
    head: Head | None = None
    studies: dict[str, Held] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)
    unlisted: dict[str, int] = field(default_factory=dict)
    revoked: bool = False

    @cached_property
    def _listed(self) -> dict[str, HeadEntry]:
        return {encode_reference(entry.study): entry for entry in self.head.studies} if self.head else {}

    # ── heads ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def check_head(self, head: Head) -> None:
        """Stale for a head that is not newer than every head before."""
        if head.sequence <= self.sequence:
            raise Stale("a head that is not newer than what is known")

    def take_head(self, head: Head, now_ms: int) -> None:
        """Apply a head whose sequence has been kept."""
        self.head, self.sequence = head, head.sequence
        self.__dict__.pop("_listed", None)
        for study in [study for study in self.unlisted if study in self._listed]:
            del self.unlisted[study]
        for study, held in self.studies.items():
            # An announcement travels before the head that names it, so a newer one may be missing in this head.
            if study not in self._listed and held.announcement.issued <= head.issued:
                self.unlisted.setdefault(study, now_ms)

    def is_overdue(self, now_ms: int) -> bool:
        """Whether a newer head should have come."""
        return self.head is None or now_ms > self.head.next_due + GRACE_MS

    # ── announcements ─────────────────────────────────────────────────────────────────────────────────────────────

    def check_announcement(self, held: Held) -> None:
        """Stale for an announcement that is not newer, or older than what the head names; Malformed if unfit."""
        announcement = held.announcement
        known = self.studies.get(held.study)
        entry = self._listed.get(held.study)
        # The same sequence in other bytes is an announcement sealed anew, for a new epoch say: the head vouches for it.
        named = entry is not None and entry.digest == held.digest and entry.sequence == announcement.sequence
        floor = self.floors.get(held.study, 0)
        if known is not None and (known.digest == held.digest or not named):
            floor = max(floor, known.announcement.sequence + 1)
        if announcement.sequence < floor:
            raise Stale("an announcement that is not newer than what is known")
        if entry is not None and announcement.sequence < entry.sequence:
            raise Stale("an announcement that is older than what the head names")
        if entry is None and self.head is not None and announcement.issued <= self.head.issued:
            raise Stale("an announcement that the head does not name")
        held.check()

    def take_announcement(self, held: Held) -> None:
        """Apply an announcement that has been kept."""
        self.studies[held.study] = held
        self.floors[held.study] = held.announcement.sequence
        self.unlisted.pop(held.study, None)

    def drop(self, study: str) -> None:
        """A study is gone."""
        self.studies.pop(study, None)
        self.floors.pop(study, None)
        self.unlisted.pop(study, None)

    # ── judgements ────────────────────────────────────────────────────────────────────────────────────────────────

    def gone(self, now_ms: int) -> list[str]:
        """Studies that verified heads have not named for the grace time."""
        return [study for study, since in self.unlisted.items() if now_ms - since >= GRACE_MS]

    def behind(self) -> list[str]:
        """Studies that the head names and that are not here as it names them."""
        behind = []
        for study, entry in self._listed.items():
            held = self.studies.get(study)
            if held is None or (held.digest != entry.digest and held.announcement.sequence <= entry.sequence):
                behind.append(study)
        return behind

    def is_current(self, study: str, now_ms: int) -> bool:
        """Whether the device may say that this is the latest state of the study."""
        held = self.studies.get(study)
        if held is None or self.head is None or self.revoked or self.is_overdue(now_ms):
            return False
        entry = self._listed.get(study)
        if entry is not None and entry.digest == held.digest:
            return True
        newest = max(self.head.issued, held.announcement.issued)
        return now_ms - newest <= GRACE_MS


class Ledger:
    """All recipients of the device."""

    def __init__(self, recipients: list[tuple[Kind, str]]) -> None:
        """Empty shelves."""
        self.shelves = {recipient: Shelf(kind, recipient) for kind, recipient in recipients}

    def studies(self) -> Iterator[Held]:
        """All studies, those announced last first."""
        held = [held for shelf in self.shelves.values() for held in shelf.studies.values()]
        return iter(sorted(held, key=lambda one: (-one.announcement.issued, one.study)))

    def is_current(self, held: Held, now_ms: int) -> bool:
        """See Shelf.is_current."""
        return self.shelves[held.recipient].is_current(held.study, now_ms)

    def wanted(
        self, layers: tuple[str, ...], wants: Callable[[Held, Layer], bool] | None = None
    ) -> Iterator[tuple[Held, ObjectEntry]]:
        """The objects of ``layers``, in the order in which they are fetched: by study, layer, series and batch.

        ``wants`` judges instead, where it is given; layers that are not among ``layers`` come behind them then.
        """
        is_wanted = wants or (lambda _held, layer: layer in layers)
        order = {layer: position for position, layer in enumerate(layers)}
        seen: set[bytes] = set()
        for held in self.studies():
            entries = [entry for entry in held.announcement.objects if is_wanted(held, entry.layer)]
            for entry in sorted(entries, key=lambda one: (order.get(one.layer, len(order)), one.series, one.batch)):
                if entry.object not in seen:
                    seen.add(entry.object)
                    yield held, entry

    def object_ids(self) -> set[str]:
        """Every object that is announced."""
        return {encode_reference(entry.object) for held in self.studies() for entry in held.announcement.objects}
