"""A PACS that falls in mid-fetch: what came is known to be a part, and a device's plain request brings the rest."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.studies import LEE, long_ct
from tests.support.broker_process import free_port, wait_until
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway, program
from tests.support.pacs import Modality, Orthanc
from tests.support.pacs_desk import settings_of

SLICES = 60


@pytest.mark.long
@pytest.mark.peer("Orthanc")
@pytest.mark.timeout(300)
def test_what_a_cut_fetch_left_out_comes_when_a_device_asks(tmp_path: Path) -> None:
    made, port = long_ct(tmp_path, SLICES, LEE, "cut"), free_port()
    with Orthanc(tmp_path / "orthanc", [Modality("MPACS", port)]) as pacs:
        pacs.put(made.files)
        settings = {"delivery": {"settle_s": 0.5, "head_s": 3.0}, "pacs": [settings_of(pacs, "get")]}
        with RunningGateway(tmp_path / "state", settings=settings, dicom_port=port) as gateway:
            gateway.cli("profile", "add", "doctor", "D-1", "--attends", "*")
            archive = gateway.folder / "archive"
            getting = subprocess.Popen(
                [program("mpacs-gateway"), "pacs", "get", "main", "--study", made.StudyInstanceUID,
                 "--state", str(gateway.folder)],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            wait_until(lambda: len(list(archive.rglob("*.dcm"))) >= 5, 30, "the first slices are here")
            pacs.kill()
            _, said = getting.communicate(timeout=60)
            assert getting.returncode == 1 and f"of {SLICES} instances are missing" in said
            (part,) = gateway.cli("studies", json=True)
            assert part["incomplete"] and part["NumberOfStudyRelatedInstances"] < SLICES
            with RunningDevice(tmp_path / "device", gateway, "doctor:D-1") as device:
                wait_until(lambda: [one["settled"] for one in device.studies()] == [True], 60, "the part")
                pacs.start()
                device.call("request", made.StudyInstanceUID)
                wait_until(lambda: device.studies()[0]["frames"] == SLICES, 90, "the rest")

                def is_whole() -> bool:
                    layers = [one["layers"].get("original", {}) for one in device.studies()[0]["series"]]
                    return all(one.get("complete") for one in layers)

                wait_until(is_whole, 90, "the DICOM files")
                device.call("export", made.StudyInstanceUID, "--to", str(tmp_path / "out"), "--layer", "original")
            assert len(list((tmp_path / "out").rglob("*.dcm"))) == SLICES
            (whole,) = gateway.cli("studies", json=True)
            assert not whole["incomplete"]
