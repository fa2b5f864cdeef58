"""Pictures and documents from a device to the PACS: over links that are cut, restarts, and to nobody who may not."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.studies import LEE
from tests.support.broker_process import free_port, wait_until
from tests.support.cutting import CuttingProxy
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway, program
from tests.support.pacs import Modality, Orthanc
from tests.support.pacs_desk import make_study
from tests.support.reports import pdf

pytestmark = [pytest.mark.peer("Orthanc"), pytest.mark.timeout(300)]

PHOTO = "1.2.840.10008.5.1.4.1.1.77.1.4"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """It knows where the gateway is, and so whom to tell what it keeps."""
    known = [Modality("MPACS", free_port())]
    with Orthanc(tmp_path_factory.mktemp("pacs") / "orthanc", known) as running:
        running.gateway_port = known[0].port  # type: ignore[attr-defined]
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[RunningGateway]:
    pacs = {"name": "main", "aet": orthanc.aet, "host": "127.0.0.1", "port": orthanc.port, "via": "get"}
    settings: dict[str, Any] = {
        "delivery": {"settle_s": 0.5, "head_s": 3.0},
        "pacs": [pacs],
        "uploads": {"pacs": "main"},
    }
    folder = tmp_path_factory.mktemp("core") / "state"
    with RunningGateway(folder, settings=settings, dicom_port=orthanc.gateway_port) as running:  # type: ignore[attr-defined]
        running.cli("profile", "add", "patient", LEE.identifier, "--name", LEE.name)
        running.cli("profile", "add", "doctor", "D-1", "--name", "이^의사", "--attends", LEE.identifier)
        running.cli("profile", "add", "doctor", "D-2")
        yield running


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 MB of JPEG: noise, since that does not compress."""
    path = tmp_path_factory.mktemp("photo") / "foot.jpg"
    noise = np.random.default_rng(7).integers(0, 256, (3000, 3200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=96)
    assert path.stat().st_size > 12_000_000
    return path


def in_pacs(orthanc: Orthanc, uid: str) -> list[str]:
    found: list[str] = orthanc.rest("/tools/lookup", uid.encode(), "POST")
    return [one["ID"] for one in found if one["Type"] == "Instance"]  # type: ignore[index]


def is_confirmed(gateway: RunningGateway, uid: str) -> bool:
    return any(
        one["SOPInstanceUID"] == uid and one["state"] == "confirmed" for one in gateway.cli("uploads", json=True)
    )


def refused(device: RunningDevice, *arguments: str) -> str:
    done = subprocess.run(
        [program("mpacs-device"), *arguments, "--state", str(device.folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done
    return done.stderr


def check_in_pacs(orthanc: Orthanc, uid: str, sop_class: str, to: Path) -> None:
    """Right patient and class, and without an error of dciodvfy."""
    (instance,) = in_pacs(orthanc, uid)
    tags = orthanc.rest(f"/instances/{instance}/simplified-tags")
    assert tags["PatientID"] == LEE.identifier
    assert tags["SOPClassUID"] == sop_class
    path = to / f"{instance}.dcm"
    path.write_bytes(orthanc.rest_bytes(f"/instances/{instance}/file"))
    said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True).stderr
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


@pytest.mark.peer("dciodvfy")
def test_a_photo_and_a_pdf_over_a_link_that_is_cut_twice(
    gateway: RunningGateway, orthanc: Orthanc, photo: Path, tmp_path: Path
) -> None:
    """They arrive in Orthanc, once, as the patient's, and come back to the doctor's device as any study does."""
    with CuttingProxy(gateway.mqtt_port, [3_000_000, 4_000_000]) as proxy:
        device = RunningDevice(tmp_path / "device", gateway, "doctor:D-1", through_port=proxy.port)
        with device:
            wait_until(lambda: (device.folder / "control.sock").exists(), 30, "the device's process")
            sent = json.loads(device.call("send", str(photo), "--patient", LEE.identifier, "--description", "왼쪽 발",
                                          "--json"))  # fmt: skip
            assert proxy.made == 2
            uid = sent["SOPInstanceUID"]
            wait_until(lambda: is_confirmed(gateway, uid), 60, "the PACS keeps the photo")
            assert "a PACS keeps 1 of 1 instances" in gateway.log
            noted = [
                one["event"]
                for one in gateway.cli("audit", "show", json=True)
                if one.get("study") == sent["StudyInstanceUID"]
            ]
            assert {"uploaded", "forwarded"} <= set(noted)
            check_in_pacs(orthanc, uid, PHOTO, tmp_path)
            # The same again is the same instance, and nothing is sent.
            again = device.call("send", str(photo), "--patient", LEE.identifier, "--description", "왼쪽 발", "--json")
            assert json.loads(again) == sent
            paper = tmp_path / "letter.pdf"
            paper.write_bytes(pdf())
            study = sent["StudyInstanceUID"]
            added = json.loads(device.call("send", str(paper), "--patient", LEE.identifier, "--study", study, "--json"))
            assert added["StudyInstanceUID"] == study
            wait_until(lambda: is_confirmed(gateway, added["SOPInstanceUID"]), 60, "the PACS has the PDF")
            check_in_pacs(orthanc, added["SOPInstanceUID"], PDF, tmp_path)
            assert device.wait_complete(1)["StudyInstanceUID"] == study
    assert not list((gateway.folder / "uploads").iterdir())


@pytest.mark.long
def test_restarts_cost_nothing_that_was_there(
    gateway: RunningGateway, orthanc: Orthanc, photo: Path, tmp_path: Path
) -> None:
    """The gateway's core and the device are killed in the middle; the same command goes on."""
    device = RunningDevice(tmp_path / "device", gateway, "doctor:D-1")
    mine = tmp_path / "other.jpg"
    mine.write_bytes(photo.read_bytes() + b"\0" * 16)
    command = [program("mpacs-device"), "send", str(mine), "--patient", LEE.identifier, "--state", str(device.folder)]
    folder = gateway.folder / "uploads"

    def received() -> int:
        return sum(path.stat().st_blocks * 512 for path in folder.glob("*.part")) if folder.exists() else 0

    first = subprocess.Popen(command)
    wait_until(lambda: received() > 2_000_000 or first.poll() is not None, 60, "a part of it is there")
    first.kill()
    first.wait()
    assert received() > 0, "it was quicker than the test"
    gateway.kill("core")
    sent = json.loads(device.call("send", str(mine), "--patient", LEE.identifier, "--json"))
    wait_until(lambda: is_confirmed(gateway, sent["SOPInstanceUID"]), 60, "the PACS has it")


def test_nothing_for_whom_one_does_not_attend(gateway: RunningGateway, photo: Path, tmp_path: Path) -> None:
    """Neither for another's patient nor for nobody; a file that is none is refused, and leaves nothing."""
    other = RunningDevice(tmp_path / "other", gateway, "doctor:D-2")
    assert "may not send" in refused(other, "send", str(photo), "--patient", LEE.identifier)
    device = RunningDevice(tmp_path / "device", gateway, "doctor:D-1")
    assert "may not send" in refused(device, "send", str(photo), "--patient", "NOBODY")
    assert "may not send" in refused(device, "send", str(photo), "--patient", LEE.identifier, "--study", "1.2.3")
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    assert "only JPEG" in refused(device, "send", str(text), "--patient", LEE.identifier)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0" + bytes(5000))
    assert "cannot read" in refused(device, "send", str(broken), "--patient", LEE.identifier)
    (others,) = make_study(tmp_path / "dicom", (1,), patient="P-OTHER")
    assert "of another patient" in refused(device, "send", str(others), "--patient", LEE.identifier)
    assert not list((gateway.folder / "uploads").iterdir())
