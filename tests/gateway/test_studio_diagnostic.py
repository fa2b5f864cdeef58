"""The layer ``diagnostic`` from instances to sealed objects: when, in which order, and what becomes of what fails."""

import asyncio
import os
from pathlib import Path

import numpy as np
import openjpeg
import pydicom
import pytest

from benchmarks.studies import long_ct, real_file
from gateway.config import Rendering
from gateway.management.index import deliveries, layers
from gateway.management.studio import banded
from gateway.management.studio.spool import Spool
from gateway.management.studio.studio import layers_made
from tests.support.workshop import Workshop, multi_frame, run
from wire import objects


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(long_ct(tmp_path_factory.mktemp("ct"), 24).files)


def diagnostic_frames(shop: Workshop, study: int) -> list[tuple[str, int]]:
    """Instance and frame of every first band, in the order of objects and parts."""
    found = []
    for one in shop.made(study, "diagnostic"):
        header = shop.header(one)
        found += [(header.instances[p.instance].SOPInstanceUID, p.frame) for p in header.parts if p.band == 0]
    return found


def is_over(shop: Workshop, study: int) -> bool:
    with shop.office.engine.connect() as connection:
        return not deliveries.work_among(connection, [study], layers_made(Rendering()))


def reasons(shop: Workshop, study: int) -> list[str]:
    with shop.office.engine.connect() as connection:
        return sorted(layers.reasons(connection, study, "diagnostic").values())


def test_a_series_is_made_when_it_has_settled_first_bands_first(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        for path in ct[:20]:
            study, _ = shop.office.arrive(path=path)
        await shop.make_slow()
        assert not shop.made(study, "diagnostic")  # it still grows
        shop.settle()
        await shop.make_slow()
        assert not shop.made(study, "diagnostic")  # and its pictures come first
        await shop.make()
        assert not is_over(shop, study)
        await shop.make_slow()
        assert is_over(shop, study)
        (one,) = shop.made(study, "diagnostic")
        assert one.frames == 20 and len(one.series_ids) == 1
        parts = shop.parts(one)
        assert [part.band for part, _ in parts] == [0] * 20 + [1] * 20
        assert [part.instance for part, _ in parts] == [*range(20), *range(20)]
        for (_, base), (_, rest), path in zip(parts[:20], parts[20:], ct[:20], strict=True):
            np.testing.assert_array_equal(openjpeg.decode(base + rest), pydicom.dcmread(path).pixel_array)
        told = objects.inflate_json(shop.header(one).attributes)
        assert told["shared"]["00280101"] and all("00200032" in own for own in told["parts"][:20])
        assert told["parts"][20:] == [{}] * 20
        made = len(shop.announced)
        await shop.make_slow()
        assert len(shop.announced) == made

    run(tmp_path, scenario)


def test_late_instances_make_a_further_object(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        for path in ct[:3]:
            study, _ = shop.office.arrive(path=path)
        shop.settle()
        await shop.make()
        await shop.make_slow()
        (first,) = shop.made(study, "diagnostic")
        for path in ct[3:5]:
            shop.office.arrive(path=path)
        shop.settle()
        await shop.make()
        await shop.make_slow()
        both = shop.made(study, "diagnostic")
        assert both[0] == first and [one.frames for one in both] == [3, 2]
        assert len(set(diagnostic_frames(shop, study))) == 5

    run(tmp_path, scenario)


def test_what_the_layer_cannot_hold_fails_nothing_else(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        for path in (ct[0], real_file("rtdose.dcm"), tmp_path / "missing.dcm", ct[1]):
            study, _ = shop.office.arrive(path=path)
        only, _ = shop.office.arrive(study="1.2.9", series="1.2.9.1", path=real_file("rtdose_1frame.dcm"))
        shop.settle()
        await shop.make()
        await shop.make_slow()
        assert shop.states(study) == {"rendered": 3, "failed": 1}
        assert reasons(shop, study) == ["", "", "unreadable", "unsupported"]
        assert [one.frames for one in shop.made(study, "diagnostic")] == [2]
        assert reasons(shop, only) == ["unsupported"] and shop.made(only) and not shop.made(only, "diagnostic")
        assert is_over(shop, study) and is_over(shop, only)  # devices are told that nothing more comes
        assert {study, only} <= set(shop.announced) and not shop.health.troubles

    run(tmp_path, scenario)


def test_a_long_cine_goes_on_after_a_cut_and_is_made_again_where_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banded, "OBJECT_FRAMES", 64)
    path = multi_frame(tmp_path, 150)

    async def scenario(shop: Workshop) -> None:
        study, instance = shop.office.arrive(path=path, frames=150)
        shop.settle()
        await shop.make()
        work = shop.slow.work(study, True)
        await anext(work)
        await work.aclose()  # as a kill would, after the first object
        assert [one.frames for one in shop.made(study, "diagnostic")] == [64]
        assert not is_over(shop, study)
        await shop.make_slow()
        assert [frame for _, frame in diagnostic_frames(shop, study)] == list(range(150))
        lost = shop.made(study, "diagnostic")[1]
        with shop.office.engine.begin() as connection:
            deliveries.lose_objects(connection, [lost.object])
            assert deliveries.gaps(connection, instance, "diagnostic", 150) == [(64, 64)]
        assert shop.states(study) == {"rendered": 1}  # its pictures stand
        await shop.make_slow()
        assert sorted(frame for _, frame in diagnostic_frames(shop, study)) == list(range(150))
        assert is_over(shop, study)

    run(tmp_path, scenario)


@pytest.mark.parametrize(("real", "promised"), [(10, 12), (12, 10)])
def test_a_header_that_promises_another_number_of_frames_is_over_too(tmp_path: Path, real: int, promised: int) -> None:
    path = multi_frame(tmp_path, real, promised)

    async def scenario(shop: Workshop) -> None:
        study, _ = shop.office.arrive(path=path, frames=promised)
        shop.settle()
        await shop.make()
        await shop.make_slow()
        frames = diagnostic_frames(shop, study)
        assert len(frames) == len(set(frames)) and is_over(shop, study)

    run(tmp_path, scenario)


def test_a_worker_that_fell_costs_no_frame(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        for path in ct:
            study, _ = shop.office.arrive(path=path)
        shop.settle()
        await shop.make()
        making = asyncio.create_task(shop.make_slow())
        while shop.pool.idle == 2:  # noqa: ASYNC110  # a worker takes a job; there is no event
            await asyncio.sleep(0.001)
        for pid in shop.pool.pids:
            os.kill(pid, 9)
        await making
        assert len(set(diagnostic_frames(shop, study))) == len(ct) and set(reasons(shop, study)) == {""}

    run(tmp_path, scenario)


def test_a_full_disk_is_waited_for_before_anything_is_encoded(
    tmp_path: Path, ct: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(shop: Workshop) -> None:
        study, _ = shop.office.arrive(path=ct[0])
        shop.settle()
        await shop.make()
        monkeypatch.setattr(shop.store, "has_room", lambda size_bytes: False)
        with pytest.raises(OSError, match="No space"):
            await shop.make_slow()
        monkeypatch.undo()
        await shop.make_slow()
        assert is_over(shop, study)

    run(tmp_path, scenario)


def test_the_header_of_300_slices_is_small(tmp_path: Path) -> None:
    """Attributes as a scanner writes them, of 300 slices and in both bands: at most 64 KiB."""
    files = long_ct(tmp_path, 300).files

    async def scenario(shop: Workshop) -> None:
        for path in files:
            study, _ = shop.office.arrive(path=path)
        shop.settle()
        await shop.make()
        await shop.make_slow()
        (one,) = shop.made(study, "diagnostic")
        header_bytes = objects.header_end(shop.opened(one)[:4])
        print(f"header of {one.frames} slices: {header_bytes} bytes; object: {one.size}")
        assert one.frames == 300 and header_bytes <= 64 * 1024

    run(tmp_path, scenario)


def test_nothing_readable_lies_on_the_disk_while_parts_wait(tmp_path: Path) -> None:
    secret = b"a pixel that nobody else may see" * 100
    with Spool(tmp_path) as spool:
        numbers = [spool.put(secret), spool.put(b""), spool.put(secret)]
        on_disk = os.pread(spool._file.fileno(), 1 << 20, 0)
        assert len(on_disk) == spool.size_bytes == 2 * len(secret) + 3 * 16
        assert secret[:16] not in on_disk and on_disk[:100] != on_disk[-100:]
        assert [spool.take(number) for number in numbers] == [secret, b"", secret]
        assert [spool.length(number) for number in numbers] == [len(secret), 0, len(secret)]
        assert list(tmp_path.iterdir()) == []  # without a name: a kill leaves nothing to sweep
