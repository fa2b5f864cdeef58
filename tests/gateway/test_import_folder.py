"""The import folder: complete files are taken, once, whatever is killed when; the others are left or told why not."""

import json
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from gateway.app_import import watch_folder
from gateway.config import Import
from gateway.middleware.importing import drop_folder
from gateway.middleware.importing.drop_folder import DropFolder
from gateway.middleware.importing.importer import Importer
from gateway.middleware.importing.sidecar import Sidecar
from tests.support.broker_process import wait_until
from tests.support.gateways import RunningGateway
from tests.support.import_office import KIM, ImportOffice, import_office

CT = Path(str(get_testdata_file("CT_small.dcm")))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[ImportOffice]:
    with import_office(tmp_path / "state") as made:
        yield made


class Watched:
    """A folder that is looked at when a test says so, on a clock of its own."""

    def __init__(self, office: ImportOffice, root: Path) -> None:
        self.root = root
        self.settled: set[str] = set()
        self.now = 0.0

        def make_importer(said: Sidecar | None) -> Importer:
            return office.importer(None if said is None else KIM)

        self.folder = DropFolder(root, make_importer, self.settled.update, keep_days=1)
        self.folder.look(self.now)

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.now += 1.0
            self.folder.look(self.now)

    def names(self, where: str = "") -> list[str]:
        folder = self.root / where
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def watched(office: ImportOffice, tmp_path: Path) -> Watched:
    return Watched(office, tmp_path / "drop")


def test_a_file_is_taken_when_it_is_complete(watched: Watched, office: ImportOffice) -> None:
    shutil.copy(CT, watched.root / "one")
    watched.look(1)
    assert office.counts() == (0, 0)
    watched.look(1)
    assert office.counts() == (1, 1) and watched.names("done") == ["one"]
    assert (watched.root / "done" / "one").read_bytes() == CT.read_bytes()
    assert watched.settled == {pydicom.dcmread(CT).StudyInstanceUID}
    shutil.copy(CT, watched.root / "one")
    watched.look()
    assert office.counts() == (1, 1) and watched.names("done") == ["one", "one.1"]


def test_a_file_that_is_written_to_is_left_alone(watched: Watched, office: ImportOffice) -> None:
    data = CT.read_bytes()
    with (watched.root / "slow.dcm").open("wb") as file:
        for start in range(0, len(data), 9000):
            file.write(data[start : start + 9000])
            file.flush()
            watched.look(3)
        watched.look(20)
        assert office.counts() == (0, 0) and watched.names("refused") == []
    watched.look()
    assert office.counts() == (1, 1)
    shutil.copy(CT, watched.root / "later.part")
    watched.look(3)
    assert "later.part" in watched.names()
    (watched.root / "later.part").rename(watched.root / "later")
    watched.look()
    assert "later" in watched.names("done")


def test_what_is_refused_has_its_reason_beside_it(watched: Watched, office: ImportOffice) -> None:
    (watched.root / "cut.dcm").write_bytes(CT.read_bytes()[:1000])
    (watched.root / "notes.txt").write_text("notes")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(watched.root / "nobodys.png")
    (watched.root / "bad.png").write_bytes((watched.root / "nobodys.png").read_bytes())
    (watched.root / "bad.png.json").write_text('{"Patient": "P-1"}')
    with zipfile.ZipFile(watched.root / "mixed.zip", "w") as archive:
        archive.write(watched.root / "nobodys.png", "inside.png")
        archive.write(CT, "ct.dcm")
    watched.look()
    assert watched.names("done") == []
    refused = ("bad.png", "cut.dcm", "mixed.zip", "nobodys.png", "notes.txt")
    reasons = {name: (watched.root / "refused" / f"{name}.reason.txt").read_text() for name in refused}
    assert "ends inside" in reasons["cut.dcm"] and "none of DICOM" in reasons["notes.txt"]
    assert "whose" in reasons["nobodys.png"] and "JSON" in reasons["bad.png"]
    assert reasons["mixed.zip"].startswith("inside.png: refused: a PNG, and nothing says whose it is")
    assert watched.names("refused") == sorted([*refused, *(f"{name}.reason.txt" for name in refused)])
    assert office.counts() == (1, 1)


def test_a_sidecar_says_whose_a_picture_is(watched: Watched, office: ImportOffice) -> None:
    (watched.root / "a.png.json").write_text('{"PatientID": "P-1"}')
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(watched.root / "a.png")
    (watched.root / "kim" / "deep").mkdir(parents=True)
    (watched.root / "kim" / "patient.json").write_text('{"PatientID": "P-1"}')
    Image.fromarray(np.ones((9, 9), np.uint8)).save(watched.root / "kim" / "deep" / "b.png")
    # One that was left at the top would make the next picture the wrong patient's.
    (watched.root / "patient.json").write_text('{"PatientID": "P-1"}')
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(watched.root / "c.png")
    watched.look()
    assert watched.names("done") == ["a.png", "a.png.json", "kim/deep/b.png"]
    assert watched.names("refused") == ["c.png", "c.png.reason.txt"]
    assert office.counts() == (2, 2)


def test_links_and_pipes_are_no_files(watched: Watched, office: ImportOffice, tmp_path: Path) -> None:
    shutil.copy(CT, tmp_path / "elsewhere")
    (watched.root / "link").symlink_to(tmp_path / "elsewhere")
    (watched.root / "folder").symlink_to(tmp_path)
    os.mkfifo(watched.root / "pipe")
    watched.look(3)
    assert office.counts() == (0, 0) and (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_read_does_not_stop_the_next(
    watched: Watched, office: ImportOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kind_of(path: Path, name: str = "") -> str:
        if path.name == "a-locked":
            raise PermissionError(13, "Permission denied")
        return real(path, name)

    real = drop_folder.kind_of
    monkeypatch.setattr(drop_folder, "kind_of", kind_of)
    for name in ("a-locked", "b"):
        shutil.copy(CT, watched.root / name)
    watched.look()
    assert watched.names("done") == ["b"] and "a-locked" in watched.names()
    monkeypatch.undo()
    watched.look(12)
    assert watched.names("done") == ["a-locked", "b"] and office.counts() == (1, 1)


def test_done_is_emptied_in_time_and_refused_is_not(watched: Watched) -> None:
    shutil.copy(CT, watched.root / "one")
    (watched.root / "notes.txt").write_text("notes")
    watched.look()
    watched.folder._tidy(time.time() + 3600)
    assert watched.names("done") == ["one"]
    watched.folder._tidy(time.time() + 2 * 86400)
    assert watched.names("done") == [] and len(watched.names("refused")) == 2


def test_no_folder_is_wanted(office: ImportOffice) -> None:
    from gateway import app

    stop = threading.Event()
    settings = Import(folder="")
    state = app.State(office.folder)
    assert watch_folder(settings, state, office.engine, office.admission, office.entrance, stop) is None


def _many(folder: Path, count: int) -> None:
    dataset = pydicom.dcmread(CT)
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number
        dataset.save_as(folder / f"{number}.dcm.part")
        (folder / f"{number}.dcm.part").rename(folder / f"{number}.dcm")


@pytest.mark.long
def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    with RunningGateway(tmp_path / "state") as gateway:
        gateway.cli("profile", "add", "patient", "P-1", "--name", "Kim^Min Su")
        drop = gateway.folder / "import"
        _many(drop, 40)
        (drop / "a.png.json").write_text(json.dumps({"PatientID": "P-1"}))
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(drop / "a.png")
        done = drop / "done"
        for part in (2, 12, 25):
            wait_until(lambda wanted=part: len(list(done.glob("*.dcm"))) >= wanted, 30, "some are taken")
            pid = gateway.kill("intake")
            gateway.wait_part("intake", not_pid=pid)
        wait_until(lambda: len(list(done.iterdir())) == 42, 60, "all are taken")
        studies = gateway.wait_studies(2)
        counts = {study["PatientID"]: study["NumberOfStudyRelatedInstances"] for study in studies}
        assert counts == {"1CT1": 40, "P-1": 1}
        assert not list((drop / "refused").iterdir())
        assert "P-1" not in gateway.log and "a.png" not in gateway.log
