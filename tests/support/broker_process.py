"""A broker's process: started, waited for, measured, always ended."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Return as soon as ``condition`` holds; AssertionError after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


class Process:
    """A child process whose standard error is kept, and which is always ended."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str] | None = None) -> None:
        self._child = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def log(self) -> str:
        """What the process wrote to standard error until now."""
        return "".join(self._errors)

    def ready_line(self) -> str:
        """The first line of standard output; AssertionError with the log if the process ends first."""
        assert self._child.stdout is not None
        timer = threading.Timer(START_TIMEOUT_S, self._child.kill)
        timer.start()
        line = self._child.stdout.readline()
        timer.cancel()
        assert line, f"the process did not start: {self._wait_log()}"
        return line

    def is_running(self) -> bool:
        return self._child.poll() is None

    def stop(self) -> int:
        """SIGTERM, then SIGKILL when that does not help; returns the exit code."""
        if self.is_running():
            self._child.send_signal(signal.SIGTERM)
        try:
            code = self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        self._reader.join(STOP_TIMEOUT_S)
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()
        return code

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._child.kill()
        self._child.wait()

    def cpu_s(self) -> float:
        """CPU seconds, user and system, that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pss_bytes(self) -> int:
        """Proportional set size."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no Pss in smaps_rollup")

    def _read_errors(self) -> None:
        assert self._child.stderr is not None
        with contextlib.suppress(ValueError):
            for line in self._child.stderr:
                self._errors.append(line)

    def _wait_log(self) -> str:
        self._reader.join(STOP_TIMEOUT_S)
        return self.log


_PORTS = range(10_000, 32_000)
"""Below those that the kernel lends to outgoing connections, which could take one before its program does."""
_numbers = itertools.count(os.getpid() * 7919, 7)
"""Each process of tests begins at another place, and comes to none twice; what follows a port is free, too."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago, for programs that cannot be asked which one they took."""
    while True:
        port = _PORTS[next(_numbers) % len(_PORTS)]
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port
