"""What a PACS can do for us, whichever way it is spoken to; and what is said of one that was asked."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gateway.config_pacs import Pacs
from gateway.middleware.pacs.errors import PacsAway, PacsError
from gateway.middleware.pacs.query import Query, Stored

_T = TypeVar("_T")
_WAIT_S = 120.0
_RESTS_S = 15.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Instances of one series: all of it where ``instances`` is empty."""

    SeriesInstanceUID: str
    instances: tuple[str, ...] = ()
    classes: frozenset[str] = frozenset()
    """SOP classes of what is wanted; empty where the PACS did not say."""


class Way(Protocol):
    """DIMSE or DICOMweb. Everything blocks and raises PacsError."""

    def echo(self) -> None:
        """Whether it is there and speaks with us."""

    def find(self, query: Query) -> Iterator[dict[str, Any]]:
        """Hits as DICOM JSON, none twice; at most one more than ``query.most``."""

    def fetch(self, StudyInstanceUID: str, wanted: Wanted, on_instance: Callable[[], None]) -> None:
        """Bring instances in by the door. Returns when the PACS says that it is done, whatever came.

        ``on_instance`` is called now and then while they come.
        """

    def store(self, path: Path) -> Stored:
        """Send one Part 10 file."""

    def commit(self, transaction: str, instances: Sequence[tuple[str, str]]) -> None:
        """Ask it to say that it keeps these, as (SOPClassUID, SOPInstanceUID)."""


@dataclass
class Peer:
    """One PACS with its limits, and what is known of its health. Serves many threads."""

    settings: Pacs
    way: Way
    answered_at: float | None = None
    tried_at: float | None = None
    error: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next_at: float = 0.0
    _rests_until: float = float("-inf")
    _places: threading.BoundedSemaphore = field(init=False)
    _searches: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self._places = threading.BoundedSemaphore(self.settings.at_once)
        self._searches = threading.BoundedSemaphore(self.settings.at_once)

    @property
    def rests(self) -> bool:
        """Whether it was away a moment ago: then whoever can do without it does not wait for it again."""
        return time.monotonic() < self._rests_until

    @property
    def name(self) -> str:
        """As the configuration has it."""
        return self.settings.name

    @contextmanager
    def turn(self, is_search: bool = False) -> Iterator[Way]:
        """Held while the PACS works for us: no more at once, and no more a minute, than is allowed.

        Searches have places of their own, so that they do not wait behind studies that take minutes.
        Raises PacsAway when there was no turn within two minutes; notes what the body raises.
        """
        places = self._searches if is_search else self._places
        if not places.acquire(timeout=_WAIT_S):
            raise PacsAway(f"{self.name}: too much is asked of it already")
        try:
            self._pace()
            self.tried_at = time.time()
            try:
                yield self.way
            except PacsError as error:
                self.error = str(error)
                if isinstance(error, PacsAway):
                    self._rests_until = time.monotonic() + _RESTS_S
                raise
            self.answered_at, self.error, self._rests_until = time.time(), "", float("-inf")
        finally:
            places.release()

    def _pace(self) -> None:
        """A short burst is let through; after that the requests come evenly."""
        gap = 60.0 / self.settings.per_minute
        with self._lock:
            now = time.monotonic()
            begins = max(self._next_at, now - 10 * gap)
            self._next_at = begins + gap
        if begins > now:
            time.sleep(begins - now)

    def status(self) -> dict[str, Any]:
        """See ``PacsClient.status``."""
        settings = self.settings
        how = "dicomweb" if settings.dicomweb else f"{settings.aet} by {settings.via}"
        return {
            "pacs": self.name,
            "how": how,
            "answered_at": self.answered_at,
            "tried_at": self.tried_at,
            "error": self.error,
        }


def with_tries(tries: int, act: Callable[[], _T], stop: threading.Event) -> _T:
    """Do it again, with longer and longer pauses, while the PACS is away. Raises what the last try raised."""
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return act()
        except PacsAway:
            tries -= 1
            # Several gateways that wait for one PACS must not all come back at once.
            if tries <= 0 or stop.wait(pause * (0.75 + random.random() / 2)):  # noqa: S311
                raise
            pause = min(pause * 2, _LONGEST_PAUSE_S)


def by_series(instances: Mapping[str, str], missing: Collection[str], batch: int) -> list[tuple[str, Sequence[str]]]:
    """``(series, instances)`` to ask for so that exactly ``missing`` comes; no instances: the whole series.

    Args:
        instances: SOPInstanceUID to SeriesInstanceUID of all that the PACS has.
        missing: of these, what is not here.
        batch: so many instances in a request at most.
    """
    lacking: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for instance, series in instances.items():
        sizes[series] = sizes.get(series, 0) + 1
        if instance in missing:
            lacking.setdefault(series, []).append(instance)
    found: list[tuple[str, Sequence[str]]] = []
    for series, several in lacking.items():
        if len(several) == sizes[series]:
            found.append((series, ()))
        else:
            found += [(series, several[start : start + batch]) for start in range(0, len(several), batch)]
    return found
