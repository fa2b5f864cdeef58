"""Ten devices of one doctor, one of them on a link of 1 Mbit/s or not: how long the other nine take."""

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.harness import Device, Gateway, send, wait_for
from benchmarks.slow_link import SlowLink
from benchmarks.studies import Patient, long_ct
from wire.enrolment import format_link, parse_link

_OTHERS = 9
_SLOW_BYTES_PER_S = 125_000
_FULL_BYTES_PER_S = 1_000_000_000


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
    """``(one slowed, none slowed)``: seconds from the grant to the last of the other nine, medians of ``rounds``.

    The same ten devices run all the time, the tenth behind a proxy whose rate alone differs between the rounds. All
    pictures are ready before: a doctor is given the next patient, so that delivery alone is measured.
    """
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(folder / "gateway"))
        link = stack.enter_context(SlowLink(gateway.mqtt_port, _FULL_BYTES_PER_S))
        gateway.cli("profile", "add", "doctor", "MANY")
        patients = [f"many-{number}" for number in range(2 * rounds + 1)]
        for patient in patients:
            gateway.cli("profile", "add", "patient", patient)
            send(gateway.dicom_port, long_ct(folder, slices, Patient(patient, "Many^Devices", "", "O"), patient).files)
        wait_for(lambda: _all_made(gateway, len(patients), slices), 600, "all pictures")
        devices = [
            stack.enter_context(Device(folder / f"device{number}", gateway.invite("doctor:MANY"), "bench"))
            for number in range(_OTHERS)
        ]
        tenth = stack.enter_context(
            Device(folder / "tenth", _through(gateway.invite("doctor:MANY"), link.port), "bench")
        )
        taken: dict[bool, list[float]] = {True: [], False: []}
        for number in range(len(patients)):
            is_slowed = number % 2 == 1
            link.bytes_per_s = _SLOW_BYTES_PER_S if is_slowed else _FULL_BYTES_PER_S
            attends = (argument for seen in patients[: number + 1] for argument in ("--attends", seen))
            granting = gateway.popen("profile", "add", "doctor", "MANY", *attends)
            devices[0].wait_line("announced")
            started = time.monotonic()
            for device in devices:
                device.wait_complete()
            if number > 0:  # the first finds everything cold
                taken[is_slowed].append(time.monotonic() - started)
            granting.communicate()
            # The tenth ends what it missed before the next round, at full speed.
            link.bytes_per_s = _FULL_BYTES_PER_S
            tenth.wait_complete()
        return median(taken[True]), median(taken[False])


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        with_slow, without = slowed(Path(place), int(sys.argv[1]), int(sys.argv[2]))
        print(f"one slowed {with_slow:.2f} s, none {without:.2f} s, ratio {with_slow / without:.2f}")
