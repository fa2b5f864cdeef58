"""The command line as users and scripts meet it: exit codes, reasons, JSON, odd input."""

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.support.gateways import RunningGateway, program

COMMANDS = [
    ["init"],
    ["run"],
    ["status"],
    ["profile"],
    ["profile", "add"],
    ["profile", "list"],
    ["profile", "remove"],
    ["profile", "attend"],
    ["profile", "leave"],
    ["profile", "import"],
    ["release"],
    ["keys"],
    ["keys", "show"],
    ["keys", "renew"],
    ["audit"],
    ["audit", "show"],
    ["audit", "export"],
    ["audit", "verify"],
    ["audit", "prune"],
    ["invite"],
    ["devices"],
    ["revoke"],
    ["studies"],
    ["admit"],
    ["transfer"],
    ["discharge"],
    ["census"],
    ["census", "list"],
    ["census", "history"],
    ["census", "import"],
]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def shell(*arguments: str, **environment: str) -> Ended:
    """The installed program, as a process."""
    inherited = {name: value for name, value in os.environ.items() if name != "MPACS_STATE"}
    done = subprocess.run(
        [program("mpacs-gateway"), *arguments], capture_output=True, timeout=30, env={**inherited, **environment}
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def cli(*arguments: str, **environment: str) -> Ended:
    """The same commands in this process, which is much quicker."""
    runner = CliRunner(env={"MPACS_STATE": None, **environment})
    result = runner.invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def refused(done: Ended, code: int = 1) -> str:
    """The reason, of a command that must have been refused in one line or, for wrong usage, with the usage."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert done.stderr.startswith("mpacs-gateway: ")
    return done.stderr


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = str(tmp_path_factory.mktemp("cli") / "state")
    assert cli("init", "--site", "clinic", "--state", folder).returncode == 0
    yield folder


# ── help and usage ────────────────────────────────────────────────────────────────────────────────────────────────


def _all_commands(group: click.Group, prefix: Sequence[str] = ()) -> Iterator[tuple[list[str], click.Command]]:
    for name, command in group.commands.items():
        yield [*prefix, name], command
        if isinstance(command, click.Group):
            yield from _all_commands(command, [*prefix, name])


def test_every_command_has_help_with_an_example() -> None:
    found = {tuple(path): command for path, command in _all_commands(main)}
    assert set(found) >= {tuple(path) for path in COMMANDS}
    for path, command in found.items():
        text = command.get_help(click.Context(command, info_name=path[-1]))
        assert "Example:" in text and f"mpacs-gateway {' '.join(path)}" in text, path
        if not isinstance(command, click.Group):
            assert "--state" in text, path
    for words in ("status", "profile list", "profile add", "invite", "devices", "studies"):
        command = found[tuple(words.split())]
        assert "--json" in command.get_help(click.Context(command)), words


def test_help_is_quick_and_loads_little() -> None:
    began = time.monotonic()
    assert shell("--help").returncode == 0
    took_s = time.monotonic() - began
    assert took_s < 2
    script = "import sys, gateway.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sqlalchemy", "pydicom", "pynetdicom", "numpy", "PIL", "paho", "rich", "cryptography"} & set(loaded)


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["profile"], ["profile", "add", "nurse", "X"], ["invite"], ["invite", "W3"], ["invite", "nurse:X"],
     ["invite", "ward:"], ["init", "--dicom-port", "70000"], ["init", "--mqtt-port", "no"], ["status", "--nonsense"]],
)  # fmt: skip
def test_wrong_usage_is_2(state: str, arguments: list[str]) -> None:
    refused(cli("--state", state, *arguments), 2)


# ── where the state is ────────────────────────────────────────────────────────────────────────────────────────────


def test_state_before_after_and_by_environment(state: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    for arguments in (
        ["--state", state, "profile", "list", "--json"],
        ["profile", "list", "--json", "--state", state],
        ["--state", other, "profile", "list", "--json", "--state", state],
    ):
        assert cli(*arguments).returncode == 0, arguments
        assert cli(*arguments, MPACS_STATE=other).returncode == 0, arguments
    assert cli("profile", "list", MPACS_STATE=state).returncode == 0
    assert other in refused(cli("profile", "list", MPACS_STATE=other))
    assert "init" in refused(cli("--state", other, "profile", "list", MPACS_STATE=state))
    assert shell("profile", "list", MPACS_STATE=state).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["status"], ["profile", "list"], ["profile", "add", "ward", "W"], ["profile", "remove", "ward", "W"],
     ["invite", "ward:W"], ["devices"], ["revoke", "x"], ["studies"]],
)  # fmt: skip
def test_without_a_state_every_command_says_what_to_do(tmp_path: Path, arguments: list[str]) -> None:
    assert "mpacs-gateway init" in refused(cli("--state", str(tmp_path / "nowhere"), *arguments))


# ── init ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_init_twice_changes_nothing(state: str) -> None:
    before = {path: path.read_bytes() for path in (Path(state) / "keys").iterdir()}
    assert "there already" in refused(cli("init", "--site", "clinic", "--state", state))
    assert {path: path.read_bytes() for path in (Path(state) / "keys").iterdir()} == before


@pytest.mark.parametrize("host", ["localhost", "127.0.0.3", "::1", "192.0.2.4", "2001:db8::4", "gateway.example"])
def test_init_with_any_kind_of_host(tmp_path: Path, host: str) -> None:
    folder = tmp_path / "state"
    assert cli("init", "--site", "a", "--host", host, "--state", str(folder)).returncode == 0
    assert (folder / "tls" / "server.pem").exists()
    assert cli("profile", "add", "ward", "W", "--state", str(folder)).returncode == 0
    from wire.enrolment import parse_link

    done = cli("invite", "ward:W", "--json", "--state", str(folder))
    link = parse_link(json.loads(done.stdout)["uri"])
    assert (f"[{host}]" if ":" in host else host) in link.broker


@pytest.mark.parametrize(
    "arguments", [["--host", "0.0.0.0"], ["--host", "no such host"], ["--host", "병원"], ["--site", "A B"],
                  ["--mqtt-port", "11112"], ["--host", ""]]
)  # fmt: skip
def test_init_that_is_refused_leaves_nothing(tmp_path: Path, arguments: list[str]) -> None:
    folder = tmp_path / "state"
    refused(cli("init", *arguments, "--state", str(folder)))
    assert not folder.exists()
    assert cli("init", "--state", str(folder)).returncode == 0


# ── profiles ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("identifier", ["/+#", "환자-1", "[red]x[/red]", "[/]", "-- -x", "x" * 256, "'\";$(id)"])
def test_any_identifier_goes_through_every_command(state: str, identifier: str) -> None:
    options = ["--state", state]
    assert cli("profile", "add", *options, "--", "patient", identifier).returncode == 0
    listed = json.loads(cli("profile", "list", "--json", *options).stdout)
    assert identifier in [one["id"] for one in listed]
    table = cli("profile", "list", *options)
    assert table.returncode == 0
    if len(identifier) < 100:
        assert identifier in table.stdout
    assert cli("invite", "--json", *options, "--", f"patient:{identifier}").returncode == 0
    assert cli("profile", "remove", *options, "--", "patient", identifier).returncode == 0


@pytest.mark.parametrize("identifier", ["", " ", "a\nb", "a\x1b[2Jb", "x" * 300, "*", b"\xff\xfe"])
def test_what_cannot_be_is_refused_with_a_reason(state: str, identifier: str | bytes) -> None:
    text = os.fsdecode(identifier)
    reason = refused(cli("profile", "add", "patient", text, "--state", state))
    assert "identifier" in reason or "'*'" in reason
    assert "\x1b" not in reason
    if text:
        assert "add it with" in refused(cli("invite", f"patient:{text}", "--state", state))
    if text == "*" or isinstance(identifier, bytes):
        refused(shell("profile", "add", "patient", text, "--state", state))


def test_a_device_is_shut_out_by_its_whole_reference_or_after_a_question(tmp_path: Path) -> None:
    from tests.support.gateway_office import Office

    with Office(tmp_path / "a folder") as office:
        doctor = office.profile("doctor", "D-1", "Kim^Minsu")
        devices = [office.device(doctor).device for _ in range(3)]
        options = ["--state", str(office.state.root)]
        begin = devices[0][:20]
        asked = CliRunner().invoke(main, ["revoke", begin, *options], input="n\n")
        assert asked.exit_code == 1 and devices[0] in asked.stderr and "doctor D-1" in asked.stderr
        assert cli("revoke", begin, *options).returncode == 1  # nobody there to answer
        assert [d.revoked_at for d, _ in office.registry.devices()] == [None] * 3
        assert cli("revoke", begin, "--yes", *options).returncode == 0
        assert cli("revoke", devices[1], *options).returncode == 0
        removed = CliRunner().invoke(main, ["profile", "remove", "doctor", "D-1", *options], input="n\n")
        assert removed.exit_code == 1 and devices[2] in removed.stderr and devices[0] not in removed.stderr
        assert len(office.registry.profiles()) == 1
        assert cli("profile", "remove", "doctor", "D-1", "--yes", *options).returncode == 0
        assert office.registry.profiles() == []


def test_what_init_says_next_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my state's folder"
    said = cli("init", "--state", str(folder)).stdout
    assert shlex.split(said.partition("next: ")[2]) == ["mpacs-gateway", "--state", str(folder), "run"]


def test_unknown_people_and_devices_are_said(state: str) -> None:
    assert "profile list" in refused(cli("profile", "remove", "ward", "none", "--state", state))
    assert "profile add" in refused(cli("invite", "ward:none", "--state", state))
    assert "devices" in refused(cli("revoke", "nothing", "--state", state))


def test_json_beside_every_table(state: str) -> None:
    cli("profile", "add", "doctor", "D-1", "--name", "김^민수", "--attends", "P-1", "--attends", "*", "--state", state)
    (doctor,) = [
        one for one in json.loads(cli("profile", "list", "--json", "--state", state).stdout) if one["kind"] == "doctor"
    ]
    assert doctor | {"reference": ""} == {
        "kind": "doctor",
        "id": "D-1",
        "name": "김^민수",
        "attends": ["P-1", "*"],
        "terms": [],
        "reference": "",
    }
    for command in ("devices", "studies"):
        assert json.loads(cli(command, "--json", "--state", state).stdout) == []
        assert cli(command, "--state", state).returncode == 0
    invited = json.loads(cli("invite", "doctor:D-1", "--json", "--state", state).stdout)
    assert invited["uri"].startswith("https://") and invited["expires"]
    # A service's shell has no UTF-8.
    assert "김^민수" in shell("profile", "list", "--json", "--state", state, LC_ALL="C", PYTHONUTF8="0").stdout


# ── what can go wrong from outside ────────────────────────────────────────────────────────────────────────────────


def test_status_when_nothing_runs_is_1_and_quick(state: str) -> None:
    began = time.monotonic()
    done = shell("status", "--json", "--state", state)
    assert done.returncode == 1 and time.monotonic() - began < 5
    health = {part["part"]: part["healthy"] for part in json.loads(done.stdout)}
    assert health == {"core": False, "broker": False, "console": False, "intake": False, "index": True}
    assert "NO" in cli("status", "--state", state).stdout


def test_a_broken_configuration_names_the_key(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    cli("init", "--state", str(folder))
    with (folder / "gateway.yaml").open("a") as file:
        file.write("dicom: {prot: 1}\n")
    for command in (["status"], ["run"], ["studies"]):
        assert "prot" in refused(shell(*command, "--state", str(folder)))


@pytest.mark.parametrize("what", ["index", "key", "keys", "folder"])
def test_a_damaged_state_is_said_in_one_line(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "state"
    cli("init", "--state", str(folder))
    if what == "index":
        for path in folder.glob("index.db*"):
            path.write_bytes(b"no database" * 1000)
    elif what == "key":
        (folder / "keys" / "root.key").write_bytes(b"x")
    elif what == "keys":
        (folder / "keys").rename(folder / "elsewhere")
    else:
        folder = tmp_path / "file"
        folder.write_text("a file")
        refused(cli("studies", "--state", str(folder)), 2)
        return
    for command in (["studies"], ["profile", "add", "ward", "W"]):
        reason = refused(cli(*command, "--state", str(folder)))
        assert "index" in reason if what == "index" else str(folder) in reason


def test_run_with_a_damaged_index_ends_with_a_reason(tmp_path: Path) -> None:
    gateway = RunningGateway(tmp_path / "state")
    gateway.init()
    for path in gateway.folder.glob("index.db*"):
        path.write_bytes(b"no database" * 1000)
    assert gateway.launch().wait(60) == 1
    gateway.stop()
    assert "core does not start" in gateway.log and "DatabaseError" in gateway.log


def test_run_with_a_socket_where_the_folder_should_be(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        refused(shell("run", "--state", str(path)))
