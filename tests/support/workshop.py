"""A studio over an office's index, with real render workers: what the tests of the layers share."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.studies import HONG, real_file, relabel
from gateway.config import Rendering
from gateway.delivery.health import Health
from gateway.delivery.turns import Turns
from gateway.management.index import arrivals, deliveries
from gateway.management.object_store import ObjectStore
from gateway.management.studio.bench import Bench
from gateway.management.studio.studio import studios
from gateway.management.workers import RenderLimits, RenderPool
from tests.support.gateway_office import Office
from wire import envelope, objects, seal
from wire.names import decode_reference


class Workshop:
    """A studio over an office's index; ``make`` lets it work until nothing is lacking of the first lane's layers."""

    def __init__(self, office: Office, folder: Path, pool: RenderPool, **rendering: Any) -> None:
        self.office = office
        self.store = ObjectStore(folder / "objects", "office")
        self.pool = pool
        self.settings = Rendering(max_side=64, thumbnail_side=32, **rendering)
        bench = Bench(office.engine, folder, self.store, pool, self.settings)
        lanes = {studio.name: studio for studio in studios(bench)}
        self.studio, self.slow = lanes["a study"], lanes["the diagnostic layer of a study"]
        self.health = Health()
        self.announced: list[int] = []
        self.turns = Turns(office.engine, self.studio, self._announce, self.health)
        self.slow_turns = Turns(office.engine, self.slow, self._announce, self.health)
        self.video_turns = Turns(office.engine, lanes["a video"], self._announce, self.health)

    async def _announce(self, study_id: int) -> None:
        self.announced.append(study_id)

    async def make(self) -> None:
        self.turns.wake()
        await asyncio.wait_for(self.turns.step(), 60)

    async def make_videos(self) -> None:
        self.video_turns.wake()
        await asyncio.wait_for(self.video_turns.step(), 60)

    async def make_slow(self) -> None:
        """What waits until a study has settled: ``diagnostic``."""
        self.slow_turns.wake()
        await asyncio.wait_for(self.slow_turns.step(), 60)

    def made(self, study_id: int, layer: str = "display") -> list[deliveries.SealedObject]:
        with self.office.engine.connect() as connection:
            return [one for one in deliveries.objects_of(connection, study_id) if one.layer == layer]

    def states(self, study_id: int) -> dict[str, int]:
        with self.office.engine.connect() as connection:
            return deliveries.state_counts(connection).get(study_id, {})

    def settle(self) -> None:
        with self.office.engine.begin() as connection:
            arrivals.settle_quiet(connection, -1, time.time())

    def opened(self, one: deliveries.SealedObject) -> bytes:
        count = seal.segment_count(one.size)
        sealed = b"".join(self.store.segment(one.object, index, one.size) for index in range(count))
        context = envelope.object_context("office", decode_reference(one.object), one.layer)
        return seal.open_whole(one.key, context, sealed)

    def header(self, one: deliveries.SealedObject) -> objects.Header:
        return objects.parse_header(self.opened(one), one.layer, one.size)

    def parts(self, one: deliveries.SealedObject) -> list[tuple[objects.Part, bytes]]:
        """Each part with its bytes, in order."""
        plain = self.opened(one)
        header = objects.parse_header(plain, one.layer, one.size)
        spans = objects.part_spans(header, objects.header_end(plain))
        return [(part, plain[start:end]) for part, (start, end) in zip(header.parts, spans, strict=True)]

    def frames(self, study_id: int) -> list[tuple[str, int]]:
        """Instance and frame of every picture of the layer display, in the order of batches."""
        found = []
        for one in self.made(study_id):
            header = self.header(one)
            found += [(header.instances[part.instance].SOPInstanceUID, part.frame) for part in header.parts]
        return found


@asynccontextmanager
async def workshop(folder: Path, limits: RenderLimits | None = None, **rendering: Any) -> AsyncIterator[Workshop]:
    with Office(folder / "state") as office:
        async with RenderPool(2, limits) as pool:
            yield Workshop(office, folder, pool, **rendering)


def run(folder: Path, scenario: Callable[[Workshop], Coroutine[Any, Any, None]], **rendering: Any) -> None:
    async def main() -> None:
        async with workshop(folder, **rendering) as shop:
            await scenario(shop)

    asyncio.run(main())


def multi_frame(folder: Path, frames: int, promised: int | None = None) -> Path:
    """A real ultrasound's frames, repeated; the header may promise another number."""
    dataset = pydicom.dcmread(real_file("examples_ybr_color.dcm"))
    pixels = dataset.pixel_array[:, ::4, ::4]
    relabel(dataset, HONG, "cine", "1", 1, "cine")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    many = np.concatenate([pixels] * (1 + frames // len(pixels)))[:frames]
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames, *many.shape[1:3]
    dataset.PhotometricInterpretation = "RGB"
    dataset.set_pixel_data(np.ascontiguousarray(many), "RGB", 8, generate_instance_uid=False)
    if promised is not None:
        dataset.NumberOfFrames = promised
    path = folder / f"cine-{frames}-{promised}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path
