"""Which layers are made, and in which lane: what shows a study at once, and what waits until it has settled."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import Protocol

from sqlalchemy.engine import Connection

from gateway.config import Rendering
from gateway.management.index import deliveries
from gateway.management.index.deliveries import Work
from gateway.management.index.layers import Stage
from gateway.management.studio.bench import Bench
from gateway.management.studio.diagnostic import Diagnostic
from gateway.management.studio.display import Display
from gateway.management.studio.originals import Originals
from gateway.management.studio.presentations import Presentations
from gateway.management.studio.reports import Reports
from gateway.management.studio.thumbnails import Thumbnails
from gateway.management.studio.videos import Videos


class Maker(Protocol):
    """Makes one layer, or a stage of it."""

    @property
    def layer(self) -> Stage:
        """What it makes."""

    def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what is lacking; yields after each object, so that it can be announced, and after what failed.

        OSError where the disk has no room: what was made stays, and the next work on the study goes on behind it.
        """


class Studio:
    """Makes some layers, one after the other. A study lacks something as long as one of them does."""

    def __init__(self, name: str, makers: Sequence[Maker]) -> None:
        """``name`` is for reports of trouble."""
        self.name = name
        self._makers = makers
        self._layers = [maker.layer for maker in makers]

    def lacking(self, connection: Connection, study_ids: Collection[int]) -> list[Work]:
        """Those of the studies that have work here now, the latest arrival first."""
        return deliveries.work_among(connection, study_ids, self._layers)

    async def work(self, study_id: int, settled: bool) -> AsyncGenerator[None, None]:
        """Make what is lacking; yields after each object. OSError as a maker's."""
        for maker in self._makers:
            async with aclosing(maker.work(study_id, settled)) as objects:
                async for _ in objects:
                    yield


def layers_made(settings: Rendering) -> list[Stage]:
    """Every layer and stage that must be over before a study counts as settled."""
    made: list[Stage] = ["display", "video", "presentation"]
    made += ["report"] if settings.report else []
    made += ["diagnostic"] if settings.diagnostic else []
    return made


def studios(bench: Bench) -> list[Studio]:
    """One for each lane: a lane waits for no other, but for its turn with the workers."""
    lanes = [
        Studio("a study", [Display(bench), Presentations(bench), Thumbnails(bench)]),
        Studio("an order", [Originals(bench)]),
        Studio("a video", [Videos(bench)]),
    ]
    if bench.settings.report:
        lanes.append(Studio("a report", [Reports(bench)]))
    if bench.settings.diagnostic:
        lanes.append(Studio("the diagnostic layer of a study", [Diagnostic(bench)]))
    return lanes
