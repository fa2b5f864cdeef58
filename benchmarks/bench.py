"""``scripts/bench``: how long a CT takes from the modality to a device, goodput against raw MQTT, what imaging costs,
what a user of the web application waits for (where Playwright and Chromium are installed).

Ratios are what counts: the machine is noisy, and both sides of a ratio are measured in one run.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.alike import refusals
from benchmarks.display import display_entries
from benchmarks.harness import Device, Gateway, send
from benchmarks.layers import layer_entries
from benchmarks.many import slowed
from benchmarks.raw_mqtt import raw_goodput
from benchmarks.studies import Made, long_ct
from benchmarks.web import web_entries

_SLICES, _QUICK_SLICES = 300, 60
_STUDIES, _QUICK_STUDIES = 3, 1
_ROUNDS, _QUICK_ROUNDS = 5, 1

console = Console(stderr=True)


def _entry(name: str, value: float, unit: str, peer: str, peer_value: float) -> dict[str, Any]:
    ratio = value / peer_value if peer_value else None
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "peer": peer,
        "peer_value": round(peer_value, 3),
        "ratio": None if ratio is None else round(ratio, 3),
    }


def _store_to_device(gateway: Gateway, device: Device, made: Made) -> tuple[float, float]:
    """``(C-STORE of the series, last response to last display segment)`` in seconds."""
    started = time.monotonic()
    send(gateway.dicom_port, made.files)
    stored = time.monotonic()
    device.wait_complete()
    return stored - started, time.monotonic() - stored


def _goodput(gateway: Gateway, folder: Path, studies: int, size_bytes: int) -> float:
    """MB/s of sealed objects into a new device that finds everything ready."""
    with Device(folder, gateway.invite("doctor:BENCH"), "bench") as device:
        connected = time.monotonic()
        for _ in range(studies):
            device.wait_complete()
        return size_bytes / 1e6 / (time.monotonic() - connected)


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """All measurements."""
    slices, studies = (_QUICK_SLICES, _QUICK_STUDIES) if quick else (_SLICES, _STUDIES)
    results = []
    gateway = Gateway(folder / "gateway")
    # Devices do not take it by themselves: bytes that lie ready and are not delivered are no goodput.
    gateway.configure("rendering:\n  diagnostic: false\n")
    with gateway:
        gateway.cli("profile", "add", "doctor", "BENCH", "--attends", "*")
        with Device(folder / "device", gateway.invite("doctor:BENCH"), "bench") as device:
            for number in range(studies):
                made = long_ct(folder, slices, title=f"bench-{number}")
                stored_s, tail_s = _store_to_device(gateway, device, made)
                if number == 0:
                    peer = f"C-STORE of the same {slices} slices into the same gateway"
                    results.append(_entry(f"ct{slices}_last_store_to_last_display", tail_s, "s", peer, stored_s))
        sealed = sorted((folder / "gateway/objects").glob("*/*.sealed"))
        size_bytes = sum(path.stat().st_size for path in sealed)
        goodput = _goodput(gateway, folder / "second", studies, size_bytes)
    raw = raw_goodput(folder / "gateway", sealed)
    results.append(_entry("goodput", goodput, "MB/s", "the same bytes by paho through the same broker, QoS 0", raw))
    with_slow, without = slowed(folder / "many", slices, _QUICK_ROUNDS if quick else _ROUNDS)
    peer = "the same ten, none of them slowed"
    results.append(_entry("nine_devices_beside_one_at_1_mbit", with_slow, "s", peer, without))
    forbidden, unknown = refusals(folder / "alike", quick)
    peer = "the same of a study that nobody knows"
    results.append(_entry("refusal_of_a_forbidden_study", forbidden * 1000, "ms", peer, unknown * 1000))
    results += [_entry(**row) for row in layer_entries(folder / "layers", quick)]
    results += [_entry(**row) for row in display_entries(folder / "display", quick)]
    results += [_entry(**row) for row in web_entries(folder / "web", quick)]
    return results


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer slices, one study")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mpacs-bench-") as folder, console.status("measuring"):
        results = measure(Path(folder), arguments.quick)
    table = Table("name", "value", "peer", "peer's value", "ratio")
    for row in results:
        unit = row["unit"]
        table.add_row(
            row["name"], f"{row['value']} {unit}", row["peer"], f"{row['peer_value']} {unit}", str(row["ratio"])
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
