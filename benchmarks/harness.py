"""A real gateway and real devices as processes, driven by their command lines; for the demo and the benchmarks."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
_BIN = Path(sys.executable).parent
_READY_S = 60.0
_END_S = 20.0


def free_ports(count: int) -> list[int]:
    """Ports that are free now; all are held until the last is chosen, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [int(held.getsockname()[1]) for held in sockets]
    for held in sockets:
        held.close()
    return ports


def wait_for(check: Callable[[], T | None], timeout_s: float, what: str) -> T:
    """The first value of ``check`` that is not None; TimeoutError after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while (found := check()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.05)
    return found


def send(port: int, files: Sequence[Path], aet: str = "MPACS") -> None:
    """C-STORE ``files`` over one association; RuntimeError unless each is answered with success."""
    from pydicom import dcmread
    from pynetdicom import AE

    ae = AE(ae_title="DEMO")
    contexts = {}
    for path in files:
        header = dcmread(path, stop_before_pixels=True)
        contexts[header.SOPClassUID, header.file_meta.TransferSyntaxUID] = None
    for sop_class, syntax in contexts:
        ae.add_requested_context(sop_class, syntax)
    association = ae.associate("127.0.0.1", port, ae_title=aet)
    if not association.is_established:
        raise RuntimeError("the gateway does not accept the association")
    # pynetdicom 3.0.4: between two requests its reactor wakes for a moment and may take the next answer off the queue,
    # for which the sender then waits 30 s in vain (about once in 3,000). Here it sleeps until all are sent.
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    checkpoint.set = lambda: None
    for path in files:
        status = association.send_c_store(path)
        if "Status" not in status or status.Status != 0x0000:
            said = f"status 0x{status.Status:04X}" if "Status" in status else "no answer"
            raise RuntimeError(f"{path.name} was not taken: {said}")
    del checkpoint.set
    association.release()


class _Process:
    """A command line with a state folder, one long-running process of it, and its log."""

    def __init__(self, program: str, state: Path) -> None:
        self.program, self.state = program, state
        self._environment = {**os.environ, "MPACS_STATE": str(state)}
        self._running: subprocess.Popen[str] | None = None

    def cli(self, *arguments: str) -> str:
        """Run a command to its end; what it printed. CalledProcessError if it fails."""
        done = subprocess.run(
            [str(_BIN / self.program), *arguments], env=self._environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The same, with ``--json``."""
        return json.loads(self.cli(*arguments, "--json"))

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command whose output the caller reads."""
        return subprocess.Popen(
            [str(_BIN / self.program), *arguments], env=self._environment, stdout=subprocess.PIPE, text=True
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the long-running command; its log goes to a file beside the state folder."""
        with self.state.with_suffix(".log").open("ab") as log:
            self._running = subprocess.Popen(
                [str(_BIN / self.program), *arguments],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self._running

    def wait_line(self, wanted: str) -> None:
        """Wait until the process has printed a line that contains ``wanted``."""
        assert self._running is not None and self._running.stdout is not None
        for line in self._running.stdout:
            if wanted in line:
                return
        raise TimeoutError(f"{self.program} ended before it said {wanted!r}")

    def stop(self) -> None:
        """End it as a user would."""
        if self._running is None or self._running.poll() is not None:
            return
        self._running.send_signal(signal.SIGTERM)
        try:
            self._running.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            raise

    @property
    def pid(self) -> int:
        """Of the long-running process."""
        assert self._running is not None
        return self._running.pid

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()


class Gateway(_Process):
    """``mpacs-gateway run`` on free ports."""

    def __init__(self, state: Path) -> None:
        """The state folder is made by ``init``."""
        super().__init__("mpacs-gateway", state)
        self.dicom_port, self.mqtt_port, https_port = free_ports(3)
        ports = ("--dicom-port", str(self.dicom_port), "--mqtt-port", str(self.mqtt_port))
        self.cli("init", "--site", "demo", *ports, "--https-port", str(https_port))

    def configure(self, yaml: str) -> None:
        """Add sections to what ``init`` wrote, before it runs."""
        with (self.state / "gateway.yaml").open("a", encoding="utf-8") as file:
            file.write(yaml)

    def __enter__(self) -> Self:
        self.start("run")
        self.wait_line("ready")
        return self

    def invite(self, recipient: str) -> str:
        """A one-time link."""
        return str(self.json("invite", recipient)["uri"])


class Device(_Process):
    """``mpacs-device run``, enrolled by a link."""

    def __init__(self, state: Path, uri: str, name: str) -> None:
        """Enrols."""
        super().__init__("mpacs-device", state)
        self.cli("enrol", uri, "--name", name)

    def __enter__(self) -> Self:
        self.start("run")
        self.wait_line("connected")
        return self

    def wait_complete(self) -> None:
        """Wait until the next study is complete: all of it is announced, received and verified."""
        self.wait_line("complete")

    def studies(self) -> list[dict[str, Any]]:
        """``mpacs-device studies --json``."""
        found: list[dict[str, Any]] = self.json("studies")
        return found
