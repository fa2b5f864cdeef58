"""Real senders and receivers over simulated links: what is published, when all is there, and what never happens.

The simulation itself fails on a stall (nothing left to happen while work remains), on a busy loop, on a wake-up in the
past, on more in flight than the contract allows, and on a segment that is kept twice.
"""

import time
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.simulation import Clock, Device, Gateway, Link, Object, run
from wire.bits import Bitmap
from wire.pace import START_CREDIT
from wire.sender import Sender

MBIT = 125_000.0


def _alone(segments: int, link: Link, limit_s: float = 3600.0) -> Device:
    device = Device(Gateway(Clock()), Object.make(segments), "device", link)
    device.connect()
    run(device.gateway, [device], limit_s)
    return device


def _together(devices: int, segments: int = 300, bytes_per_s: float = 100e6) -> tuple[Gateway, list[Device]]:
    gateway = Gateway(Clock(), bytes_per_s)
    obj = Object.make(segments)
    return gateway, [
        Device(gateway, obj, f"device {n}", Link(delay_s=0.005 + 0.003 * n), seed=n) for n in range(devices)
    ]


@pytest.mark.parametrize("segments", [1, 2, 31, 300, 1024, 1025])
def test_one_device_on_a_good_link(segments: int) -> None:
    """Each segment once, and no time lost: within half a second of what the link takes."""
    device = _alone(segments, Link())
    assert device.gateway.segments_published == segments
    assert device.asked_again == 0
    assert device.done_at is not None
    assert device.done_at < segments * 65_600 / 100e6 + 0.5


def test_three_thousand_segments_cost_no_more_each_than_three_hundred() -> None:
    """Three pages; the time of the computer, not of the simulation: linear, with room for a noisy machine."""
    spent = {}
    for segments in (3_000, 30_000):
        start = time.process_time()
        device = _alone(segments, Link())
        spent[segments] = time.process_time() - start
        assert device.gateway.segments_published == segments
        assert sum(part == "page" for _, part, _ in device.gateway.published) == -(-segments // 1024)
    assert spent[30_000] < 30 * spent[3_000]


def test_a_lossy_link() -> None:
    """One in ten lost: each loss is one more publish, and noticed long before the whole repair time."""
    device = _alone(300, Link(loss=0.1))
    assert device.gateway.segments_published <= 300 * 1.2
    assert device.receiver.refetched == 0
    assert device.done_at is not None
    assert device.done_at < 4


def test_a_very_lossy_link_that_loses_order() -> None:
    """A third lost, and arrivals out of order by up to 300 ms."""
    device = _alone(300, Link(loss=0.33, jitter_s=0.3))
    assert device.gateway.segments_published < 600
    assert device.receiver.refetched < 30


def test_a_long_way() -> None:
    """A round trip of 3 s, longer than the least repair time: a few are asked for twice, then the pace is known."""
    device = _alone(300, Link(delay_s=1.5), 40)
    assert device.receiver.refetched <= 4
    assert device.gateway.segments_published <= 304


@pytest.mark.parametrize(("queue", "longest_s"), [(8, 180), (32, 170), (128, 170)])
def test_one_slow_device_alone(queue: int, longest_s: float) -> None:
    """1 Mbit/s takes 157 s. The shorter the queue, the more falls out of it before the credit is low enough."""
    device = _alone(300, Link(bytes_per_s=MBIT, queue=queue), longest_s)
    assert device.receiver.refetched == 0
    assert device.gateway.segments_published < 300 * 1.5


def test_a_link_slower_than_the_repair_time() -> None:
    """64 kbit/s: a segment takes 8 s, all of them 492. Few are asked for in vain at first; the link is not flooded."""
    device = _alone(60, Link(bytes_per_s=8_000, queue=64), 600)
    assert device.receiver.refetched <= 8


def test_ten_devices_at_once() -> None:
    """They come within a tenth of a second, and are served together."""
    gateway, devices = _together(10)
    for number, device in enumerate(devices):
        device.online = True
        gateway.clock.at(number * 0.01, device.connect)
    run(gateway, devices, 5)
    assert gateway.segments_published <= 1.3 * 300
    assert sum(device.receiver.refetched for device in devices) == 0


def test_a_device_that_asks_late_is_waited_for_once() -> None:
    sender = Sender(hold_s=0.15)

    def begins_at_once(number: int, now: float, slow_after_s: float) -> bool:
        def ask(device: str, at: float) -> None:
            assert sender.ask(at, f"{device}/1", "root", f"object {number}", (), range(4), False, {"fast", "slow"})

        ask("fast", now)
        begun = sender.next(now) is not None
        published = int(begun)
        while sender.next(now + 0.16) is not None:
            published += 1
        assert published == 4, "at the latest after the hold"
        ask("slow", now + slow_after_s)
        while sender.next(now + 5.0) is not None:
            pass  # what it asked for too late is published for it
        return begun

    assert not begins_at_once(0, 0.0, 2.0)
    assert begins_at_once(1, 10.0, 0.1), "it was late, and is not waited for"
    assert not begins_at_once(2, 20.0, 2.0), "it was in time again"
    assert begins_at_once(3, 30.0, 2.0)


def test_what_is_published_while_an_ask_is_judged_is_on_its_way_to_whoever_asked() -> None:
    """A gateway under load judges one ask after the other; all of them came, and their askers listen."""
    sender = Sender()

    def ask(device: str, now: float, came: float) -> int:
        assert sender.ask(now, f"{device}/1", "root", "object", (), range(8), False, {"first", "second", "third"}, came)
        published = 0
        while sender.next(now + 0.2) is not None:
            published += 1
        return published

    assert ask("first", 1.0, 0.9) == 8
    assert ask("second", 1.5, 1.1) == 0, "it came before the first segment was published"
    assert ask("third", 1.6, 1.3) == 8, "it came later"


def test_a_second_device_that_comes_at_half() -> None:
    """It gets the second half with the first device, and the first half for itself."""
    gateway, (first, second) = _together(2, bytes_per_s=20e6)
    first.connect()
    gateway.clock.run(lambda: first.receiver.have.count >= 150, 60)
    second.connect()
    run(gateway, [first, second], 10)
    assert gateway.segments_published <= 1.6 * 300
    assert first.receiver.refetched <= 150


@pytest.mark.parametrize("bytes_per_s", [125_000, 500_000, 2e6])
@pytest.mark.parametrize("segments", [86, 300])
def test_a_second_device_that_comes_at_half_over_slow_links(bytes_per_s: float, segments: int) -> None:
    """The gateway is fast, both links are slow: little is under way that the second has to have again."""
    gateway, (first, second) = _together(2, segments)
    for device in (first, second):
        device.link.bytes_per_s = bytes_per_s
    first.connect()
    gateway.clock.run(lambda: first.receiver.have.count >= segments / 2, 600)
    second.connect()
    run(gateway, [first, second], 600)
    assert gateway.segments_published <= 1.6 * segments
    # Only what is asked for before the link is known.
    assert sum(device.asked_again for device in (first, second)) <= 2 * START_CREDIT


@pytest.mark.parametrize("bytes_per_s", [100e6, 20e6, 2.5e6])
@pytest.mark.parametrize("queue", [8, 32, 128, 1000])
def test_a_slow_device_among_fast_ones(bytes_per_s: float, queue: int) -> None:
    """1 Mbit/s beside three fast ones: they do not feel it, and it gets all without a segment twice."""
    done = []
    for slow in (False, True):
        gateway, devices = _together(3, bytes_per_s=bytes_per_s)
        fast = list(devices)
        if slow:
            link = Link(bytes_per_s=MBIT, delay_s=0.05, queue=queue)
            devices.append(Device(gateway, devices[0].obj, "slow", link, seed=9))
        for device in devices:
            device.online = True
        for device in devices:
            device.connect()
        run(gateway, devices, 400)
        done.append(max(device.done_at or 0.0 for device in fast))
        # What falls out of a short queue is published again for the slow one, some of it while the others receive.
        assert sum(device.receiver.refetched for device in fast) <= (5 if slow else 0)
    # Askers are gathered for at most 0.15 s when a flow begins, and the slow one's first ask comes late.
    assert done[1] <= done[0] * 1.1 + 0.05
    slow_device = devices[-1]
    assert slow_device.done_at is not None
    # 300 segments at 1 Mbit/s take 157 s.
    assert slow_device.done_at < 200
    assert slow_device.receiver.refetched <= 5


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_cut_and_a_restart(part: float) -> None:
    """The device comes back with its bitmap, as another process would: nothing that it kept is published again."""
    obj, gateway = Object.make(300), Gateway(Clock(), 20e6)
    first = Device(gateway, obj, "device")
    first.connect()
    gateway.clock.run(lambda: first.receiver.have.count >= 300 * part, 60)
    first.disconnect()
    kept, before = set(first.kept), dict(gateway.published)
    second = Device(gateway, obj, "device", have=Bitmap(300, first.receiver.have.to_bytes()))
    second.connection = first.connection
    gateway.clock.at(gateway.clock.now + 3, second.connect)
    run(gateway, [second], 60)
    assert set(second.kept) | kept == set(range(300))
    for index in kept:
        assert gateway.published["object", "segment", index] == before["object", "segment", index]


def test_a_cut_that_nobody_noticed() -> None:
    """The same receiver on a new connection, while the gateway still believes in the old one."""
    device = Device(Gateway(Clock(), 20e6), Object.make(300), "device")
    device.connect()
    device.gateway.clock.run(lambda: device.receiver.have.count >= 150, 60)
    kept = set(device.kept)
    before = dict(device.gateway.published)
    device.disconnect(noticed=False)
    device.gateway.clock.at(device.gateway.clock.now + 1, device.connect)
    run(device.gateway, [device], 60)
    # What was under way when the link was cut is published again, at most the credit.
    again = sum(count - 1 for (_, part, _), count in device.gateway.published.items() if part == "segment")
    assert again <= 64
    for index in kept:
        assert device.gateway.published["object", "segment", index] == before["object", "segment", index]


@pytest.mark.parametrize(("away_s", "longest_s"), [(0.0, 6), (5.0, 12), (20.0, 40)])
def test_the_gateway_restarts(away_s: float, longest_s: float) -> None:
    """Its sender knows nothing any more; devices notice by themselves, and ask again for what did not come."""
    gateway, devices = _together(3, bytes_per_s=20e6)
    for device in devices:
        device.connect()
    gateway.clock.run(lambda: devices[0].receiver.have.count >= 150, 60)
    gateway.online = away_s == 0
    gateway.cut()

    def back() -> None:
        gateway.online = True
        gateway.pump()

    gateway.clock.at(gateway.clock.now + away_s, back)
    run(gateway, devices, gateway.clock.now + longest_s)
    assert gateway.segments_published <= 1.5 * 300


@pytest.mark.parametrize("noticed", [True, False])
def test_a_device_that_vanishes(noticed: bool) -> None:
    """What it had asked for ends after its credit, and the other one is served as before."""
    gateway, (stays, goes) = _together(2, bytes_per_s=20e6)
    for device in (stays, goes):
        device.connect()
    gateway.clock.run(lambda: goes.receiver.have.count >= 100, 60)
    goes.disconnect(noticed)
    run(gateway, [stays], 60)
    assert gateway.segments_published <= 300 + 64
    assert stays.receiver.refetched == 0


def test_the_last_device_vanishes_and_publishing_ends() -> None:
    """Nothing is published into the void for longer than it takes to be told."""
    device = Device(Gateway(Clock(), 20e6), Object.make(300), "device")
    device.connect()
    device.gateway.clock.run(lambda: device.receiver.have.count >= 100, 60)
    device.disconnect()
    assert device.gateway.sender.next(device.gateway.clock.now) is None
    assert device.gateway.sender.wake_at(device.gateway.clock.now) is None


def test_what_is_on_the_screen_comes_first() -> None:
    """The order that the caller gives is the order of asking."""
    from wire.pace import Pace
    from wire.receiver import Receiver

    obj = Object.make(300)
    receiver = Receiver(300, obj.manifest.digest(), Pace())
    ask = receiver.plan(0.0, 8, order=[200, 201, 7, 999, -1, 200, *range(50, 60)])
    assert ask is not None
    assert ask.segments == (7, 50, 51, 52, 53, 54, 200, 201)
    assert ask.pages == (0,)
    assert receiver.plan(0.0, 8, order=[200]) is None


@given(st.integers(0, 2**32))
def test_any_ward(seed: int) -> None:
    """Devices on links of all kinds that come, go and come back, a gateway that falls: all are served in the end."""
    random = Random(seed)
    gateway = Gateway(Clock(), random.choice([2e6, 20e6, 100e6]))
    obj = Object.make(random.choice([1, 5, 60, 200]))
    devices = []
    for number in range(random.randint(1, 5)):
        link = Link(
            bytes_per_s=random.choice([MBIT, 1e6, 1e8]),
            delay_s=random.choice([0.002, 0.05, 0.8]),
            jitter_s=random.choice([0.0, 0.0, 0.4]),
            loss=random.choice([0.0, 0.0, 0.05, 0.25]),
            queue=random.choice([4, 32, 1000]),
        )
        device = Device(gateway, obj, f"device {number}", link, seed=seed + number)
        devices.append(device)
        gateway.clock.at(random.choice([0.0, random.random(), 10 * random.random()]), device.connect)
        if random.random() < 0.5:
            gone = 10 + 20 * random.random()
            gateway.clock.at(gone, partial(device.disconnect, random.random() < 0.5))
            gateway.clock.at(gone + 5 * random.random(), device.connect)
    if random.random() < 0.5:
        gateway.clock.at(20 * random.random(), gateway.cut)
    run(gateway, devices, 3600)
    asked_for = len(devices) * len(obj.segments)
    assert gateway.segments_published <= 4 * asked_for + 64 * len(devices)
