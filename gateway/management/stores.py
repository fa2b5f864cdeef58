"""The stores at a start, brought into step with the index: what a cut left is swept, what is lost is made again."""

import logging
from pathlib import Path

from sqlalchemy.engine import Engine

from gateway.config import Config
from gateway.management.evictor import Evictor
from gateway.management.index import deliveries, uses
from gateway.management.object_store import ObjectStore
from gateway.management.quota import limits_of
from gateway.management.studio.studio import layers_made
from gateway.middleware.archive import Archive

_log = logging.getLogger(__name__)


def open_stores(engine: Engine, config: Config, archive: Path, objects: Path) -> tuple[ObjectStore, Evictor]:
    """The sealed objects in ``objects``, and what keeps them and the files in ``archive`` within their quotas."""
    store = ObjectStore(objects, config.site)
    with engine.begin() as connection:
        sizes = deliveries.all_object_sizes(connection)
        for object_id in uses.evicted_objects(connection):
            sizes.pop(object_id, None)
        lacking = store.lacking(sizes)
        deliveries.lose_objects(connection, lacking)
    if lacking:
        _log.warning("%d objects are not on the disk any more and are made again", len(lacking))
    store.sweep(sizes.keys() - set(lacking))
    limits, layers = limits_of(config.store, archive.parent), layers_made(config.rendering)
    evictor = Evictor(engine, Archive(archive), store, limits, config.delivery.window_days, layers)
    evictor.measure = lambda: limits_of(config.store, archive.parent)
    evictor.count()
    return store, evictor
