"""Nobody is there: the display enrols from a file, tells its service manager that it lives, and is ended cleanly."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from device_client.errors import EnrolmentFailed
from device_client.stick import link_in
from tests.support.displays import wait_for
from tests.support.gateways import RunningGateway, program


def test_it_enrols_from_a_stick_and_signs_of_life_follow(ward: RunningGateway, tmp_path: Path) -> None:
    folder, link_file, log = tmp_path / "display", tmp_path / "stick.txt", tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, log.open("wb") as output:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environment = {
            **os.environ,
            "MPACS_STATE": str(folder),
            "SDL_VIDEODRIVER": "dummy",
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "3000000",
            "MPACS_DISPLAY_ENROL_FROM": str(link_file),
            "MPACS_DISPLAY_SIZE": "800x480",
        }
        process = subprocess.Popen([program("mpacs-device"), "display"], env=environment, stdout=output, stderr=output)
        try:
            assert manager.recv(64) == b"READY=1", "also while it waits for a link"
            link_file.write_text("not a link\n")
            assert manager.recv(64) == b"WATCHDOG=1"
            assert not (folder / "identity.json").exists()
            link_file.write_text(f"\ufeff  {ward.cli('invite', 'ward:W3', json=True)['uri']}\r\n")
            wait_for(lambda: (folder / "identity.json").exists(), 60, "it has enrolled")
            wait_for(lambda: "connected" in log.read_text(), 60, "it receives")
            while manager.recv(64) != b"WATCHDOG=1":
                pass
            kinds = [one["kind"] for one in json.loads((folder / "identity.json").read_text())["recipients"]]
            assert kinds == ["ward"]
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    assert code == 0, log.read_text()


@pytest.mark.parametrize("content", [b"", b"https://192.0.2.1/", b"\xff\xfe\x00" * 100, b"x" * 100_000])
def test_a_file_without_a_link_is_refused_with_what_a_link_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "stick.txt"
    path.write_bytes(content)
    with pytest.raises(EnrolmentFailed, match="#enrol="):
        link_in(path)
