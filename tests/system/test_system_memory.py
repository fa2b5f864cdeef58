"""The gateway's processes together stay under 400 MB while they take in, render and serve."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from benchmarks.layers import mammogram
from benchmarks.studies import Made, real_file
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway

_LIMIT_BYTES = 400 * 1000 * 1000
_EVERY_S = 0.2


@contextmanager
def _peak(gateway: RunningGateway) -> Iterator[list[int]]:
    """Samples of the proportional set size of all processes, while the block runs."""
    samples: list[int] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_EVERY_S):
            samples.append(gateway.pss_bytes())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


@pytest.mark.timeout(180)
def test_a_long_ct(gateway: RunningGateway, ct: Made, tmp_path: Path) -> None:
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device, _peak(gateway) as samples:
        gateway.store(ct.files)
        device.wait_complete(len(ct.files))
    assert len(samples) >= 5
    assert max(samples) < _LIMIT_BYTES, f"{max(samples) / 1e6:.0f} MB"


@pytest.mark.timeout(180)
def test_a_mammogram(gateway: RunningGateway, tmp_path: Path) -> None:
    """Four views of 3,000 x 2,500 pixels, until every layer of them is made."""
    views = mammogram(tmp_path)
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device, _peak(gateway) as samples:
        gateway.store(views.files)
        device.wait_complete(len(views.files))
        gateway.wait_studies(lambda studies: all("diagnostic" in study["layers"] for study in studies))
    assert len(samples) >= 5
    assert max(samples) < _LIMIT_BYTES, f"{max(samples) / 1e6:.0f} MB"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_one_object_of_524_mb(gateway: RunningGateway, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(real_file("693_UNCR.dcm"))
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    dataset.NumberOfFrames = 1000
    dataset.PixelData = dataset.PixelData * 1000
    path = tmp_path / "large.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert path.stat().st_size > 524_000_000
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device, _peak(gateway) as samples:
        gateway.store([path])
        device.wait_complete(1000, timeout_s=400)
    assert max(samples) < _LIMIT_BYTES, f"{max(samples) / 1e6:.0f} MB"
