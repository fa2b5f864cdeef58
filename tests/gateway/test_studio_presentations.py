"""Pictures of presentation states in series of their own: whichever came first, and made again when an image comes."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from benchmarks.studies import long_ct
from gateway.management.index import arrivals_quarantine, arrivals_read, deliveries, layers, named_pixels, uses
from gateway.management.studio import presentations
from gateway.management.studio.studio import layers_made
from tests.support import states
from tests.support.workshop import Workshop, multi_frame, run
from wire import objects

CT, PR = "1.2.3.1", "1.2.3.2"


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Values are compared here: images are made of what PyPI brings, whether the corpus is there or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPACS_CORPUS", raising=False)
        return list(long_ct(tmp_path_factory.mktemp("ct"), 3).files)


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def image(shop: Workshop, path: Path, **more: Any) -> int:
    return shop.office.arrive(path=path, uid=uid_of(path), series=CT, **more)[0]


def state(shop: Workshop, made: Any, path: Path) -> tuple[int, int]:
    states.save(made, path)
    return shop.office.arrive(
        path=path, uid=str(made.SOPInstanceUID), series=PR, sop_class=states.GRAYSCALE_SOFTCOPY, modality="PR"
    )


def shown(shop: Workshop, study: int, uid: str) -> list[tuple[int, str, Any, bytes]]:
    """Frame, image and its frame, and picture, of every part of an instance in the layer display."""
    found = []
    for one in shop.made(study):
        header = shop.header(one)
        told = objects.inflate_json(header.attributes)
        for (part, data), own in zip(shop.parts(one), told["parts"], strict=True):
            if header.instances[part.instance].SOPInstanceUID == uid:
                (item,) = {**told["shared"], **own}.get("00081140", {"Value": [{}]})["Value"]
                about = item.get("00081155", {"Value": [""]})["Value"][0]
                found.append((part.frame, about, item.get("00081160", {"Value": [None]})["Value"][0], data))
    return sorted(found, key=lambda one: one[0])


def is_over(shop: Workshop, study: int) -> bool:
    with shop.office.engine.connect() as connection:
        return not deliveries.work_among(connection, [study], ["display", "presentation"])


def test_a_state_stands_beside_its_images(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        for path in ct:
            study = image(shop, path)
        made = states.state([(uid_of(ct[2]), ()), (uid_of(ct[0]), ())])
        _, row = state(shop, made, tmp_path / "state.dcm")
        await shop.make()
        assert not shown(shop, study, made.SOPInstanceUID)  # while the study grows
        shop.settle()
        with shop.office.engine.connect() as connection:
            assert row not in [
                one.instance_id for one in uses.evictable_files(connection, study, layers_made(shop.settings))
            ]
        await shop.make()
        assert is_over(shop, study) and len(shop.frames(study)) == 5
        first, second = shown(shop, study, made.SOPInstanceUID)
        assert [one[:3] for one in (first, second)] == [(0, uid_of(ct[2]), None), (1, uid_of(ct[0]), None)]
        ((_, _, _, plain),) = shown(shop, study, uid_of(ct[0]))
        as_stored, inverted = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (plain, second[3]))
        # a corner of air is black in the one, and white in the other
        assert as_stored[:4, :4].max() < 10 and inverted[:4, :4].min() > 240
        thumbnails = [shop.header(one) for one in shop.made(study, "thumbnail")]
        assert sorted(one.instances[0].SOPInstanceUID for one in thumbnails) == sorted(
            [uid_of(ct[1]), made.SOPInstanceUID]
        )
        with shop.office.engine.connect() as connection:
            (hidden,) = named_pixels.series_with_names(connection, study)
            assert [one.id for one in arrivals_read.series_of(connection, study)][1:] == [hidden]

    run(tmp_path, scenario)


def test_a_state_that_came_before_its_images_is_made_anew_with_each(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        made = states.state([(uid_of(path), ()) for path in ct[:2]])
        study, row = state(shop, made, tmp_path / "state.dcm")
        shop.settle()
        await shop.make()
        assert is_over(shop, study) and not shop.made(study)
        with shop.office.engine.connect() as connection:
            assert layers.reasons(connection, study, "presentation") == {row: "incomplete"}
        for here, path in enumerate(ct[:2], 1):
            image(shop, path)
            shop.settle()
            await shop.make()
            found = shown(shop, study, made.SOPInstanceUID)
            assert [one[:2] for one in found] == [(n, uid_of(ct[n])) for n in range(here)]
        with shop.office.engine.connect() as connection:
            assert layers.reasons(connection, study, "presentation") == {row: ""}
        stood = shop.made(study)
        image(shop, ct[2])  # of which it says nothing
        shop.settle()
        await shop.make()
        assert shop.made(study)[: len(stood)] == stood
        known = {one.object: one.size for one in [*shop.made(study), *shop.made(study, "thumbnail")]}
        assert not shop.store.lacking(known) and shop.store.sweep(known) == 0

    run(tmp_path, scenario)


def test_frames_that_are_named_are_shown_and_lost_objects_made_again(tmp_path: Path) -> None:
    cine = multi_frame(tmp_path, 12)

    async def scenario(shop: Workshop) -> None:
        study = image(shop, cine, frames=12)
        made = states.state([(uid_of(cine), (3, 9, 40))], SOPClassUID="1.2.840.10008.5.1.4.1.1.11.2")
        state(shop, made, tmp_path / "state.dcm")
        shop.settle()
        await shop.make()
        found = shown(shop, study, made.SOPInstanceUID)
        assert [one[:3] for one in found] == [(0, uid_of(cine), 3), (1, uid_of(cine), 9)]
        (lost,) = [one for one in shop.made(study) if one.frames == 2]
        with shop.office.engine.begin() as connection:
            deliveries.lose_objects(connection, [lost.object])
        await shop.make()
        assert shown(shop, study, made.SOPInstanceUID) == found
        assert lost.object not in [one.object for one in shop.made(study)]

    run(tmp_path, scenario)


def test_states_that_cannot_be_made_stop_nothing(
    tmp_path: Path, ct: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presentations, "MAX_PICTURES", 2)

    async def scenario(shop: Workshop) -> None:
        for path in ct:
            study = image(shop, path)
        three = states.state([(uid_of(path), ()) for path in ct], uid=f"{states.SERIES}.1")
        nothing = states.state([], uid=f"{states.SERIES}.2")
        good = states.state([(uid_of(ct[0]), ())], uid=f"{states.SERIES}.3")
        rows = [state(shop, one, tmp_path / f"{n}.dcm")[1] for n, one in enumerate((three, nothing, good))]
        shop.settle()
        await shop.make()
        with shop.office.engine.connect() as connection:
            reasons = layers.reasons(connection, study, "presentation")
            failed = arrivals_read.instances_of(connection, study, "failed")
        assert [reasons[row] for row in rows] == ["too-large", "malformed", ""]
        assert [one.id for one in failed] == [rows[1]]
        assert len(shown(shop, study, good.SOPInstanceUID)) == 1 and not shop.health.troubles

    run(tmp_path, scenario)


def test_an_image_whose_file_is_gone_is_awaited(tmp_path: Path, ct: list[Path]) -> None:
    async def scenario(shop: Workshop) -> None:
        study = image(shop, ct[0])
        shop.settle()
        await shop.make()
        with shop.office.engine.begin() as connection:
            (row,) = arrivals_read.instances_of(connection, study)
            arrivals_quarantine.set_instance_state(connection, [row.id], "evicted")
        made = states.state([(uid_of(ct[0]), ())])
        state(shop, made, tmp_path / "state.dcm")
        shop.settle()
        await shop.make()
        assert is_over(shop, study) and not shown(shop, study, made.SOPInstanceUID)
        with shop.office.engine.begin() as connection:
            arrivals_quarantine.set_instance_state(connection, [row.id], "received")
        await shop.make()
        assert len(shown(shop, study, made.SOPInstanceUID)) == 1

    run(tmp_path, scenario)
