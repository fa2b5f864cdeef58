"""A real gateway: ``mpacs-gateway run`` with all its processes, on free loopback ports, in a folder of its own.

with RunningGateway(tmp_path / "state") as gateway:
    gateway.cli("profile", "add", "ward", "W3", "--attends", "*")
    gateway.store(files)
    gateway.wait_studies(lambda studies: len(studies) == 1 and is_rendered(studies[0]))
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from tests.support.broker_process import free_port, wait_until

Part = Literal["supervisor", "broker", "core", "intake", "pacs"]
Study = dict[str, Any]
"""As ``mpacs-gateway studies --json`` prints it."""

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 25.0
CLI_TIMEOUT_S = 60.0
_MARKS: dict[Part, str] = {"broker": "-m\0broker\0run", "core": "\0core\0", "intake": "\0intake\0", "pacs": "\0pacs\0"}


def program(name: str) -> str:
    """The path of one of the project's programs, as it is installed beside the interpreter."""
    return str(Path(sys.executable).with_name(name))


def is_rendered(study: Study) -> bool:
    """Settled, and nothing of it waits to be rendered."""
    return bool(study["settled"]) and "pending" not in study["instances"]


@dataclass
class RunningGateway:
    """One gateway; a context manager that makes the state folder, starts it and ends it.

    ``settings`` are sections of gateway.yaml that go over what ``init`` wrote: ``{"delivery": {"settle_s": 1}}``.
    """

    folder: Path
    site: str = "ward-7"
    host: str = "127.0.0.1"
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    dicom_port: int = 0
    mqtt_port: int = 0
    https_port: int = 0
    process: subprocess.Popen[str] | None = field(default=None, init=False, repr=False)
    _log: list[str] = field(default_factory=list, init=False, repr=False)
    _reader: threading.Thread | None = field(default=None, init=False, repr=False)
    _opened: Any = field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        self.init()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def init(self) -> None:
        """``mpacs-gateway init`` with free ports, then ``settings`` into its gateway.yaml."""
        self.dicom_port = self.dicom_port or free_port()
        self.mqtt_port = self.mqtt_port or free_port()
        self.https_port = self.https_port or free_port()
        ports = ("--dicom-port", self.dicom_port, "--mqtt-port", self.mqtt_port, "--https-port", self.https_port)
        self.cli("init", "--site", self.site, "--host", self.host, *map(str, ports))
        # Patients have their studies at once here; tests of holding them back say so.
        self.configure({"access": {"release": "automatic"}, **self.settings})

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change gateway.yaml, section by section; takes effect at the next start."""
        path = self.folder / "gateway.yaml"
        contents = yaml.safe_load(path.read_text())
        for key, value in settings.items():
            contents[key] = {**contents.get(key, {}), **value} if isinstance(value, Mapping) else value
        path.write_text(yaml.safe_dump(contents, sort_keys=False, allow_unicode=True))

    def start(self, timeout_s: float = START_TIMEOUT_S) -> str:
        """Start it and return its ready line; AssertionError with the log if it ends or does not get ready."""
        self.launch()
        assert self.process is not None and self.process.stdout is not None
        timer = threading.Timer(timeout_s, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            self.process.wait()
            self._join()
        assert line.startswith("ready"), f"the gateway did not start: {self.log}"
        return line

    def launch(self) -> subprocess.Popen[str]:
        """Start it without waiting for anything."""
        self.process = subprocess.Popen(
            [program("mpacs-gateway"), "run", "--state", str(self.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=self._environment(),
        )
        self._reader = threading.Thread(target=self._read_log, args=(self.process,), daemon=True)
        self._reader.start()
        return self.process

    def stop(self) -> int:
        """SIGTERM, then SIGKILL when that does not help; returns the exit code."""
        if self._opened is not None:
            self._opened[1].dispose()  # the folder may be gone next
            self._opened = None
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
        self.process = None
        return code

    def restart(self) -> str:
        """Stop it and start it again on the same ports."""
        self.stop()
        return self.start()

    @property
    def origin(self) -> str:
        """The console's origin."""
        return f"https://{self.host}:{self.https_port}"

    @property
    def authority(self) -> Path:
        """The certificate that vouches for the console (PEM)."""
        return self.folder / "tls" / "authority.pem"

    def is_running(self) -> bool:
        """Whether the supervisor runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """What all processes wrote to standard error until now, over all starts."""
        return "".join(self._log)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "MPACS_STATE"}
        return {**inherited, **self.environment}

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with contextlib.suppress(ValueError):
            for line in process.stderr:
                self._log.append(line)

    def _join(self) -> None:
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)

    # ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def pids(self) -> dict[Part, int]:
        """The processes that run now, without the render workers."""
        if self.process is None or self.process.poll() is not None:
            return {}
        found: dict[Part, int] = {"supervisor": self.process.pid}
        for pid in _children(self.process.pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_text()
                found |= {part: pid for part, mark in _MARKS.items() if mark in command}
        return found

    def all_pids(self) -> list[int]:
        """The supervisor and all below it, render workers too."""
        pids = [self.process.pid] if self.process is not None and self.process.poll() is None else []
        for pid in pids:
            pids += _children(pid)
        return pids

    def kill(self, part: Part, wait: bool = True) -> int:
        """SIGKILL, as a power cut would; returns the pid that was killed, once it is gone.

        A part that was killed a moment ago is waited for first.
        """
        pid = self.wait_part(part)
        os.kill(pid, signal.SIGKILL)
        if part == "supervisor":
            assert self.process is not None
            self.process.wait()
        elif wait:
            wait_until(lambda: self.pids().get(part) != pid, 10, f"{part} is gone")
        return pid

    def wait_part(self, part: Part, not_pid: int = 0, timeout_s: float = START_TIMEOUT_S) -> int:
        """Wait until ``part`` runs, as another process than ``not_pid``; returns its pid."""
        wait_until(lambda: self.pids().get(part, not_pid) != not_pid, timeout_s, f"{part} runs again")
        return self.pids()[part]

    def wait_healthy(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every part says that it is well."""
        deadline = time.monotonic() + timeout_s
        while (done := self.run_cli("status", "--json")).returncode:
            assert time.monotonic() < deadline, f"not healthy: {done.stdout} {done.stderr} {self.log}"

    def pss_bytes(self) -> int:
        """Proportional set size of all processes together, render workers too."""
        total = 0
        for pid in self.all_pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def cpu_s(self, part: Part) -> float:
        """CPU seconds, user and system, that a part has used."""
        fields = Path(f"/proc/{self.pids()[part]}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ── talking to it ─────────────────────────────────────────────────────────────────────────────────────────────

    def run_cli(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """``mpacs-gateway ARGUMENTS --state ...``, whatever its exit code."""
        return subprocess.run(
            [program("mpacs-gateway"), *arguments, "--state", str(self.folder)],
            capture_output=True,
            text=True,
            timeout=CLI_TIMEOUT_S,
            env={**self._environment(), **(environment or {})},
        )

    def cli(self, *arguments: str, json: bool = False) -> Any:
        """``mpacs-gateway ARGUMENTS``, which must succeed: its output, or with ``json`` what its JSON holds."""
        done = self.run_cli(*arguments, *(["--json"] if json else []))
        assert done.returncode == 0, f"mpacs-gateway {arguments[0]} ended with {done.returncode}: {done.stderr}"
        return _loads(done.stdout) if json else done.stdout

    def store(self, files: Iterable[Path | str], aet: str = "MODALITY") -> None:
        """C-STORE over one association, by DCMTK where it can; AssertionError if one is refused.

        DCMTK's storescu offers one compressed syntax an association: files that mix them are sent by pynetdicom.
        """
        paths = [str(path) for path in files]
        if shutil.which("storescu") is None or not all(map(_is_uncompressed, paths)):
            _store_by_pynetdicom(self.dicom_port, paths, aet)
            return
        done = subprocess.run(
            ["storescu", "-R", "-aet", aet, "-aec", "MPACS", "127.0.0.1", str(self.dicom_port), *paths],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        assert done.returncode == 0, f"storescu: {done.stdout}{done.stderr}"

    def studies(self) -> list[Study]:
        """What ``mpacs-gateway studies --json`` prints, read in this process."""
        from gateway import app
        from gateway.app_status import list_studies

        if self._opened is None:
            self._opened = app.open_registry(app.State(self.folder))
        _, opened, registry = self._opened
        return list_studies(opened, registry)

    def wait_studies(
        self, condition: Callable[[Sequence[Study]], bool] | int = 1, timeout_s: float = 60.0
    ) -> list[Study]:
        """Wait until ``condition`` holds of the studies, or until there are so many, all settled and rendered."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.studies()
            if callable(condition):
                holds = condition(found)
            else:
                holds = len(found) >= condition and all(map(is_rendered, found))
            if holds:
                return found
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {found} {self.log}"
            time.sleep(0.05)


_loads = json.loads  # the methods' parameter of that name hides the module


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _is_uncompressed(path: str) -> bool:
    from pydicom.filereader import read_file_meta_info

    return not read_file_meta_info(path).TransferSyntaxUID.is_encapsulated


def _store_by_pynetdicom(port: int, paths: Sequence[str], aet: str) -> None:
    from pydicom import dcmread
    from pynetdicom import AE

    datasets = [dcmread(path) for path in paths]
    entity = AE(aet)
    kinds = {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets}
    for sop_class, syntax in sorted(kinds):
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title="MPACS")
    assert association.is_established, "the association was refused"
    try:
        for one in datasets:
            status = association.send_c_store(one)
            assert status and status.Status == 0, f"C-STORE: {status}"
    finally:
        association.release()
