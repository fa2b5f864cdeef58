"""How long the gateway takes to refuse what is unknown and what is forbidden: nobody may tell them apart by it."""

import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Gateway, send, wait_for
from benchmarks.studies import Patient, long_ct
from tests.support.gateway_devices import WireDevice
from wire import asks
from wire.messages import Refused

_ROUNDS, _QUICK_ROUNDS = 300, 60
_UNKNOWN = "1.2.826.0.1.3680043.8.498.4711"


def _timed(device: WireDevice, body: Any) -> float:
    started = time.perf_counter()
    answer = device.ask(body)
    taken = time.perf_counter() - started
    assert answer == Refused(reason="forbidden"), answer
    return taken


def refusals(folder: Path, quick: bool) -> tuple[float, float]:
    """``(forbidden, unknown)``: seconds for a device's request to be refused, medians over alternating rounds."""
    folder.mkdir(parents=True, exist_ok=True)
    with Gateway(folder / "gateway") as gateway:
        gateway.cli("profile", "add", "doctor", "NOBODY")
        made = long_ct(folder, 2, Patient("alike-1", "Alike^One", "", "O"), "alike")
        send(gateway.dicom_port, made.files)
        wait_for(lambda: gateway.json("studies") or None, 60, "the study")
        device = WireDevice.enrol(gateway.mqtt_port, gateway.invite("doctor:NOBODY")).connect()
        try:
            me = {"kind": "doctor", "recipient": device.welcome.enrolled.recipients[0].recipient}
            taken: dict[str, list[float]] = {made.StudyInstanceUID: [], _UNKNOWN: []}
            for number in range(_QUICK_ROUNDS if quick else _ROUNDS):
                order = list(taken)[:: 1 if number % 2 else -1]
                for study in order:
                    seconds = _timed(device, asks.Retrieve(**me, study=study))
                    if number > 5:  # the first find everything cold
                        taken[study].append(seconds)
            return median(taken[made.StudyInstanceUID]), median(taken[_UNKNOWN])
        finally:
            device.stop()


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        forbidden, unknown = refusals(Path(place), "--quick" in sys.argv)
        print(f"forbidden {forbidden * 1000:.1f} ms, unknown {unknown * 1000:.1f} ms, ratio {forbidden / unknown:.2f}")
