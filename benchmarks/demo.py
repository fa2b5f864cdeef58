"""The demo: gateway, broker and a device on loopback, real studies by C-STORE, and what became of them.

Run it by ``scripts/demo``. Everything lies in ``.demo`` below the checkout, which is made anew each time.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Device, Gateway, send, wait_for
from benchmarks.studies import HONG, LEE, Made, demo_report, demo_studies

_ROOT = Path(__file__).parent.parent / ".demo"
_DOCTOR, _WARD = "DEMO-D17", "W3"
_WAIT_S = 120.0
_REPORT_LINES = 12

console = Console(width=None if sys.stdout.isatty() else 140)


@dataclass(frozen=True)
class Delivered:
    """What is said of one study."""

    title: str
    study: dict[str, Any]
    files: int
    pictures: int
    sent_s: float
    complete_s: float


def _layers(study: dict[str, Any], layer: str) -> list[dict[str, Any]]:
    return [series["layers"][layer] for series in study["series"] if layer in series["layers"]]


def _is_complete(study: dict[str, Any] | None) -> bool:
    if study is None or not study["settled"]:
        return False
    layers = _layers(study, "display")
    return bool(layers) and all(layer["complete"] for layer in layers)


def _deliver(gateway: Gateway, device: Device, made: Made) -> Delivered:
    started = time.monotonic()
    send(gateway.dicom_port, made.files)
    sent = time.monotonic()

    def arrived() -> dict[str, Any] | None:
        found = next((s for s in device.studies() if s["StudyInstanceUID"] == made.StudyInstanceUID), None)
        return found if _is_complete(found) else None

    study = wait_for(arrived, _WAIT_S, f"study {made.title} on the device")
    complete = time.monotonic()
    held = next(s for s in gateway.json("studies") if s["StudyInstanceUID"] == made.StudyInstanceUID)
    return Delivered(
        made.title, study, len(made.files), held["layers"]["display"]["frames"], sent - started, complete - sent
    )


def _deliver_report(gateway: Gateway, device: Device, made: Made) -> dict[str, Any]:
    """A report that follows its images: it is announced and fetched alone."""
    send(gateway.dicom_port, made.files)

    def arrived() -> dict[str, Any] | None:
        study = next(s for s in device.studies() if s["StudyInstanceUID"] == made.StudyInstanceUID)
        reports = [report for series in study["series"] for report in series["reports"]]
        whole = all(layer["complete"] for layer in _layers(study, "report"))
        return reports[0] if reports and whole and study["settled"] else None

    return wait_for(arrived, _WAIT_S, "the report on the device")


def _print(delivered: list[Delivered]) -> None:
    table = Table("patient", "study", "modality", "files", "pictures", "on the wire", "C-STORE", "then on the device")
    for row in delivered:
        layers = _layers(row.study, "display") + _layers(row.study, "thumbnail")
        table.add_row(
            f"{row.study['PatientName']}",
            row.study.get("StudyDescription", ""),
            row.study["ModalitiesInStudy"],
            str(row.files),
            str(row.pictures),
            f"{sum(layer['bytes'] for layer in layers) / 1e6:.2f} MB",
            f"{row.sent_s:.2f} s",
            f"{row.complete_s:.2f} s",
        )
    console.print(table)


def _show_report(device: Device, made: Made, report: dict[str, Any]) -> None:
    target = _ROOT / "reports" / made.title
    device.cli("export", made.StudyInstanceUID, "--to", str(target), "--layer", "report")
    (text,) = target.rglob("*.txt")
    console.print(f"a report followed its images, as text and HTML ({report['status']}): {target}\n")
    for line in text.read_text(encoding="utf-8").splitlines()[:_REPORT_LINES]:
        console.print(f"    {line}", markup=False, highlight=False)
    console.print("    …")


def _export(device: Device, delivered: list[Delivered]) -> int:
    """Decrypt every picture into files; returns how many there are."""
    total = 0
    for row in delivered:
        target = _ROOT / "pictures" / row.title
        device.cli("export", row.study["StudyInstanceUID"], "--to", str(target))
        total += sum(1 for path in target.rglob("*") if path.suffix in {".jpg", ".png"})
    return total


def main() -> int:
    """Returns the exit code: 0 only if every study arrived, was verified, decrypted and exported."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The whole path on this machine.")
    parser.add_argument("--once", action="store_true", help="stop after delivery; exit 0 only if all was verified")
    arguments = parser.parse_args()
    shutil.rmtree(_ROOT, ignore_errors=True)
    (_ROOT / "dicom").mkdir(parents=True)
    studies = demo_studies(_ROOT / "dicom")
    with Gateway(_ROOT / "gateway") as gateway:
        console.print(f"gateway and broker run: DICOM MPACS@127.0.0.1:{gateway.dicom_port}, MQTT {gateway.mqtt_port}")
        gateway.cli("profile", "add", "doctor", _DOCTOR, "--name", "Kim^Minsu", "--attends", "*")
        for patient in ("DEMO-1001", "DEMO-1002"):
            gateway.cli("profile", "add", "patient", patient)
        gateway.cli("profile", "add", "ward", _WARD, "--name", "Ward 3", "--attends", LEE.identifier)
        with Device(_ROOT / "device", gateway.invite(f"doctor:{_DOCTOR}"), "demo phone") as device:
            console.print("a device of the doctor was enrolled by its one-time link and is connected")
            delivered = [_deliver(gateway, device, made) for made in studies]
            _print(delivered)
            pictures = _export(device, delivered)
            expected = sum(row.pictures for row in delivered)
            console.print(f"{pictures} pictures, verified and decrypted: {_ROOT / 'pictures'}")
            if pictures != expected:
                console.print(f"[red]{expected} were announced[/red]")
                return 1
            chest = next(made for made in studies if made.title == "chest")
            report = demo_report(_ROOT / "dicom", chest, HONG)
            _show_report(device, report, _deliver_report(gateway, device, report))
            if not arguments.once:
                _serve(gateway)
    return 0


def _show_browser_link(gateway: Gateway) -> None:
    import segno

    link = gateway.invite(f"doctor:{_DOCTOR}")
    page = gateway.json("authority")["page"]
    console.print(f"\nIn a browser on this machine, within ten minutes (its certificate: {page}):")
    segno.make(link, error="l").terminal(compact=True)
    console.print(link, soft_wrap=True, markup=False, highlight=False)


def _serve(gateway: Gateway) -> None:
    """Go on until Ctrl-C, so that one can send studies and enrol devices."""
    uri = gateway.invite(f"doctor:{_DOCTOR}")
    _show_browser_link(gateway)
    console.print(
        f"\nserving until Ctrl-C. Send more: storescu -aec MPACS 127.0.0.1 {gateway.dicom_port} FILE...\n"
        f"Another device, within ten minutes:\n  .venv/bin/mpacs-device --state /tmp/phone2 enrol \\\n    '{uri}'\n"
        "  .venv/bin/mpacs-device --state /tmp/phone2 run",
        soft_wrap=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("ending")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"scripts/demo: {' '.join(map(str, error.cmd[:3]))} failed: {error.stderr}")
    except TimeoutError as error:
        sys.exit(f"scripts/demo: {error}; the logs are in {_ROOT}")
