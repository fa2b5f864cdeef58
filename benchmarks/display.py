"""What a ward's display costs: memory with a long study on the screen, CPU while nothing changes, time to a picture."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Gateway, send
from benchmarks.studies import LEE, long_ct

_SIZES = ("800x480", "1920x1080", "3840x2160")
_QUICK_SIZES = ("1920x1080",)
_SETTLED_S = 8.0
_MEASURED_S = 15.0
_QUICK_MEASURED_S = 6.0
_MOST_MB, _MOST_CPU, _MOST_START_S = 120.0, 5.0, 3.0
_PROGRAM = str(Path(sys.executable).parent / "mpacs-device")
_PEER = "the most that is allowed"


class _Display:
    """``mpacs-device display`` on SDL's dummy driver."""

    def __init__(self, state: Path, size: str) -> None:
        """Started."""
        environment = {**os.environ, "MPACS_STATE": str(state), "SDL_VIDEODRIVER": "dummy", "MALLOC_ARENA_MAX": "2"}
        self._started = time.monotonic()
        with state.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [_PROGRAM, "display", "--size", size], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def first_picture_s(self) -> float:
        """From the start of the process to the first picture on the screen."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line == "showing\n":
                return time.monotonic() - self._started
        raise RuntimeError("the display ended without a picture")

    def resident_mb(self) -> float:
        """Of the process, in 10^6 bytes."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_percent(self, seconds: float) -> float:
        """Of one core, while ``seconds`` pass."""
        before = self._cpu_s()
        time.sleep(seconds)
        return 100 * (self._cpu_s() - before) / seconds

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)


def _row(name: str, value: float, unit: str, limit: float) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "peer": _PEER, "peer_value": limit}


def display_entries(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Rows for ``scripts/bench``: of a running stack of many slices, then of one picture that stands still."""
    sizes: Sequence[str] = _QUICK_SIZES if quick else _SIZES
    measured_s = _QUICK_MEASURED_S if quick else _MEASURED_S
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    gateway = Gateway(folder / "gateway")
    gateway.configure("rendering:\n  diagnostic: false\n")
    with gateway:
        for ward, slices in (("STACK", 60 if quick else 300), ("STILL", 1)):
            patient = f"BENCH-{ward}"
            gateway.cli("profile", "add", "ward", ward, "--attends", patient)
            made = long_ct(folder, slices, replace(LEE, identifier=patient), f"display-{ward}")
            send(gateway.dicom_port, made.files)
            state = folder / ward
            environment = {**os.environ, "MPACS_STATE": str(state)}
            enrol = [_PROGRAM, "enrol", gateway.invite(f"ward:{ward}")]
            subprocess.run(enrol, env=environment, check=True, capture_output=True)
            subprocess.run([_PROGRAM, "run", "--once"], env=environment, check=True, capture_output=True)
            for size in sizes if ward == "STACK" else sizes[:1]:
                display = _Display(state, size)
                try:
                    first_s = display.first_picture_s()
                    time.sleep(_SETTLED_S)
                    percent = display.cpu_percent(measured_s)
                    if ward == "STILL":
                        rows.append(_row("display_cpu_while_nothing_changes", percent, "%", _MOST_CPU))
                    else:
                        name = f"display_{size}_{slices}_slices"
                        rows.append(_row(f"{name}_resident", display.resident_mb(), "MB", _MOST_MB))
                        rows.append(_row(f"{name}_first_picture", first_s, "s", _MOST_START_S))
                finally:
                    display.stop()
    return rows
