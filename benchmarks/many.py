"""Nine devices of one doctor, with and without a tenth on a link of 1 Mbit/s: how long the nine take."""

import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.harness import Device, Gateway, send, wait_for
from benchmarks.slow_link import SlowLink
from benchmarks.studies import Patient, long_ct
from wire.enrolment import format_link, parse_link

_OTHERS = 9
_MBIT_BYTES_PER_S = 125_000


def _through(uri: str, port: int) -> str:
    """The same link, with the broker behind a proxy on ``port``."""
    return format_link(
        "https://127.0.0.1:1", msgspec.structs.replace(parse_link(uri), broker=f"mqtt://127.0.0.1:{port}")
    )


def _all_made(gateway: Gateway, studies: int, slices: int) -> bool | None:
    found = gateway.json("studies")
    made = [one for one in found if one["settled"] and one["layers"].get("display", {}).get("frames") == slices]
    return len(made) == studies or None


def slowed(folder: Path, slices: int, rounds: int) -> tuple[float, float]:
    """``(beside the slow one, without)``: seconds from the grant to the last of nine devices, medians of ``rounds``.

    All pictures are ready before: a doctor is given the next patient, so that delivery alone is measured.
    """
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(folder / "gateway"))
        link = stack.enter_context(SlowLink(gateway.mqtt_port, _MBIT_BYTES_PER_S))
        gateway.cli("profile", "add", "doctor", "MANY")
        patients = [f"many-{number}" for number in range(2 * rounds)]
        for patient in patients:
            gateway.cli("profile", "add", "patient", patient)
            send(gateway.dicom_port, long_ct(folder, slices, Patient(patient, "Many^Devices", "", "O"), patient).files)
        wait_for(lambda: _all_made(gateway, len(patients), slices), 600, "all pictures")
        devices = [
            stack.enter_context(Device(folder / f"device{number}", gateway.invite("doctor:MANY"), "bench"))
            for number in range(_OTHERS)
        ]
        slow = Device(folder / "slow", _through(gateway.invite("doctor:MANY"), link.port), "bench")
        taken: dict[bool, list[float]] = {True: [], False: []}
        for number in range(len(patients)):
            beside_slow = number % 2 == 1
            with slow if beside_slow else nullcontext():
                attends = (argument for seen in patients[: number + 1] for argument in ("--attends", seen))
                granting = gateway.popen("profile", "add", "doctor", "MANY", *attends)
                devices[0].wait_line("announced")
                started = time.monotonic()
                for device in devices:
                    device.wait_complete()
                taken[beside_slow].append(time.monotonic() - started)
                granting.communicate()
        return median(taken[True]), median(taken[False])
