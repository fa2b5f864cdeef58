"""A Mosquitto of one's own on a free port."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition, timeout_s: float = 20.0, what: str = "the condition"):
    """Poll a condition that has no event of its own, with a deadline."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come true in {timeout_s} s")


class Mosquitto:
    """Starts, restarts, and kills exactly the process that it started."""

    def __init__(self, folder: Path, passwords: bool = False, tls: tuple[Path, Path] | None = None) -> None:
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed")
        self.folder = folder
        self.port = free_port()
        self.passwords = folder / "passwords" if passwords else None
        lines = ["user root"] if os.geteuid() == 0 else []
        lines += [f"listener {self.port} 127.0.0.1", "use_username_as_clientid true", "max_queued_messages 0"]
        lines += ["set_tcp_nodelay true"]
        if self.passwords is not None:
            self.passwords.touch(0o600)
            lines += ["allow_anonymous false", f"password_file {self.passwords}"]
        else:
            lines += ["allow_anonymous true"]
        if tls is not None:
            lines += [f"certfile {tls[0]}", f"keyfile {tls[1]}"]
        self.config = folder / "mosquitto.conf"
        self.config.write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.config)], stderr=log, stdout=log)
        wait_until(self._listens, what="mosquitto's port")

    def _listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def add_user(self, name: str, password: str) -> None:
        assert self.passwords is not None and self.process is not None
        subprocess.run(["mosquitto_passwd", "-b", str(self.passwords), name, password], check=True)
        self.passwords.chmod(0o644)
        self.process.send_signal(signal.SIGHUP)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)
