"""The command line, the configuration, and what the process may load."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.config import Limits, load
from broker.errors import ConfigInvalid
from tests.support.broker_process import Process, free_port, wait_until
from tests.support.brokers import EmbeddedBroker

PROGRAM = str(Path(sys.executable).with_name("mpacs-broker"))
SAMPLE = Path(__file__).parents[2] / "configs" / "broker.yaml"
GOOD: dict[str, Any] = {"site": "ward-7", "access": "access.json", "listeners": {"tcp": {"port": 0}}}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=30, env={**os.environ, **environment}
    )


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "broker.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_the_sample_shows_the_defaults() -> None:
    settings = load(SAMPLE)
    assert settings.limits == Limits()
    shown = yaml.safe_load(SAMPLE.read_text())["limits"]
    assert set(shown) == set(Limits.__struct_fields__)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"site": "Ward 7"}, "site"),
        ({"site": 7}, "site"),
        ({"listeners": {}}, "listeners"),
        ({"listeners": {"tcp": {"host": "0.0.0.0", "port": 0}}}, "listeners.tcp.host"),
        ({"listeners": {"tcp": {"host": "::", "port": 0}}}, "listeners.tcp.host"),
        ({"listeners": {"tcp": {"host": "example.org", "port": 0}}}, "listeners.tcp.host"),
        ({"listeners": {"tcp": {"port": 65536}}}, "listeners.tcp.port"),
        ({"listeners": {"tcp": {"port": "1883"}}}, "listeners.tcp.port"),
        ({"listeners": {"ws": {"port": 0}}}, "listeners"),
        ({"listeners": {"tls": {"port": 0, "certificate": "a.crt", "key": "a.key"}}}, "listeners.tls.certificate"),
        ({"limits": {"connections": 0}}, "limits.connections"),
        ({"limits": {"packet_bytes": 4 * 1024 * 1024}}, "limits.pending_bytes"),
        ({"limits": {"retained_device": {"messages": 1}}}, "limits.retained_device"),
        ({"limits": {"surprise": 1}}, "limits"),
        ({"acess": "x"}, "acess"),
    ],
)
def test_a_bad_configuration_names_its_key(changes: dict[str, Any], key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=rf"^{key}: |`{key}`"):
        load(write(tmp_path, **changes))


def test_paths_are_relative_to_the_configuration(tmp_path: Path) -> None:
    assert load(write(tmp_path)).access == str(tmp_path / "access.json")


def test_a_plain_listener_beyond_loopback_is_wrong_usage(tmp_path: Path) -> None:
    path = write(tmp_path, listeners={"tcp": {"host": "0.0.0.0", "port": 0}})
    result = run("run", "--config", str(path))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "listeners.tcp.host" in result.stderr and "loopback" in result.stderr


@pytest.mark.parametrize("content", [b"site: [", b"- 1", b"\xff", b""])
def test_what_is_no_configuration_is_wrong_usage(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broker.yaml").write_bytes(content)
    result = run("run", "--config", str(tmp_path / "broker.yaml"))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_without_a_configuration_usage_is_wrong() -> None:
    assert run("run").returncode == 2


def test_a_taken_port_is_a_failure(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "first") as broker:
        result = run("run", "--config", str(write(tmp_path, listeners={"tcp": {"port": broker.port}})))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr and str(broker.port) in result.stderr


def test_a_certificate_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("nothing")
    listeners = {"tls": {"host": "127.0.0.1", "port": 0, "certificate": "a.pem", "key": "a.pem"}}
    result = run("run", "--config", str(write(tmp_path, listeners=listeners)))
    assert result.returncode == 2
    assert "listeners.tls" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_has_an_example(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 0
    assert "Example" in result.stdout and "mpacs-broker run --config" in result.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ready_then_ended_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    write(tmp_path, listeners={"tcp": {"port": port}})
    process = Process([PROGRAM, "run"], {"MPACS_STATE": str(tmp_path)})
    assert process.ready_line() == f"ready: tcp 127.0.0.1 port {port}\n"
    os.kill(process.pid, number)
    wait_until(lambda: not process.is_running(), 10, "the broker ends")
    assert process.stop() == 0
    assert "Traceback" not in process.log


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    command = [PROGRAM, "run", "--config", str(write(tmp_path)), "--json", "--die-with-parent"]
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({command!r}, stdout=subprocess.PIPE, text=True)\n"
        "print(child.pid, child.stdout.readline(), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = Process([sys.executable, "-c", program])
    pid, _, ready = parent.ready_line().partition(" ")
    assert json.loads(ready)["ready"] is True
    parent.kill()
    wait_until(lambda: not is_alive(int(pid)), 5, "the broker ends with its parent")
    parent.stop()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_the_process_cannot_decrypt() -> None:
    """A fresh interpreter that loaded all of the broker holds nothing that seals, and no other MQTT library."""
    program = (
        "import pkgutil, importlib, sys, broker\n"
        "for one in pkgutil.iter_modules(broker.__path__):\n"
        "    if one.name != '__main__': importlib.import_module(f'broker.{one.name}')\n"
        "print(*sys.modules)\n"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = set(output.split())
    assert "broker.server" in loaded and "wire.topics" in loaded
    assert {one for one in loaded if one.startswith("wire.")} <= {"wire.topics", "wire.errors", "wire.names"}
    others = {"paho", "cryptography", "cbor2", "gateway", "device_client", "pydicom", "amqtt.contrib", "psutil"}
    assert not others & {*loaded, *(one.split(".")[0] for one in loaded)}


def test_it_is_small(embedded_broker: EmbeddedBroker) -> None:
    assert embedded_broker.process.pss_bytes() < 45 * 1024 * 1024
