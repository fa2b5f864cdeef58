"""What a device keeps when process, power or card fail: it opens every time, and shows no partial picture."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.studies import HONG, Made, long_ct
from device_client import board
from device_client.display import pictures
from device_client.store.state import State
from tests.support.cards import LoopCard, RamCard, need_mounts
from tests.support.devices import RunningDevice
from tests.support.displays import AMBER, RunningDisplay, share_of, wait_for
from tests.support.gateways import RunningGateway
from wire.limits import PAGE_DIGESTS
from wire.names import encode_reference

SLICES = 60


@pytest.fixture(scope="module")
def ward(known_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One for all tests here: each has a device and a card of its own, and none asks more of the gateway."""
    with RunningGateway(
        tmp_path_factory.mktemp("ward") / "gateway", settings={"delivery": {"settle_s": 1.0}}
    ) as gateway:
        gateway.cli("profile", "add", "ward", "W3", "--attends", "*")
        yield gateway


@pytest.fixture(scope="module")
def ct(ward: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One study, in the gateway."""
    made = long_ct(tmp_path_factory.mktemp("ct"), SLICES, HONG, "faults")
    ward.store(made.files)
    ward.wait_studies(1)
    return made


def received_bytes(objects: Path) -> int:
    """What has been written of objects until now."""
    found = 0
    for path in objects.glob("*.data"):
        try:
            found += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return found


def held_and_whole(folder: Path) -> tuple[int, int]:
    """``(segments that are believed, pictures that can be shown)``; each is looked at, byte by byte."""
    state = State(folder)
    try:
        store = state.unlock()
        segments = shown = 0
        for held in store.ledger.studies():
            for entry in held.announcement.objects:
                try:
                    blob = store.blobs.open(encode_reference(entry.object), entry.size)
                except OSError:
                    continue
                try:
                    believed = {index for index in range(blob.segments) if index in blob.have}
                    # A page of digests may be lost with the power, and is asked for again: what it covers is
                    # proved by its seal when it is read, below.
                    pages = blob.pages(entry.manifest)
                    blob.check(pages)
                    provable = {index for index in believed if index // PAGE_DIGESTS in pages}
                    assert provable <= {index for index in range(blob.segments) if index in blob.have}, (
                        "a segment is believed that is not what was sent"
                    )
                    segments += len(believed)
                finally:
                    blob.close()
        found = board.entries(store)
        for one in found:
            for frame in board.frames_of(store, found, board.describe(store, one)["study"]):
                data = board._read(store, _entry(found, frame["object"]), frame["start"], frame["end"])
                assert pictures.decode(data, 400, 400).data, "a picture is shown that is not whole"
                shown += 1
        return segments, shown
    finally:
        state.close()


def _entry(found: list[board.Entry], object_id: str):
    return next(
        entry
        for one in found
        for held in one.parts
        for entry in held.announcement.objects
        if encode_reference(entry.object) == object_id
    )


def at_random_moment(device: RunningDevice, objects: Path, total: int, number: int) -> None:
    """Wait until a random part of what will come has been written; before the first byte, too."""
    share = random.Random(number).random()
    deadline = time.monotonic() + 60
    while received_bytes(objects) < share * total:
        assert time.monotonic() < deadline and device.process is not None
        if "complete" in device.log.rpartition("--- start")[2]:
            return


def start(device: RunningDevice, *arguments: str) -> None:
    with device._log.open("a") as log:
        log.write("--- start\n")
    device.start(*arguments)


def kills(count: int, ward: RunningGateway, tmp_path: Path) -> None:
    device = RunningDevice(tmp_path / "device", ward, "ward:W3")
    objects = device.folder / "objects"
    device.call("run", "--once")
    total = received_bytes(objects)
    whole, pictures_in_all = held_and_whole(device.folder)
    assert pictures_in_all == SLICES
    for number in range(count):
        shutil.rmtree(objects)
        start(device)
        at_random_moment(device, objects, total, number)
        device.kill()
        segments, _ = held_and_whole(device.folder)
        device.call("run", "--once")
        after, shown = held_and_whole(device.folder)
        assert after == whole >= segments and shown == SLICES
        refetched = sum(
            layer["refetched"]
            for one in device.studies()
            for series in one["series"]
            for layer in series["layers"].values()
        )
        assert refetched <= 64, "what was verified before the kill is not fetched again, beyond what was in flight"


def test_killed_at_random_moments_of_reception(ct: Made, ward: RunningGateway, tmp_path: Path) -> None:
    kills(3, ward, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_killed_at_100_random_moments_of_reception(ct: Made, ward: RunningGateway, tmp_path: Path) -> None:
    kills(100, ward, tmp_path)


def power_cuts(count: int, ward: RunningGateway, tmp_path: Path) -> None:
    need_mounts(tmp_path)
    card = LoopCard(tmp_path)
    with card:
        device = RunningDevice(card.path / "device", ward, "ward:W3")
        device._log = tmp_path / "device.log"
        objects = device.folder / "objects"
        device.call("run", "--once")
        total = received_bytes(objects)
        whole, _ = held_and_whole(device.folder)
    for number in range(count):
        with card:
            shutil.rmtree(objects)
            start(device)
            at_random_moment(device, objects, total, number)
            card.cut()
            device.kill()
        with card:
            # The heads of a moment ago may be lost with the rest, but what opens, opens as it was.
            segments, _ = held_and_whole(device.folder)
            device.call("run", "--once")
            after, shown = held_and_whole(device.folder)
            assert after == whole >= segments and shown == SLICES


def test_power_cut_at_random_moments_of_reception(ct: Made, ward: RunningGateway, tmp_path: Path) -> None:
    power_cuts(2, ward, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_power_cut_at_50_random_moments_of_reception(ct: Made, ward: RunningGateway, tmp_path: Path) -> None:
    power_cuts(50, ward, tmp_path)


def full_cards(count: int, ward: RunningGateway, tmp_path: Path) -> None:
    need_mounts(tmp_path)
    with RamCard(tmp_path / "ram", 64) as card:
        device = RunningDevice(card.path / "device", ward, "ward:W3")
        device._log = tmp_path / "device.log"
        objects = device.folder / "objects"
        device.call("run", "--once")
        total = received_bytes(objects)
        whole, _ = held_and_whole(device.folder)
        for number in range(count):
            shutil.rmtree(objects)
            start(device)
            at_random_moment(device, objects, total, number)
            filler = card.fill()
            wait_for(lambda: said(device), 60, "the device says that the disk is full, or has all of it")
            assert device.process is not None and device.process.poll() is None, "it goes on"
            device.stop()
            segments, _ = held_and_whole(device.folder)
            filler.unlink()
            device.call("run", "--once")
            after, shown = held_and_whole(device.folder)
            assert after == whole >= segments and shown == SLICES


def said(device: RunningDevice) -> bool:
    log = device.log.rpartition("--- start")[2]
    return any(word in log for word in ("disk", "complete", "evicted"))


@pytest.mark.long
def test_a_card_that_others_fill(ct: Made, ward: RunningGateway, tmp_path: Path) -> None:
    full_cards(1, ward, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_card_that_others_fill_20_times(ct: Made, ward: RunningGateway, tmp_path: Path) -> None:
    full_cards(20, ward, tmp_path)


@pytest.fixture
def display_on_card(ct: Made, ward: RunningGateway, tmp_path: Path) -> Iterator[tuple[RunningDisplay, RamCard]]:
    """A display whose objects lie on a card of their own."""
    need_mounts(tmp_path)
    with RamCard(tmp_path / "card", 64) as card:
        device = RunningDisplay(tmp_path / "display", ward, "ward:W3")
        device.start("--store", str(card.path))
        device.wait_line("complete")
        yield device, card
        device.stop()


def test_a_card_that_becomes_read_only_or_is_taken_away(
    display_on_card: tuple[RunningDisplay, RamCard], tmp_path: Path
) -> None:
    display, card = display_on_card
    assert display.board()["storage"] == ""
    card.remount("ro")
    assert display.board()["storage"] == "read-only"
    shot = display.screenshot(tmp_path / "read-only.png", "800x480")
    assert share_of(shot, AMBER) > 0.02
    card.remount("rw")
    assert display.board()["storage"] == ""
    card.__exit__()
    wait_for(lambda: display.board()["storage"] == "gone", 30, "it misses the card")
    shot = display.screenshot(tmp_path / "gone.png", "800x480")
    assert share_of(shot, AMBER) > 0.02
    assert display.process is not None and display.process.poll() is None
