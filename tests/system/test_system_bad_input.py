"""Bad input has its outcome, nothing is lost, and the next study is served."""

import os
import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from benchmarks.studies import Made, long_ct
from tests.support.brokers import wait_until
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway


def _storescu(port: int, *files: Path) -> int:
    done = subprocess.run(
        ["storescu", "-R", "-aec", "MPACS", "127.0.0.1", str(port), *map(str, files)],
        capture_output=True,
        env={**os.environ, "TCP_NODELAY": "1"},
        timeout=60,
    )
    return done.returncode


def _variant(folder: Path, made: Made, name: str, **changes: str) -> Path:
    dataset = pydicom.dcmread(made.files[0])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (generate_uid() for _ in range(3))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    path = folder / name
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.peer("dcmtk")
def test_bad_files_are_refused_and_the_next_study_is_served(gateway: RunningGateway, tmp_path: Path) -> None:
    folder = tmp_path / "dicom"
    folder.mkdir()
    good = long_ct(folder, 3, title="good")
    odd = _variant(folder, good, "odd.dcm", PatientID="a/+#b", PatientName="Odd^Name")
    unknown = _variant(folder, good, "unknown.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.99999.1")
    traversal = folder / "traversal.dcm"
    uid = str(pydicom.dcmread(good.files[0]).StudyInstanceUID).encode()
    traversal.write_bytes(good.files[0].read_bytes().replace(uid, (b"../" * 30)[: len(uid)], 1))
    truncated = folder / "truncated.dcm"
    truncated.write_bytes(odd.read_bytes()[:-200_000])
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
        for bad in (traversal, truncated, unknown, odd):
            _storescu(gateway.dicom_port, bad)
        assert _storescu(gateway.dicom_port, *good.files) == 0
        found = device.wait_complete(3)
        assert found["StudyInstanceUID"] == good.StudyInstanceUID
        identifiers = {study["PatientID"] for study in gateway.wait_studies(2)}
    assert "a/+#b" in identifiers
    assert not [path for path in tmp_path.rglob("*") if ".." in path.name]
    gateway.wait_healthy()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)]).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (tmp_path / "dicom").mkdir()
        made = long_ct(tmp_path / "dicom", 40, title="full")
        with RunningGateway(small / "gateway") as gateway:
            gateway.cli("profile", "add", "doctor", "D1", "--attends", "*")
            ballast = small / "ballast"
            free = shutil.disk_usage(small).free
            ballast.write_bytes(bytes(free - 6_000_000))
            with pytest.raises(AssertionError):
                gateway.store(made.files)
            ballast.unlink()
            gateway.store(made.files)
            study = gateway.wait_studies(1, timeout_s=90)[0]
            assert study["NumberOfStudyRelatedInstances"] == 40
            assert study["layers"]["display"]["frames"] == 40
            gateway.wait_healthy()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_disk_that_was_full_while_rendering_and_grows_is_used_again(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)]).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (tmp_path / "dicom").mkdir()
        made = long_ct(tmp_path / "dicom", 40, title="grows")
        with RunningGateway(small / "gateway") as gateway:
            gateway.cli("profile", "add", "doctor", "D1", "--attends", "*")
            with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
                device.wait_line("connected")
                # Room for what is stored, and hardly any for what is made of it.
                stored = sum(path.stat().st_size for path in made.files)
                (small / "ballast").write_bytes(bytes(shutil.disk_usage(small).free - stored - 8_000_000))
                gateway.store(made.files)
                wait_until(lambda: "No space left" in gateway.log, 60, "the gateway says that the disk is full")
                subprocess.run(["mount", "-o", "remount,size=256m", str(small)], check=True)
                assert device.wait_complete(40)["current"]
            gateway.wait_healthy()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.peer("dcmtk")
def test_a_padded_uid_is_served_and_a_conflict_is_reported(gateway: RunningGateway, tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    good = long_ct(tmp_path / "dicom", 1, title="padded")
    padded = pydicom.dcmread(good.files[0])
    padded.SOPInstanceUID = padded.file_meta.MediaStorageSOPInstanceUID = "1.2.03.4"
    padded.save_as(tmp_path / "dicom" / "padded.dcm", enforce_file_format=True)
    other = pydicom.dcmread(good.files[0])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(tmp_path / "dicom" / "other.dcm", enforce_file_format=True)
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
        for path in (good.files[0], tmp_path / "dicom" / "padded.dcm", tmp_path / "dicom" / "other.dcm"):
            assert _storescu(gateway.dicom_port, path) == 0
        device.wait_complete(2)
        device.call("export", good.StudyInstanceUID, "--to", str(tmp_path / "out"))
    assert {path.stem for path in (tmp_path / "out").glob("*/1.2.03.4.*")} == {"1.2.03.4"}
    assert [row["reason"] for row in gateway.cli("quarantine", "list", json=True)] == ["conflict-bytes"]
    assert "kept apart" in gateway.log
    gateway.wait_healthy()
