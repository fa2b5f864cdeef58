"""In real time: silence is on the screen within 30 s, a lease that ended locks it, ten displays cost as much as one."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.slow_link import SlowLink
from benchmarks.studies import HONG, long_ct
from tests.support.devices import PublishCounter, RunningDevice
from tests.support.displays import AMBER, GREEN, RED, RunningDisplay, share_of, wait_for
from tests.support.gateways import RunningGateway

WITHIN_S = 30
SLOW_BYTES_PER_S = 125_000


def shows(display: RunningDisplay, to: Path, color: tuple[int, int, int]) -> bool:
    return share_of(display.screenshot(to, "800x480"), color) > 0.02


def test_a_gateway_that_has_gone_is_on_the_screen_in_time(
    display: RunningDisplay, ward: RunningGateway, tmp_path: Path
) -> None:
    shot = tmp_path / "shot.png"
    wait_for(lambda: shows(display, shot, GREEN), 30, "it is current")
    # The core alone: the broker stays, so the connection does, and publishes the core's will.
    assert ward.process is not None
    ward.process.send_signal(signal.SIGSTOP)  # it cannot start the core again
    ward.kill("core", wait=False)
    wait_for(lambda: shows(display, shot, AMBER), WITHIN_S, "the screen says that it is not current")
    board = display.board()
    assert board["connected"], "though there is a connection"
    ward.process.send_signal(signal.SIGCONT)
    wait_for(lambda: shows(display, shot, GREEN), 60, "it is current again")


@pytest.mark.long
def test_a_gateway_that_falls_silent_is_on_the_screen_in_time(
    display: RunningDisplay, ward: RunningGateway, tmp_path: Path
) -> None:
    shot = tmp_path / "shot.png"
    wait_for(lambda: shows(display, shot, GREEN), 30, "it is current")
    assert ward.process is not None
    pids = [ward.process.pid, ward.wait_part("core")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: shows(display, shot, AMBER), WITHIN_S, "the screen says that it is not current")
        board = display.board()
        # No will says so, and no connection ends: only the head does not come.
        assert board["connected"] and board["gateway"] and board["recipients"][0]["overdue"]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    wait_for(lambda: shows(display, shot, GREEN), 60, "it is current again")


@pytest.mark.long
def test_weeks_without_a_network_lock_the_screen_and_it_opens_by_itself(tmp_path: Path) -> None:
    settings = {"delivery": {"settle_s": 1.0, "lease_h": 8 / 3600}}
    with RunningGateway(tmp_path / "gateway", settings=settings) as gateway:
        gateway.cli("profile", "add", "ward", "W3", "--attends", "*")
        gateway.store(long_ct(tmp_path, 4, HONG, "one").files)
        gateway.wait_studies(1)
        with RunningDisplay(tmp_path / "display", gateway, "ward:W3") as display:
            display.wait_line("complete")
            gateway.stop()
            wait_for(lambda: display.board()["store"] == "lease-ended", 40, "the lease has ended")
            shot = display.screenshot(tmp_path / "locked.png", "800x480")
            assert share_of(shot, RED) > 0.02
            gateway.start()
            wait_for(lambda: display.board()["store"] == "open", 60, "the lease is renewed")
            assert len(display.board()["studies"]) == 1


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("slow", "most"), [(0, 1.3), (1, 2.2)])
def test_ten_displays_of_one_ward_are_served_by_little_more_than_one(
    ward: RunningGateway, tmp_path: Path, slow: int, most: float
) -> None:
    """``most`` publishes for one of the display's: until all ten are complete, those on 1 Mbit/s too."""
    with ExitStack() as stack:
        link = stack.enter_context(SlowLink(ward.mqtt_port, SLOW_BYTES_PER_S))
        counter = PublishCounter(RunningDevice(tmp_path / "counter", ward, "ward:W3"), ward.mqtt_port)
        stack.callback(counter.close)
        displays = [
            RunningDisplay(
                tmp_path / f"display-{number}", ward, "ward:W3", through_port=link.port if number < slow else 0
            )
            for number in range(10)
        ]
        for display in displays:
            stack.enter_context(display)
        for display in displays:
            display.wait_line("connected")
        # Enough segments that those asked for one after the other, as the first pictures come, do not decide.
        ward.store(long_ct(tmp_path, 240, HONG, "for-ten").files)
        for display in reversed(displays):
            display.wait_line("complete", timeout_s=300)
        published = counter.published
        layers = [layer for series in displays[0].studies()[0]["series"] for layer in series["layers"].values()]
        segments = sum(layer["segments"] for layer in layers if layer["received"])
        link.bytes_per_s = 1e9  # let what is on its way end with the processes
    assert segments > 50
    assert published <= most * segments, f"{published} segments for ten, {segments} for one"
