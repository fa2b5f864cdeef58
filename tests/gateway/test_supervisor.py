"""The supervisor with small children of every temper, and a real gateway whose ports are taken."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.supervisor import Child, Patience, StartFailed, Supervisor
from tests.support.broker_process import free_port, wait_until
from tests.support.gateways import RunningGateway

READY = "print('{\"ready\": true}', flush=True)\n"
WAIT = "import signal; signal.sigwait([signal.SIGTERM])\n"
QUICK = Patience(ready_s=1.0, stop_s=1.0, first_tries=3, again_s=(0.05, 0.4))


def child(name: str, program: str) -> Child:
    return Child(name, (sys.executable, "-S", "-c", program))


async def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


def test_starts_in_order_and_ends_in_the_reverse(tmp_path: Path) -> None:
    note = tmp_path / "note"
    said = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    program = (
        said
        + f"open({str(note)!r}, 'a').write('+{{name}}')\n"
        + READY
        + "signal.sigwait([signal.SIGTERM])\n"
        + f"open({str(note)!r}, 'a').write('-{{name}}')\n"
    )
    children = [child(name, program.replace("{name}", name)) for name in "abc"]

    async def scenario() -> None:
        supervisor, ready = Supervisor(children, QUICK), asyncio.Event()
        task = asyncio.create_task(supervisor.run(ready))
        await asyncio.wait_for(ready.wait(), 10)
        supervisor.stop()
        await asyncio.wait_for(task, 10)

    asyncio.run(scenario())
    assert note.read_text() == "+a+b+c-c-b-a"


def test_a_child_that_falls_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    falls = child("falls", READY + f"open({str(starts)!r}, 'a').write('x')\n")

    async def scenario() -> float:
        supervisor, ready = Supervisor([falls], QUICK), asyncio.Event()
        task = asyncio.create_task(supervisor.run(ready))
        await asyncio.wait_for(ready.wait(), 10)
        began = time.monotonic()
        await until(lambda: falls.restarts >= 5)
        supervisor.stop()
        await asyncio.wait_for(task, 10)
        return time.monotonic() - began

    took_s = asyncio.run(scenario())
    assert took_s > 0.05 + 0.1 + 0.2 + 0.4 - 0.05  # no spin
    assert len(starts.read_text()) <= 7


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("dies", "raise SystemExit(1)"),
        ("hangs", "import time\ntime.sleep(60)"),
        ("babbles", "print('hello', flush=True)\nimport time\ntime.sleep(60)"),
    ],
)
def test_a_child_that_never_gets_ready_ends_the_start(name: str, program: str) -> None:
    before = child("before", READY + "import time\ntime.sleep(60)")
    bad = child(name, program)

    async def scenario() -> None:
        await asyncio.wait_for(Supervisor([before, bad], QUICK).run(asyncio.Event()), 20)

    with pytest.raises(StartFailed, match=name):
        asyncio.run(scenario())
    assert bad.restarts == QUICK.first_tries
    assert before.process is not None and before.process.returncode is not None


def test_a_program_that_is_missing_ends_the_start() -> None:
    missing = Child("missing", ("/nonexistent/program",))
    with pytest.raises(StartFailed, match="missing"):
        asyncio.run(Supervisor([missing], QUICK).run(asyncio.Event()))


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    stubborn = child(
        "stubborn", f"import signal\nsignal.signal(15, signal.SIG_IGN)\n{READY}import time\ntime.sleep(60)"
    )

    async def scenario() -> float:
        supervisor, ready = Supervisor([stubborn], QUICK), asyncio.Event()
        task = asyncio.create_task(supervisor.run(ready))
        await asyncio.wait_for(ready.wait(), 10)
        began = time.monotonic()
        supervisor.stop()
        await asyncio.wait_for(task, 10)
        return time.monotonic() - began

    assert asyncio.run(scenario()) < 5
    assert stubborn.process is not None and stubborn.process.returncode == -9


def test_stop_during_the_start_leaves_nothing() -> None:
    hangs = child("hangs", "import time\ntime.sleep(60)")

    async def scenario() -> None:
        supervisor = Supervisor([hangs], Patience(ready_s=30, stop_s=1))
        task = asyncio.create_task(supervisor.run(asyncio.Event()))
        await until(lambda: hangs.process is not None)
        supervisor.stop()
        await asyncio.wait_for(task, 10)

    asyncio.run(scenario())
    assert hangs.process is not None and hangs.process.returncode is not None


# ── the real thing ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("which", ["mqtt", "dicom"])
def test_a_taken_port_is_named_and_ends_the_start(tmp_path: Path, which: str) -> None:
    port = free_port()
    ports = {"mqtt": {"mqtt_port": port}, "dicom": {"dicom_port": port}}[which]
    gateway = RunningGateway(tmp_path / "state", **ports)  # type: ignore[arg-type]  # one of two ports
    gateway.init()
    with socket.create_server(("127.0.0.1", port)):
        process = gateway.launch()
        assert process.wait(40) == 1
        gateway.stop()
    assert str(port) in gateway.log, gateway.log
    assert "does not start" in gateway.log
    assert "Traceback" not in gateway.log, gateway.log


def test_a_second_gateway_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with RunningGateway(tmp_path / "state") as gateway:
        second = gateway.run_cli("run")
        assert second.returncode == 1
        assert "runs with this state folder already" in second.stderr
        gateway.wait_healthy()


def test_a_long_path_and_a_stale_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 90) / ("b" * 90)
    deep.mkdir(parents=True)
    gateway = RunningGateway(deep / "state")
    gateway.init()
    with socket.socket(socket.AF_UNIX) as stale:
        folder = os.open(gateway.folder, os.O_RDONLY)
        stale.bind(f"/proc/self/fd/{folder}/core.sock")
        os.close(folder)
    gateway.start()
    try:
        gateway.wait_healthy()
        core = gateway.kill("core")
        gateway.wait_part("core", not_pid=core)
        gateway.wait_healthy()
        wait_until(lambda: gateway.run_cli("status").returncode == 0, 10, "status over the long path")
    finally:
        assert gateway.stop() == 0
