"""A study through the whole system by the commands of a user, and nothing of it where it must not be."""

import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from benchmarks.studies import HONG, Made, long_ct
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway

_ACCESSION = "ACCNR77421"
_LOCATION = "Zimmer99"


@contextmanager
def _capture(path: Path, port: int) -> Iterator[None]:
    """Every byte that crosses loopback to or from ``port``, by tcpdump."""
    command = ["tcpdump", "-i", "lo", "-U", "-s", "0", "-w", str(path), "tcp", "port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "listening on" in line:
            break
    yield
    process.terminate()
    process.wait(20)


def _mark(dataset: pydicom.Dataset) -> None:
    dataset.AccessionNumber = _ACCESSION
    dataset.CurrentPatientLocation = _LOCATION


def _secrets(made: Made) -> dict[str, bytes]:
    """Everything that may stand nowhere but sealed, in the spellings in which it could leak."""
    first = pydicom.dcmread(made.files[0])
    middle = pydicom.dcmread(made.files[len(made.files) // 2])
    row = middle.pixel_array[middle.Rows // 2].tobytes()
    pixels = row[len(row) // 2 - 32 : len(row) // 2 + 32]
    assert len(set(pixels)) > 8, "not a telling row of pixels"
    return {
        "patient's name": b"Gildong",
        "Korean name, UTF-8": "길동".encode(),
        "Korean name, EUC-KR": "길동".encode("euc-kr"),
        "PatientID": HONG.identifier.encode(),
        "AccessionNumber": _ACCESSION.encode(),
        "location": _LOCATION.encode(),
        "doctor's name": b"Minsu",
        "StudyInstanceUID": made.StudyInstanceUID.encode(),
        "SeriesInstanceUID": str(first.SeriesInstanceUID).encode(),
        "SOPInstanceUID": str(middle.SOPInstanceUID).encode(),
        "pixels": pixels,
    }


def _names(root: Path) -> bytes:
    return "\n".join(str(path.relative_to(root)) for path in root.rglob("*")).encode()


@pytest.mark.peer("dcmtk")
@pytest.mark.peer("tcpdump")
@pytest.mark.skipif(os.geteuid() != 0, reason="a capture needs root")
def test_nothing_leaks_on_the_way_of_a_study(gateway: RunningGateway, tmp_path: Path) -> None:
    gateway.cli("profile", "add", "patient", HONG.identifier, "--name", HONG.name)
    gateway.cli("profile", "add", "ward", _LOCATION)
    (tmp_path / "dicom").mkdir()
    made = long_ct(tmp_path / "dicom", 24, title="secret", change=_mark)
    capture = tmp_path / "capture"
    with (
        _capture(capture, gateway.mqtt_port),
        RunningDevice(tmp_path / "doctor", gateway, "doctor:D1") as doctor,
        RunningDevice(tmp_path / "ward", gateway, f"ward:{_LOCATION}") as ward,
        RunningDevice(tmp_path / "patient", gateway, f"patient:{HONG.identifier}") as patient,
    ):
        gateway.store(made.files)
        devices = [doctor, ward, patient]
        studies = [device.wait_complete(24) for device in devices]
        doctor.call("export", made.StudyInstanceUID, "--to", str(tmp_path / "out"))
    assert {study["StudyInstanceUID"] for study in studies} == {made.StudyInstanceUID}
    places = {
        "traffic": capture.read_bytes(),
        "gateway's log": gateway.log.encode(),
        "gateway's file names": _names(gateway.folder),
        "broker's files": b"".join(p.read_bytes() for p in (gateway.folder / "broker").iterdir() if p.is_file()),
    }
    assert len(places["traffic"]) > 100_000, "the capture is empty"
    for device in devices:
        places[f"log of {device.folder.name}"] = device.log.encode()
        places[f"file names of {device.folder.name}"] = _names(device.folder)
        # At rest everything is ciphertext too.
        stored = (path.read_bytes() for path in device.folder.rglob("*") if path.is_file())
        places[f"files of {device.folder.name}"] = b"".join(stored)
    secrets = _secrets(made)
    secrets["a picture"] = _a_picture(tmp_path / "out")
    found = [(secret, place) for place, data in places.items() for secret, text in secrets.items() if text in data]
    assert found == []


def _a_picture(folder: Path) -> bytes:
    data = max((p for p in folder.rglob("*") if p.suffix in {".jpg", ".png"}), key=lambda p: p.stat().st_size)
    return data.read_bytes()[1000:1064]


@pytest.mark.peer("dcmtk")
def test_exported_pictures_are_what_dcmtk_renders(gateway: RunningGateway, tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    made = long_ct(tmp_path / "dicom", 12, title="oracle")
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
        gateway.store(made.files)
        device.wait_complete(12)
        device.call("export", made.StudyInstanceUID, "--to", str(tmp_path / "out"))
    exported = {path.stem: path for path in (tmp_path / "out").rglob("*") if path.suffix in {".jpg", ".png"}}
    assert len(exported) == 12
    for source in made.files:
        uid = str(pydicom.dcmread(source, stop_before_pixels=True).SOPInstanceUID)
        wanted = _dcmtk(source)
        got = np.asarray(Image.open(exported[uid]).convert("L"), dtype=np.float64)
        assert got.shape == wanted.shape
        error = float(np.mean((got - wanted) ** 2))
        assert error == 0 or 10 * np.log10(255**2 / error) >= 40, f"{exported[uid].suffix} of slice {source.name}"
    patient = json.loads((tmp_path / "out" / "patient.json").read_text())
    assert patient["00100010"]["Value"][0]["Alphabetic"] == "Hong^Gildong"


def _dcmtk(source: Path) -> np.ndarray:
    """8-bit grey by dcmj2pnm with the file's own first window."""
    program = shutil.which("dcmj2pnm")
    assert program is not None
    done = subprocess.run([program, "+Wi", "1", str(source)], capture_output=True, check=True)
    return np.asarray(Image.open(io.BytesIO(done.stdout)).convert("L"), dtype=np.float64)
