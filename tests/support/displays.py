"""A real ``mpacs-device display`` beside a real gateway, on SDL's dummy driver, and what is on its screen."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.devices import RunningDevice
from tests.support.gateways import program

AMBER, RED, GREEN = (255, 190, 60), (214, 58, 48), (22, 48, 38)


class RunningDisplay(RunningDevice):
    """Runs ``display`` in place of ``run``."""

    def start(self, *arguments: str) -> None:
        """``mpacs-device display`` of 800x480; its output goes to a file beside the state folder."""
        environment = {**self._environment, "SDL_VIDEODRIVER": "dummy"}
        with self._log.open("ab") as log:
            command = [program("mpacs-device"), "display", "--size", "800x480", "--language", "en", *arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def screenshot(self, to: Path, size: str, *arguments: str) -> Image.Image:
        """What another ``display --screenshot`` draws, read back."""
        self.call("display", "--screenshot", str(to), "--size", size, *arguments)
        with Image.open(to) as image:
            image.load()
            return image.convert("RGB")

    def board(self) -> Any:
        """What the process that owns the store says is on the board."""
        from device_client import service

        return service.request(self.folder, {"op": "board"}, lambda _: None)

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """CPU seconds that the process has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share_of(image: Image.Image, color: tuple[int, int, int], box: tuple[int, int, int, int] | None = None) -> float:
    """Which part of the pixels in ``box`` has exactly this colour."""
    region = image.crop(box) if box else image
    counted = region.getcolors(region.width * region.height) or []
    return sum(count for count, found in counted if found == color) / (region.width * region.height)


def wait_for(check: Any, timeout_s: float, what: str) -> Any:
    """The first true value of ``check``; AssertionError after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return found
