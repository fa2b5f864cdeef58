"""Orders: what a recipient wants made of a study, judged and written down. Blocks on the index."""

import time
from collections.abc import Collection
from typing import Literal

from sqlalchemy.engine import Connection, Engine

from gateway.management.census import Census
from gateway.management.index import arrivals_read, deliveries, layers, ordered, told, uses
from gateway.management.index.arrivals_rows import InstanceRow, StudyRow
from gateway.management.index.layers import Stage
from gateway.management.index.people import Profile
from gateway.management.rights import may_have
from gateway.management.sharing import may
from wire.messages import Layer, Order
from wire.names import encode_reference

MOST_SERIES = 4096
"""That wait at once, over all studies."""

Verdict = Literal["done", "forbidden", "gone", "busy", "unsupported"]


class Orders:
    """One for the gateway."""

    def __init__(self, engine: Engine, census: Census, made: Collection[Stage]) -> None:
        """``made`` are the layers that this gateway makes by itself."""
        self._engine = engine
        self._census = census
        self._made = {*made, "thumbnail", "original"}

    def take(self, profile: Profile, order: Order) -> Verdict:
        """Write the order down, unless all of it is there; ``done`` in both cases."""
        if encode_reference(order.recipient) != profile.reference or order.kind != profile.kind:
            return "forbidden"
        if not may_have(profile.kind, order.layer):
            return "forbidden"
        with self._engine.begin() as connection:
            study = self._study(connection, profile, encode_reference(order.study))
            if study is None:
                return "forbidden"
            if order.layer not in self._made:
                return "unsupported"
            wanted = _instances(connection, study.id, order.series)
            if not wanted:
                return "gone"
            uses.note_study(connection, study.id, time.time())
            _recall(connection, study.id, order.layer, wanted)
            if order.layer == "original":
                return _originals(connection, study.id, wanted)
            # What this gateway makes by itself is offered, or comes as soon as it can be made.
            is_there = _has(connection, study.id, order.layer, wanted) or _comes(connection, study.id, order.layer)
            return "done" if is_there else "gone"

    def _study(self, connection: Connection, profile: Profile, reference: str) -> StudyRow | None:
        """The study, if it is announced to the recipient and the profiles still say that it is for it."""
        study_id = told.study_announced(connection, profile.reference, reference)
        study = arrivals_read.study_by_id(connection, study_id) if study_id is not None else None
        if study is None:
            return None
        return study if may("order", connection, self._census.look_within(connection), profile, study) else None


def _instances(connection: Connection, study_id: int, series: Collection[str]) -> list[InstanceRow]:
    """Of these series, or of all where none is named; series that the study does not hold are passed over."""
    found = arrivals_read.instances_of(connection, study_id)
    if not series:
        return found
    ids = {row.id for row in arrivals_read.series_of(connection, study_id) if row.SeriesInstanceUID in series}
    return [row for row in found if row.series_id in ids]


def _recall(connection: Connection, study_id: int, layer: Layer, wanted: list[InstanceRow]) -> None:
    """What was evicted of the layer is forgotten, so that it is made again of the files that are here."""
    here = {row.series_id for row in wanted if row.state != "evicted"}
    gone = [one for one, series_ids in uses.evicted_of(connection, study_id, layer) if series_ids & here]
    deliveries.lose_objects(connection, gone)


def _comes(connection: Connection, study_id: int, layer: Layer) -> bool:
    # With the display's pictures come the thumbnails.
    made: list[Stage] = ["display", "presentation"] if layer in ("thumbnail", "display") else [layer]
    return bool(deliveries.work_among(connection, [study_id], made))


def _originals(connection: Connection, study_id: int, wanted: list[InstanceRow]) -> Verdict:
    series_ids = {row.series_id for row in wanted}
    # A file that was missing may have come back.
    missing = {one for one, why in layers.reasons(connection, study_id, "original").items() if why == layers.MISSING}
    layers.reopen(connection, missing & {row.id for row in wanted}, "original")
    if ordered.count(connection) >= MOST_SERIES and not ordered.holds(connection, study_id, series_ids, "original"):
        return "busy"
    ordered.put(connection, study_id, series_ids, "original", time.time())
    if not any(row.series_id in series_ids for row in layers.due_of(connection, study_id, "original")):
        ordered.close(connection, study_id, "original")
        return "done" if _has(connection, study_id, "original", wanted) else "gone"
    deliveries.touch(connection, study_id)
    return "done"


def _has(connection: Connection, study_id: int, layer: Layer, wanted: list[InstanceRow]) -> bool:
    series_ids = {row.series_id for row in wanted}
    gone = {one for one, _ in uses.evicted_of(connection, study_id, layer)}
    return any(
        one.layer == layer and series_ids & set(one.series_ids) and one.object not in gone
        for one in deliveries.objects_of(connection, study_id)
    )
