"""Many devices of one doctor: one publish serves all; a slow one does not hold up the others; strangers get nothing."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.slow_link import SlowLink
from benchmarks.studies import Made
from tests.support.brokers import wait_until
from tests.support.devices import Listener, PublishCounter, RunningDevice
from tests.support.gateways import RunningGateway

_SLOW_BYTES_PER_S = 125_000
_JOINING_S = 20.0
"""What each of two slow links takes for the study."""


def _segments(device: RunningDevice) -> int:
    layers = [layer for series in device.studies()[0]["series"] for layer in series["layers"].values()]
    return sum(int(layer["segments"]) for layer in layers)


@pytest.mark.parametrize("number", [3, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
def test_many_devices_cost_little_more_than_one(gateway: RunningGateway, ct: Made, tmp_path: Path, number: int) -> None:
    with ExitStack() as stack:
        devices = [
            stack.enter_context(RunningDevice(tmp_path / f"device{one}", gateway, "doctor:D1")) for one in range(number)
        ]
        watcher = RunningDevice(tmp_path / "watcher", gateway, "doctor:D1")
        stranger = stack.enter_context(RunningDevice(tmp_path / "stranger", gateway, "doctor:D2"))
        for device in (*devices, stranger):
            device.wait_line("connected")
        counter = PublishCounter(watcher, gateway.mqtt_port)
        gateway.store(ct.files)
        for device in devices:
            device.wait_complete(len(ct.files))
        published = counter.published
        counter.close()
        segments = _segments(devices[0])
        assert segments >= 20
        assert published <= 1.3 * segments, f"{published} publishes for {segments} segments"
        assert stranger.studies() == []
        assert stranger.log.count("announced") == 0


def _everything_of(owner: RunningDevice) -> list[str]:
    """What a stranger who knows all references might subscribe to, exactly and by wildcards."""
    site, name, _, root = owner.credentials()
    above = f"mpacs/1/{site}"
    own = [f"{root}/{rest}" for rest in ("#", "head", "keys", "study/#", "study/+", "object/#", "object/+/+", "+")]
    devices = [f"{above}/device/{name}/{rest}" for rest in ("#", "request", "response", "status", "object/#")]
    wide = ["#", "+/#", "$SYS/#", "mpacs/#", f"{above}/#", f"{above}/doctor/#", f"{above}/+/+/head", f"{above}/enrol/#"]
    shared = [f"$share/all/{root}/#", f"{above}/device/+/status", f"{above}/device/+/request"]
    return [*own, *devices, *wide, *shared]


def test_a_stranger_hears_nothing_whatever_it_subscribes_to(gateway: RunningGateway, ct: Made, tmp_path: Path) -> None:
    owner = RunningDevice(tmp_path / "owner", gateway, "doctor:D1")
    watcher = RunningDevice(tmp_path / "watcher", gateway, "doctor:D1")
    stranger = RunningDevice(tmp_path / "stranger", gateway, "doctor:D2")
    listener = Listener(stranger, gateway.mqtt_port, _everything_of(owner))
    allowed = Listener(watcher, gateway.mqtt_port, [f"{owner.credentials()[3]}/#"])
    try:
        with owner:
            owner.wait_line("connected")
            gateway.store(ct.files)
            owner.wait_complete(len(ct.files))
        assert {topic.rpartition("/")[0].rpartition("/")[2] for topic in allowed.heard} & {"study"}, "the control"
        assert sum("/object/" in topic for topic in allowed.heard) >= 20, "the control"
        assert listener.is_connected, "the stranger listened to the end"
        assert listener.heard == []
        assert not any(listener.granted.values())
    finally:
        listener.close()
        allowed.close()


@pytest.mark.parametrize("part", [pytest.param(part, marks=pytest.mark.long) for part in (0.2, 0.5, 0.8)])
@pytest.mark.timeout(240)
def test_a_second_device_costs_only_what_it_missed(ct: Made, tmp_path: Path, part: float) -> None:
    """Both links are slow. What was published before it joined it has to have again; the rest it hears for nothing."""
    with ExitStack() as stack:
        # Large pictures: enough segments that the few in flight at the joining do not decide.
        fine = RunningGateway(tmp_path / "gateway", settings={"rendering": {"quality": 100}})
        gateway = stack.enter_context(fine)
        gateway.cli("profile", "add", "doctor", "D1", "--attends", "*")
        gateway.store(ct.files)
        gateway.wait_studies(1, timeout_s=120)
        total_bytes = gateway.studies()[0]["layers"]["display"]["bytes"]
        watcher = RunningDevice(tmp_path / "watcher", gateway, "doctor:D1")
        links = [stack.enter_context(SlowLink(gateway.mqtt_port, total_bytes / _JOINING_S)) for _ in range(2)]
        first, second = (
            RunningDevice(tmp_path / f"device{n}", gateway, "doctor:D1", through_port=link.port)
            for n, link in enumerate(links)
        )
        links[1].hold()
        counter = PublishCounter(watcher, gateway.mqtt_port)
        first.start()
        stack.callback(first.stop)
        # Its process takes a while to start: it connects when its part has come.
        wait_until(lambda: links[0].down_bytes > (part - 0.15) * total_bytes, 60, "some has come")
        second.start()
        stack.callback(second.stop)
        wait_until(lambda: links[0].down_bytes > part * total_bytes, 60, "the part has come")
        links[1].release()
        for device in (first, second):
            device.wait_complete(len(ct.files))
        segments = _segments(first)
        counter.close()
        assert counter.published <= (1.1 + part) * segments, f"{counter.published} publishes for {segments} segments"


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_slow_device_completes_beside_fast_ones(gateway: RunningGateway, ct: Made, tmp_path: Path) -> None:
    with ExitStack() as stack:
        link = stack.enter_context(SlowLink(gateway.mqtt_port, _SLOW_BYTES_PER_S))
        slow = stack.enter_context(RunningDevice(tmp_path / "slow", gateway, "doctor:D1", through_port=link.port))
        fast = [stack.enter_context(RunningDevice(tmp_path / f"fast{n}", gateway, "doctor:D1")) for n in range(4)]
        watcher = RunningDevice(tmp_path / "watcher", gateway, "doctor:D1")
        for device in (slow, *fast):
            device.wait_line("connected")
        counter = PublishCounter(watcher, gateway.mqtt_port)
        gateway.store(ct.files)
        for device in fast:
            device.wait_complete(len(ct.files))
        until_fast_are_done = counter.published
        segments = _segments(fast[0])
        # What is published for the slow one alone is what delays the others.
        assert until_fast_are_done <= 1.1 * segments, f"{until_fast_are_done} publishes for {segments} segments"
        assert slow.wait_complete(len(ct.files), timeout_s=300)["current"]
        counter.close()
