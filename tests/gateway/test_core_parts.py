"""Parts of the core by themselves: lanes, health, presence; and a core whose broker comes late."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from gateway.control import Client
from gateway.delivery.health import Health, describe
from gateway.delivery.lanes import Lanes
from gateway.delivery.link import LinkDown
from gateway.delivery.presence import Presence
from gateway.management.broker_config import write_config
from gateway.management.census import People
from gateway.management.index.people import Device
from tests.support.broker_process import Process, wait_until
from tests.support.gateways import RunningGateway, program
from wire.messages import OFFLINE, ONLINE


async def turns(condition: Callable[[], bool]) -> None:
    """Let the loop turn until ``condition`` holds, which takes no time here."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("not after ten thousand turns of the loop")


# ── lanes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_sender_in_order_and_none_behind_another() -> None:
    async def scenario() -> list[tuple[str, bytes]]:
        done: list[tuple[str, bytes]] = []
        gate = asyncio.Event()

        async def handle(sender: str, _: str, payload: bytes) -> None:
            if sender == "slow":
                await gate.wait()
            await asyncio.sleep(0)
            done.append((sender, payload))

        lanes = Lanes(handle, lambda error: None)
        for number in range(5):
            for sender in ("slow", "quick"):
                assert lanes.put(sender, "t", b"%d" % number)
        await turns(lambda: len(done) == 5)
        assert [sender for sender, _ in done] == ["quick"] * 5
        assert lanes.waiting == 4  # the first of the slow one is being handled
        gate.set()
        await turns(lambda: len(done) == 10 and lanes.waiting == 0)
        return done

    done = asyncio.run(scenario())
    assert [payload for sender, payload in done if sender == "slow"] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_flood_is_bounded_in_number_and_in_bytes() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        handled: list[bytes] = []

        async def handle(_sender: str, _topic: str, payload: bytes) -> None:
            await gate.wait()
            handled.append(payload)

        lanes = Lanes(handle, lambda error: None, for_each=4, total_bytes=1000)
        taken = [lanes.put("flooder", "t", bytes(10)) for _ in range(1000)]
        assert taken.count(True) == 4 and lanes.dropped == 996
        assert lanes.put("other", "t", bytes(10))
        assert not lanes.put("third", "t", bytes(1000))
        gate.set()
        await turns(lambda: len(handled) == 5)
        await turns(lambda: lanes.put("fourth", "t", bytes(999)))
        await turns(lambda: len(handled) == 6)
        # All is free again.
        gate.clear()
        assert lanes.put("third", "t", bytes(1000))
        assert not lanes.put("third", "t", b"x")
        await lanes.stop()
        assert lanes.waiting == 0 and lanes.put("third", "t", bytes(1000))
        await lanes.stop()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_what_a_handler_raises_ends_neither_lane_nor_core() -> None:
    async def scenario() -> None:
        errors: list[BaseException] = []
        handled: list[bytes] = []

        async def handle(_sender: str, _topic: str, payload: bytes) -> None:
            if payload == b"bad":
                raise KeyError("x")
            handled.append(payload)

        lanes = Lanes(handle, errors.append)
        for payload in (b"bad", b"good", b"bad", b"good"):
            lanes.put("one", "t", payload)
        await turns(lambda: len(handled) == 2)
        assert len(errors) == 2

    asyncio.run(asyncio.wait_for(scenario(), 10))


# ── health ────────────────────────────────────────────────────────────────────────────────────────────────────────

SECRET = "Hong^Gildong"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", f"/x/{SECRET}"),
        OSError(SECRET),
        OperationalError(f"insert {SECRET}", {}, Exception(SECRET)),
        IntegrityError(SECRET, {}, Exception(SECRET)),
        ValueError(SECRET),
        KeyError(SECRET),
    ],
)
def test_no_error_text_reaches_log_or_status(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    try:
        raise error
    except Exception as caught:
        health.trouble("part", caught)
        health.trouble("part", caught)
    assert SECRET not in caplog.text and SECRET not in json.dumps(health.troubles) and SECRET not in describe(error)
    assert len(caplog.records) == 1  # the same trouble is said once
    health.well("part")
    assert health.troubles == {}


def test_keep_going_waits_longer_each_time_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    async def scenario() -> None:
        health = Health()
        outcomes: list[Any] = [OSError(28, "No space left on device")] * 8 + [LinkDown(), None, ValueError("x"), None]
        done = asyncio.Event()

        async def step() -> None:
            if not outcomes:
                done.set()
                await asyncio.Event().wait()
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome

        task = asyncio.create_task(health.keep_going("part", step))
        await done.wait()
        assert health.troubles == {}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(scenario())
    assert slept == [1, 2, 4, 8, 10, 10, 10, 10, 1, 1]


# ── presence ──────────────────────────────────────────────────────────────────────────────────────────────────────


def device(name: str, recipient: str) -> Device:
    return Device(name, recipient, "", b"", b"", "", b"", 0, 0, None)


def test_only_known_devices_count_and_strangers_are_bounded() -> None:
    presence = Presence()
    for number in range(70_000):
        presence.status(f"stranger{number}", ONLINE)
    presence.clear()
    presence.status("a", ONLINE)
    assert presence.online() == set()
    known = {name: device(name, "r") for name in "abc"}
    presence.follow(People((1, 1), (), known))
    assert presence.online() == {"a"} and presence.devices_of("r") == {"a"}  # known a little later than it came
    presence.status("b", ONLINE)
    presence.saw("c")
    assert presence.devices_of("r") == set("abc") and presence.devices_of("nobody") == set()
    assert not presence.status("b", OFFLINE) and not presence.status("c", b"\xff rubbish")
    assert presence.online() == {"a"}
    presence.follow(People((2, 1), (), {"b": known["b"]}))
    assert presence.online() == set()


# ── a broker that comes late ──────────────────────────────────────────────────────────────────────────────────────


def test_a_core_waits_for_its_broker_and_greets_it(tmp_path: Path) -> None:
    from gateway import config

    gateway = RunningGateway(tmp_path / "state")
    gateway.init()
    loaded = config.load(gateway.folder)
    path = write_config(gateway.folder / "broker", loaded, gateway.folder / "tls")
    command = [sys.executable, "-P", "-m", "gateway.app_process", "core", str(os.getpid()), str(gateway.folder)]
    core = Process(command)
    broker: Process | None = None
    try:
        client = Client(gateway.folder / "core.sock")
        wait_until(lambda: client.status() is not None, 15, "the core answers")
        status = client.status()
        assert status is not None and status["broker"] is False
        broker = Process([program("mpacs-broker"), "run", "--json", "--config", str(path)])
        broker.ready_line()
        wait_until(lambda: bool((now := client.status()) and now["broker"]), 15, "the core finds its broker")
        client.close()
        assert json.loads(core.ready_line())["ready"]
    finally:
        if broker is not None:
            broker.stop()
        assert core.stop() == 0
    assert "Traceback" not in core.log, core.log
