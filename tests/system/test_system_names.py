"""Names from modality to device: every character set of pydicom's samples, one declared wrongly, an import."""

from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.data import get_charset_files
from pydicom.uid import generate_uid

from tests.gateway.test_charset import DECLARED, file_with
from tests.gateway.test_import_pictures import pdf
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway


def _samples(folder: Path) -> dict[str, tuple[Path, tuple[str, str, str]]]:
    """Each sample as a study of its own, by StudyInstanceUID; pydicom writes the same encodings again."""
    made = {}
    for path in map(Path, get_charset_files("*.dcm")):
        if path.name in DECLARED:
            dataset = pydicom.dcmread(path)
            dataset.PatientName  # noqa: B018  # decoded, so that it is encoded when it is written
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
                generate_uid() for _ in "123"
            )
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.PatientID = path.stem
            dataset.save_as(folder / path.name)
            made[str(dataset.StudyInstanceUID)] = (folder / path.name, DECLARED[path.name])
    return made


def test_names_come_out_right_at_the_device(
    gateway: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a table in 80 columns folds names
    folder = tmp_path / "files"
    folder.mkdir()
    samples = _samples(folder)
    gateway.store([path for path, _ in samples.values()])
    Image.new("RGB", (60, 40), (200, 30, 40)).save(folder / "사진.jpg")
    (folder / "소견.pdf").write_bytes(pdf())
    gateway.cli("profile", "add", "patient", "P-7", "--name", "Kim^Min Su=金^民秀=김^민수")
    taken = gateway.cli("import", str(folder / "사진.jpg"), str(folder / "소견.pdf"), "--patient", "P-7", json=True)
    assert [one["outcome"] for one in taken] == ["new", "new"]
    wrong_file = file_with(folder, "홍^길동".encode("euc_kr"), "ISO_IR 100")
    assert gateway.cli("import", str(wrong_file), json=True)[0]["outcome"] == "new"
    gateway.wait_studies(len(samples) + 2)
    device = RunningDevice(tmp_path / "device", gateway, "doctor:D1")
    device.call("run", "--once")
    studies = {study["StudyInstanceUID"]: study for study in device.studies()}
    assert len(studies) == len(samples) + 2
    for uid, (path, groups) in samples.items():
        study = studies[uid]
        found = tuple(study.get(f"PatientName{group}", "") for group in ("", "Ideographic", "Phonetic"))
        assert found == groups and not study["CharacterSetGuessed"], path.name
    wrong = studies["1.2.3"]
    assert wrong["PatientName"] == "홍^길동" and wrong["CharacterSetGuessed"]
    mine = studies[taken[0]["StudyInstanceUID"]]
    assert (mine["PatientName"], mine["PatientNamePhonetic"]) == ("Kim^Min Su", "김^민수")
    assert mine["frames"] == 1 and {series["Modality"] for series in mine["series"]} == {"OT", "DOC"}
    table = device.call("studies")
    assert "홍 길동 (?)" in table and "金 民秀" in table
    device.call("export", mine["StudyInstanceUID"], "--to", str(tmp_path / "out"))
    (picture,) = [path for path in (tmp_path / "out").rglob("*.*") if path.suffix in (".jpg", ".png")]
    red, green, _ = Image.open(picture).convert("RGB").getpixel((30, 20))  # type: ignore[misc]  # three samples
    assert red > 180 and green < 60
    for secret in ("사진", "소견", "P-7", "김^민수"):
        assert secret not in gateway.log
