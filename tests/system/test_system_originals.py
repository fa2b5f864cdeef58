"""DICOM files on request, from the modality's hands to a device's folder, byte for byte."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from benchmarks.studies import Made, demo_studies
from tests.support.broker_process import wait_until
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway, is_rendered, program

# The smallest study is an echocardiogram, which does not deny that a name is burned in.
SETTINGS = {"wards": {"burned_in": "show"}, "delivery": {"settle_s": 0.5}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return min(demo_studies(tmp_path_factory.mktemp("studies")), key=lambda one: len(one.files))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("gateway") / "state", settings=SETTINGS) as running:
        running.cli("profile", "add", "ward", "W3", "--attends", "*")
        running.cli("profile", "add", "doctor", "D-1", "--attends", "*")
        running.store(made.files)
        running.wait_studies(1)
        yield running


def received(gateway: RunningGateway) -> dict[str, bytes]:
    """What the gateway has archived, by digest."""
    files = (gateway.folder / "archive/archive").glob("*/*.dcm")
    return {hashlib.sha256(data).hexdigest(): data for data in (path.read_bytes() for path in files)}


def check_export(gateway: RunningGateway, device: RunningDevice, made: Made, to: Path) -> None:
    written = json.loads(device.call("export", made.StudyInstanceUID, "--to", str(to), "--layer", "original", "--json"))
    files = [to / name for name in written["files"] if name.endswith(".dcm")]
    assert written["missing"] == 0 and len(files) == written["pictures"] == len(made.files)
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == received(gateway).keys()


def test_requested_while_nothing_runs_it_comes_with_the_next_run(
    gateway: RunningGateway, made: Made, tmp_path: Path
) -> None:
    device = RunningDevice(tmp_path / "device", gateway, "doctor:D-1")
    device.call("run", "--once")
    assert all("original" not in series["layers"] for series in device.studies()[0]["series"])
    assert json.loads(device.call("request", made.StudyInstanceUID, "--json"))["state"] == "queued"
    device.call("run", "--once")
    check_export(gateway, device, made, tmp_path / "out")


def test_requested_from_the_running_process(gateway: RunningGateway, made: Made, tmp_path: Path) -> None:
    with RunningDevice(tmp_path / "device", gateway, "doctor:D-1") as device:
        device.wait_line("complete")
        outcome = json.loads(device.call("request", made.StudyInstanceUID, "--json"))
        assert outcome["state"] == "ordered"

        def is_here() -> bool:
            series = device.studies()[0]["series"]
            return all("original" in one["layers"] and one["layers"]["original"]["complete"] for one in series)

        wait_until(is_here, 30, "the originals are here")
        check_export(gateway, device, made, tmp_path / "out")


def test_a_device_that_takes_originals_orders_them_itself(gateway: RunningGateway, made: Made, tmp_path: Path) -> None:
    device = RunningDevice(tmp_path / "device", gateway, "doctor:D-1")
    device.call("run", "--once", "--layer", "display", "--layer", "original")
    check_export(gateway, device, made, tmp_path / "out")


def test_what_comes_late_is_ordered_with_it(gateway: RunningGateway, made: Made, tmp_path: Path) -> None:
    late = tmp_path / "late.dcm"
    data = pydicom.dcmread(made.files[0])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.save_as(late)
    device = RunningDevice(tmp_path / "device", gateway, "doctor:D-1")
    device.call("run", "--once", "--layer", "display", "--layer", "original")
    count = len(received(gateway))
    gateway.store([late])
    gateway.wait_studies(lambda found: is_rendered(found[0]) and found[0]["instances"].get("rendered") == count + 1)
    device.call("run", "--once", "--layer", "display", "--layer", "original")
    check_export(gateway, device, Made(made.title, made.StudyInstanceUID, (*made.files, late)), tmp_path / "out")


def test_a_ward_is_refused_and_waits_for_nothing(gateway: RunningGateway, made: Made, tmp_path: Path) -> None:
    device = RunningDevice(tmp_path / "device", gateway, "ward:W3")
    device.call("run", "--once", "--layer", "display", "--layer", "original")
    refused = subprocess.run(
        [program("mpacs-device"), "request", made.StudyInstanceUID, "--state", str(device.folder)],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1 and "may not have this layer" in refused.stderr
    assert made.StudyInstanceUID not in refused.stderr
