"""From instances to sealed objects, with real render workers: batches, gaps, failures, thumbnails, full disks."""

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import pydicom
import pytest
from PIL import Image

from benchmarks.studies import long_ct
from gateway.management.index import arrivals_read, deliveries
from gateway.management.studio import thumbnails
from gateway.management.studio.display import Display
from tests.support.workshop import Workshop, multi_frame, run


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(long_ct(tmp_path_factory.mktemp("ct"), 40).files)


def test_a_growing_study_is_made_in_batches_and_settles_whole(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        for path in ct[:10]:
            study, _ = shop.office.arrive(path=path)
        await shop.make()
        assert not shop.made(study)  # too few while it grows
        for path in ct[10:35]:
            shop.office.arrive(path=path)
        await shop.make()
        assert sum(one.frames for one in shop.made(study)) == 35
        (first_thumbnail,) = shop.made(study, "thumbnail")
        for path in ct[35:]:
            shop.office.arrive(path=path)
        await shop.make()
        assert sum(one.frames for one in shop.made(study)) == 35
        shop.settle()
        await shop.make()
        frames = shop.frames(study)
        assert len(frames) == len(set(frames)) == 40
        assert [one.batch for one in shop.made(study)] == [1, 2]
        (thumbnail,) = shop.made(study, "thumbnail")
        assert thumbnail.object != first_thumbnail.object  # made again once it had settled
        assert shop.store.lacking({first_thumbnail.object: 1}) and not shop.store.lacking(
            {thumbnail.object: thumbnail.size}
        )
        assert shop.states(study) == {"rendered": 40}
        made = len(shop.announced)
        await shop.make()
        assert len(shop.announced) == made  # nothing is left to do

    run(tmp_path, scenario)


def test_a_long_cine_is_streamed_over_objects_and_goes_on_after_a_cut(tmp_path: Path) -> None:
    path = multi_frame(tmp_path, 150)

    async def scenario(shop: Workshop) -> None:
        study, instance = shop.office.arrive(path=path, frames=150)
        shop.settle()
        work = shop.studio.work(study, True)
        await anext(work)
        await work.aclose()  # as a kill would, after the first object
        assert [one.frames for one in shop.made(study)] == [64]
        await shop.make()
        assert [frame for _, frame in shop.frames(study)] == list(range(150))
        # The object in the middle is lost: its frames alone are made again.
        lost = shop.made(study)[1]
        with shop.office.engine.begin() as connection:
            assert deliveries.gaps(connection, instance, "display", 150) == []
            deliveries.lose_objects(connection, [lost.object])
            assert deliveries.gaps(connection, instance, "display", 150) == [(64, 64)]
        await shop.make()
        assert sorted(frame for _, frame in shop.frames(study)) == list(range(150))
        assert lost.object not in [one.object for one in shop.made(study)]

    run(tmp_path, scenario)


@pytest.mark.parametrize(("real", "promised"), [(10, 12), (12, 10)])
def test_a_header_that_promises_another_number_of_frames_settles(tmp_path: Path, real: int, promised: int) -> None:
    path = multi_frame(tmp_path, real, promised)

    async def scenario(shop: Workshop) -> None:
        study, _ = shop.office.arrive(path=path, frames=promised)
        shop.settle()
        await shop.make()
        with shop.office.engine.connect() as connection:
            assert deliveries.work_among(connection, [study]) == []
            states = {one.state for one in arrivals_read.instances_of(connection, study)}
        assert states <= {"rendered", "failed"}
        frames = shop.frames(study)
        assert len(frames) == len(set(frames))

    run(tmp_path, scenario)


def test_failing_instances_stop_neither_series_nor_study(tmp_path: Path, ct: list[Path]) -> None:
    broken, text = tmp_path / "broken.dcm", tmp_path / "text.dcm"
    dataset = pydicom.dcmread(ct[0])
    dataset.PixelData = dataset.PixelData[:1000]
    dataset.save_as(broken, enforce_file_format=True)
    text.write_text("no DICOM at all")

    async def scenario(shop: Workshop) -> None:
        for path in (ct[0], broken, ct[1], text, tmp_path / "missing.dcm", ct[2]):
            study, _ = shop.office.arrive(path=path)
        shop.settle()
        await shop.make()
        assert shop.states(study) == {"rendered": 3, "failed": 3}
        assert len(shop.frames(study)) == 3 and len(shop.made(study, "thumbnail")) == 1
        with shop.office.engine.connect() as connection:
            failed = arrivals_read.instances_of(connection, study, "failed")
        assert all(one.reason for one in failed)
        assert not shop.health.troubles

    run(tmp_path, scenario)


def test_only_failures_end_too(tmp_path: Path) -> None:
    async def scenario(shop: Workshop) -> None:
        study, _ = shop.office.arrive(path=tmp_path / "missing.dcm")
        shop.settle()
        await shop.make()
        assert shop.states(study) == {"failed": 1}
        assert not shop.made(study) and not shop.made(study, "thumbnail")

    run(tmp_path, scenario)


def test_a_kill_between_pictures_and_thumbnails_is_made_good(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        study, _ = shop.office.arrive(path=ct[0])
        shop.settle()
        work = shop.studio.work(study, True)
        await anext(work)
        await work.aclose()
        assert shop.states(study) == {"rendered": 1} and not shop.made(study, "thumbnail")
        await shop.make()
        assert len(shop.made(study, "thumbnail")) == 1

    run(tmp_path, scenario)


def test_many_series_have_their_thumbnails_in_several_objects(
    tmp_path: Path, ct: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "THUMBNAILS", 4)

    async def scenario(shop: Workshop) -> None:
        for number in range(10):
            study, _ = shop.office.arrive(path=ct[number], series=f"1.2.3.{number}")
        shop.settle()
        await shop.make()
        made = shop.made(study, "thumbnail")
        assert [one.frames for one in made] == [4, 4, 2] or sorted(one.frames for one in made) == [2, 4, 4]
        assert len({series for one in made for series in one.series_ids}) == 10

    run(tmp_path, scenario)


def test_a_full_disk_renders_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, ct: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(shop: Workshop) -> None:
        study, _ = shop.office.arrive(path=ct[0])
        shop.settle()
        monkeypatch.setattr(shop.store, "has_room", lambda size_bytes: False)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                await shop.make()
        assert shop.states(study) == {"received": 1, "pending": 1}
        monkeypatch.undo()
        await shop.make()
        assert shop.states(study) == {"rendered": 1}

    run(tmp_path, scenario)


def test_a_study_that_provokes_a_fault_rests_and_the_others_go_on(
    tmp_path: Path, ct: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(shop: Workshop) -> None:
        bad, _ = shop.office.arrive(study="1.2.1", series="1.2.1.1", path=ct[0])
        good, _ = shop.office.arrive(study="1.2.2", series="1.2.2.1", path=ct[1])
        shop.settle()
        real = Display._enter

        def fail_for_one(display: Display, series: Any, *rest: Any) -> None:
            if series.study_id == bad:
                raise ZeroDivisionError("Hong^Gildong")
            real(display, series, *rest)

        monkeypatch.setattr(Display, "_enter", fail_for_one)
        await shop.make()
        assert shop.states(good) == {"rendered": 1}
        assert shop.states(bad) == {"received": 1, "pending": 1}
        assert shop.health.troubles == {"a study": "unforeseen: ZeroDivisionError"}
        # What was sealed for it and not entered is swept at the next start, as after a kill.
        with shop.office.engine.connect() as connection:
            known = deliveries.all_object_sizes(connection)
        assert shop.store.sweep(known) == 2

    run(tmp_path, scenario)


def test_a_worker_that_fell_is_tried_once_more(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        for path in ct[:20]:
            study, _ = shop.office.arrive(path=path)
        shop.settle()
        making = asyncio.create_task(shop.make())
        pool = shop.pool
        while not (pids := pool.pids):  # noqa: ASYNC110  # another process appears; there is no event
            await asyncio.sleep(0.001)
        os.kill(pids[0], 9)
        await making
        assert shop.states(study) == {"rendered": 20}

    run(tmp_path, scenario)


@pytest.mark.parametrize(("pet", "modes"), [("grey", ["L", "L"]), ("hot-iron", ["L", "RGB"])])
def test_pet_is_shown_as_the_configuration_says(tmp_path: Path, ct: list[Path], pet: str, modes: list[str]) -> None:
    dataset = pydicom.dcmread(ct[0])
    dataset.Modality = "PT"
    dataset.save_as(tmp_path / "pet.dcm", enforce_file_format=True)

    async def scenario(shop: Workshop) -> None:
        study, _ = shop.office.arrive(path=ct[0], series="1.2.3.1")
        shop.office.arrive(path=tmp_path / "pet.dcm", series="1.2.3.2")
        shop.settle()
        await shop.make()
        for layer in ("display", "thumbnail"):
            pictures = [data for one in shop.made(study, layer) for _, data in shop.parts(one)]
            assert [Image.open(io.BytesIO(data)).mode for data in pictures] == modes

    run(tmp_path, scenario, pet=pet)
