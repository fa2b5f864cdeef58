"""What comes is what the PACS has: every transfer syntax as it is stored, objects of any size in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

from gateway.management.index import arrivals_read
from gateway.middleware.scp_settings import ScpSettings
from tests.support.broker_process import free_port
from tests.support.gateways import RunningGateway
from tests.support.pacs import Modality, Orthanc
from tests.support.pacs_desk import STUDY, Desk, desk, make_study, settings_of

pytestmark = pytest.mark.peer("Orthanc")
MIXED, LARGE = f"{STUDY}.1", f"{STUDY}.2"
SOURCES = (
    "CT_small.dcm",  # explicit little endian
    "MR_small_RLE.dcm",
    "JPEG-lossy.dcm",  # JPEG Extended
    "SC_rgb_jpeg_gdcm.dcm",  # JPEG Baseline
    "JPEG2000.dcm",  # lossy
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "rtplan.dcm",  # implicit little endian
    "test-SR.dcm",
)
LARGE_BYTES = 96 << 20


def mixed(folder: Path) -> list[Path]:
    """One study of many SOP classes and transfer syntaxes, a series each."""
    folder.mkdir()
    files = []
    for number, name in enumerate(SOURCES, 1):
        data = pydicom.dcmread(str(get_testdata_file(name)))
        data.PatientID, data.PatientName, data.StudyInstanceUID = "P-9", "Mixed", MIXED
        data.SeriesInstanceUID = f"{MIXED}.{number}"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{MIXED}.{number}.1"
        files.append(folder / f"{data.SOPInstanceUID}.dcm")
        data.save_as(files[-1])
    return files


def large(folder: Path) -> Path:
    """One multi-frame secondary capture of 96 MiB."""
    (path,) = make_study(folder, (1,), LARGE)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"
    data.Rows = data.Columns = 1024
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.NumberOfFrames = LARGE_BYTES >> 20
    data.PixelData = bytes(1 << 20) * (LARGE_BYTES >> 20)
    data.save_as(path)
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, int, list[Path]]]:
    folder, port = tmp_path_factory.mktemp("pacs"), free_port()
    with Orthanc(folder / "orthanc", [Modality("MPACS", port)]) as orthanc:
        files = mixed(folder / "mixed")
        orthanc.put(files)
        yield orthanc, port, files


def syntaxes(at: Desk) -> dict[str, str]:
    with at.engine.connect() as connection:
        study = arrivals_read.study(connection, MIXED)
        assert study is not None
        return {row.SOPInstanceUID: row.TransferSyntaxUID for row in arrivals_read.instances_of(connection, study.id)}


@pytest.mark.parametrize("way", ["get", "move", "web"])
def test_every_syntax_comes_as_it_is_stored(tmp_path: Path, site: tuple[Orthanc, int, list[Path]], way: str) -> None:
    orthanc, port, files = site
    intake = ScpSettings(host="127.0.0.1", port=port) if way == "move" else None
    with desk(tmp_path / "state", settings_of(orthanc, way), intake=intake) as at:
        done = at.retrieve(MIXED)
        assert (done.outcome, done.here) == ("complete", len(SOURCES)), done
        stored = {
            path.stem: str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID) for path in files
        }
        assert syntaxes(at) == stored
        if way == "web":  # and byte for byte
            with at.engine.connect() as connection:
                for path in files:
                    row = arrivals_read.instance(connection, path.stem)
                    assert row is not None
                    kept = (at.state.archive / row.path).read_bytes()
                    assert kept == orthanc_file(orthanc, path.stem)


def orthanc_file(orthanc: Orthanc, uid: str) -> bytes:
    import urllib.request

    (found,) = orthanc.rest("/tools/lookup", uid.encode())
    with urllib.request.urlopen(f"http://127.0.0.1:{orthanc.http_port}{found['Path']}/file") as answer:
        return bytes(answer.read())


class Peak:
    """The largest resident set of a process while the body runs, looked at all the time."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.before = self.bytes = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.bytes = max(self.bytes, self._process.memory_info().rss)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("way", [pytest.param("get", marks=pytest.mark.long), "web"])
def test_an_object_of_any_size_takes_bounded_memory(
    tmp_path: Path, site: tuple[Orthanc, int, list[Path]], way: str
) -> None:
    orthanc, port, _ = site
    orthanc.put([large(tmp_path / "large")])
    settings = {"pacs": [settings_of(orthanc, way)], "rendering": {"diagnostic": False}}
    with RunningGateway(tmp_path / "state", settings=settings, dicom_port=port) as gateway:
        gateway.cli("pacs", "echo", "main")
        with Peak(gateway.pids()["pacs"]) as peak:
            done = gateway.cli("pacs", "get", "main", "--study", LARGE, json=True)
        assert (done["outcome"], done["from_pacs"]) == ("complete", 1)
        print(
            f"{way}: {peak.before >> 20} MiB, at most {peak.bytes >> 20} MiB for an object of {LARGE_BYTES >> 20} MiB"
        )
        assert peak.bytes - peak.before < 32 << 20
