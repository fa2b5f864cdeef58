"""The display as a ward meets it: real processes, real pictures, on SDL's dummy driver."""

from pathlib import Path

import numpy
import pytest
from PIL import Image

from benchmarks.studies import HONG, LEE, Made
from device_client.display.board import read_board
from device_client.display.layout import arrange
from tests.support.devices import RunningDevice
from tests.support.displays import AMBER, GREEN, RED, RunningDisplay, share_of, wait_for
from tests.support.gateways import RunningGateway

SIZES = ("800x480", "1080x1920", "3840x2160")


def has_picture(image: Image.Image) -> bool:
    """Whether there are greys of a CT where the picture belongs."""
    box = arrange(*image.size).picture
    pixels = numpy.asarray(image.crop((box.x, box.y, box.x + box.w, box.y + box.h))).reshape(-1, 3)
    grey = pixels[(pixels[:, 0] == pixels[:, 1]) & (pixels[:, 1] == pixels[:, 2])][:, 0]
    return len(numpy.unique(grey[(grey > 40) & (grey < 220)])) > 50


def banner(image: Image.Image, color: tuple[int, int, int]) -> bool:
    box = arrange(*image.size).banner
    return share_of(image, color, (box.x, box.y, box.x + box.w, box.y + box.h)) > 0.5


def test_the_ward_on_screens_of_any_size_then_stale_and_hidden(
    display: RunningDisplay, ward: RunningGateway, studies: list[Made], tmp_path: Path
) -> None:
    beds = [(one["CurrentPatientLocation"], one["PatientNamePhonetic"]) for one in display.board()["studies"]]
    assert sorted(beds) == [("W3^301^2", "홍^*동"), ("W3^302^1", "이^*희")]
    board = read_board(display.board())
    assert [(one.name, one.bed, one.urgent) for one in board.studies] == [
        ("홍*동", "301-2", True),
        ("이*희", "302-1", False),
    ]
    assert board.blank_after_s == 900, "the site's limit came with the studies"
    for size in SIZES:
        shot = display.screenshot(tmp_path / f"{size}.png", size)
        assert f"{shot.width}x{shot.height}" == size
        assert banner(shot, GREEN) and has_picture(shot)
    ward.stop()
    wait_for(lambda: not display.board()["connected"], 30, "the receiver notices that the broker has gone")
    stale = display.screenshot(tmp_path / "stale.png", "800x480")
    assert banner(stale, AMBER) and has_picture(stale)
    hidden = display.screenshot(tmp_path / "hidden.png", "800x480", "--blank-after", "0.1")
    wait_for(
        lambda: banner(display.screenshot(tmp_path / "hidden.png", "800x480", "--blank-after", "0.1"), RED),
        30,
        "pictures are hidden after six seconds",
    )
    hidden = display.screenshot(tmp_path / "hidden.png", "800x480", "--blank-after", "0.1")
    assert not has_picture(hidden)
    ward.start()
    wait_for(lambda: display.board()["connected"] and not display.board()["recipients"][0]["overdue"], 60, "it is back")
    assert banner(display.screenshot(tmp_path / "back.png", "800x480"), GREEN)
    # A discharge: who left is off the board with the head that says so, before anything of it is deleted.
    ward.cli("admit", HONG.identifier, "--ward", "W3", "--bed", "301-2")
    ward.cli("profile", "add", "ward", "W3", "--attends", LEE.identifier)
    assert len(display.board()["studies"]) == 2
    ward.cli("discharge", HONG.identifier)
    is_deleted = False

    def has_left() -> bool:
        nonlocal is_deleted
        is_deleted = "gone" in display.log
        return [one["PatientNamePhonetic"] for one in display.board()["studies"]] == ["이^*희"]

    wait_for(has_left, 30, "the discharge")
    assert not is_deleted
    display.wait_line("gone")


@pytest.mark.long
def test_without_a_process_and_beside_one_that_receives(
    ward: RunningGateway, studies: list[Made], tmp_path: Path
) -> None:
    device = RunningDevice(tmp_path / "device", ward, "ward:W3")
    device.call("run", "--once")
    display = RunningDisplay.__new__(RunningDisplay)
    display.__dict__.update(device.__dict__)
    alone = display.screenshot(tmp_path / "alone.png", "800x480")
    assert banner(alone, AMBER) and has_picture(alone), "nobody listens, so it cannot be called current"
    with device:
        device.wait_line("connected")
        wait_for(
            lambda: display.board()["connected"] and not display.board()["recipients"][0]["overdue"], 30, "current"
        )
        assert banner(display.screenshot(tmp_path / "beside.png", "800x480"), GREEN)


@pytest.mark.parametrize("size", ["100x100", "800", "axb", "9000x9000"])
def test_a_size_that_is_none_is_wrong_usage(size: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from device_client.cli import main

    done = CliRunner().invoke(main, ["display", "--screenshot", str(tmp_path / "x.png"), "--size", size])
    assert done.exit_code == 2 and "pixels" in done.output
