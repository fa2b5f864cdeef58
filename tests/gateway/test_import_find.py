"""Folders, media and ZIPs: all that is DICOM is taken once, and no archive leads anywhere or fills anything."""

import io
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from gateway.cli import main
from gateway.management.subjects import SubjectRefusedError
from gateway.middleware.importing.importer import Outcome, Report
from gateway.middleware.importing.subject import Subject, Wishes, WishRefusedError
from gateway.middleware.importing.unzip import ZipLimits
from tests.support.import_office import KIM, ImportOffice, import_office

NAMES = ("CT_small.dcm", "MR_small.dcm", "examples_palette.dcm", "reportsi.dcm")


def sample(name: str) -> Path:
    path = get_testdata_file(name)
    assert path
    return Path(path)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[ImportOffice]:
    with import_office(tmp_path / "state") as made:
        yield made
        assert not made.left_over()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some DICOM files in folders, and what lies about in such places."""
    root = tmp_path / "set"
    for number, name in enumerate(NAMES):
        (root / f"S{number}").mkdir(parents=True)
        shutil.copy(sample(name), root / f"S{number}" / f"IM{number:06d}")
    (root / "README.TXT").write_text("how to use the viewer")
    (root / ".DS_Store").write_bytes(b"\0")
    (root / "empty.dat").touch()
    return root


def outcomes(reports: list[Report]) -> list[tuple[str, str]]:
    return [(report.name.rpartition("/")[2], report.outcome.value) for report in reports]


def test_a_folder_is_taken_and_what_is_no_dicom_passed_over(office: ImportOffice, folder: Path) -> None:
    reports = office.take(folder)
    assert outcomes(reports) == [
        ("README.TXT", "skipped"),
        ("empty.dat", "skipped"),
        *((f"IM{number:06d}", "new") for number in range(4)),
    ]
    assert office.counts() == (4, 4)
    again = office.take(folder)
    assert [report.outcome for report in again] == [Outcome.SKIPPED] * 2 + [Outcome.KNOWN] * 4
    assert office.counts() == (4, 4)
    for report in reports[2:]:
        (uid,) = report.instances
        assert office.path(uid).read_bytes() == Path(report.name).read_bytes()


def test_a_broken_file_costs_itself_alone(office: ImportOffice, folder: Path) -> None:
    cut = folder / "S0" / "IM000000"
    cut.write_bytes(cut.read_bytes()[:900])
    (folder / "S1" / "noise.dcm").write_bytes(b"no DICOM at all")
    (folder / "loop").symlink_to(folder)
    reports = {report.name.rpartition("/")[2]: report for report in office.take(folder)}
    assert reports["IM000000"].outcome is Outcome.REFUSED and "ends inside" in reports["IM000000"].detail
    assert reports["noise.dcm"].outcome is Outcome.REFUSED
    assert office.counts() == (3, 3) and sorted(office.quarantined()) == ["truncated", "unreadable"]
    (alone,) = office.take(folder / "README.TXT")
    assert alone.outcome is Outcome.REFUSED


def test_a_medium_is_followed(office: ImportOffice, tmp_path: Path) -> None:
    fileset = FileSet()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        fileset.add(sample(name))
    fileset.write(tmp_path / "cd")
    files = [path for path in (tmp_path / "cd").rglob("*") if path.is_file() and path.name != "DICOMDIR"]
    shutil.copy(sample("examples_palette.dcm"), tmp_path / "cd" / "BESIDE")
    (tmp_path / "cd" / "VIEWER").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "cd" / "VIEWER" / "icon.png")
    reports = office.take(tmp_path / "cd" / "DICOMDIR", subject=None)
    assert [report.outcome.value for report in reports].count("new") == 3
    assert next(report for report in reports if report.name.endswith("DICOMDIR")).detail.startswith("all 2 files")
    # Also where a patient is named, a viewer's icon does not become that patient's picture.
    mine = office.take(tmp_path / "cd", subject=KIM)
    assert next(report for report in mine if report.name.endswith("icon.png")).outcome is Outcome.SKIPPED
    files[0].unlink()
    for path in (tmp_path / "cd" / "DICOMDIR", tmp_path / "cd"):
        lacking = [report for report in office.take(path) if report.outcome is Outcome.REFUSED]
        assert [report.detail for report in lacking] == ["1 of the 2 files that it names are not there"]


def test_a_medium_in_small_letters_and_one_that_leads_out(office: ImportOffice, tmp_path: Path) -> None:
    fileset = FileSet()
    fileset.add(sample("CT_small.dcm"))
    fileset.write(tmp_path / "cd")
    for path in sorted((tmp_path / "cd").rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    assert "all 1 files" in str(office.take(tmp_path / "cd"))
    directory = pydicom.dcmread(tmp_path / "cd" / "dicomdir")
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "SET", "OUTSIDE"]
    (tmp_path / "SET").mkdir()
    shutil.copy(sample("MR_small.dcm"), tmp_path / "SET" / "OUTSIDE")
    directory.save_as(tmp_path / "cd" / "dicomdir")
    reports = office.take(tmp_path / "cd")
    assert "1 of the 1 files" in str(reports) and office.counts() == (1, 1)


@pytest.mark.corpus
def test_damaged_directories_of_the_corpus_stop_nothing(office: ImportOffice, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((Path(os.environ["MPACS_CORPUS"]) / "dicomdir").iterdir())):
        (tmp_path / f"cd{number}").mkdir()
        shutil.copy(path, tmp_path / f"cd{number}" / "DICOMDIR")
        shutil.copy(sample("CT_small.dcm"), tmp_path / f"cd{number}" / "IMAGE")
        reports = office.take(tmp_path / f"cd{number}")
        assert next(report.outcome for report in reports if report.name.endswith("IMAGE")) in ("new", "known")


# ── ZIPs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_taken_wherever_its_names_lead(office: ImportOffice, tmp_path: Path) -> None:
    outside = {path for path in tmp_path.rglob("*") if tmp_path / "state" not in path.parents}
    names = ["../../../up.dcm", "/tmp/absolute.dcm", "C:\\windows\\x.dcm", "a/./b/../c.dcm"]
    path = zipped(tmp_path / "a.zip", {name: sample(NAMES[n]).read_bytes() for n, name in enumerate(names)})
    reports = office.take(path)
    assert [report.outcome for report in reports] == [Outcome.NEW] * 4
    assert {one for one in tmp_path.rglob("*") if tmp_path / "state" not in one.parents} == outside | {path}
    assert not Path("/tmp/absolute.dcm").exists()


def test_pictures_in_a_zip_are_refused_where_nobody_says_whose_they_are(office: ImportOffice, tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.full((9, 9), 5, np.uint8)).save(picture, "PNG")
    entries = {
        "a.png": picture.getvalue(),
        "b.pdf": b"%PDF-1.4",
        "c.dcm": sample(NAMES[0]).read_bytes(),
        "r.txt": b"read me",
    }
    path = zipped(tmp_path / "mixed.zip", entries)
    reports = {report.name.rpartition("!")[2]: report for report in office.take(path)}
    assert {name: report.outcome.value for name, report in reports.items()} == {
        "a.png": "refused",
        "b.pdf": "refused",
        "c.dcm": "new",
        "r.txt": "skipped",
    }
    assert "name the patient" in reports["a.png"].detail and "PDF" in reports["b.pdf"].detail
    (taken,) = office.take(zipped(tmp_path / "one.zip", {"a.png": entries["a.png"]}), subject=KIM)
    assert taken.outcome is Outcome.NEW
    for zipped_file, said in (
        ("one.zip", "1 refused; nothing was taken"),
        ("mixed.zip", "2 refused; the rest was taken"),
    ):
        result = CliRunner().invoke(main, ["import", "--state", str(office.folder), str(tmp_path / zipped_file)])
        assert result.exit_code == 1 and said in result.stderr
    result = CliRunner().invoke(main, ["import", "--state", str(office.folder), str(zipped(tmp_path / "0.zip", {}))])
    assert result.exit_code == 1 and "nothing was taken" in result.stderr


def test_zips_in_zips_to_a_depth(office: ImportOffice, tmp_path: Path) -> None:
    inner = zipped(tmp_path / "0.zip", {"one.dcm": sample(NAMES[0]).read_bytes()}).read_bytes()
    middle = zipped(tmp_path / "1.zip", {"inner.zip": inner}).read_bytes()
    outer = zipped(tmp_path / "2.zip", {"middle.zip": middle, "two.dcm": sample(NAMES[1]).read_bytes()})
    assert [report.outcome for report in office.take(tmp_path / "1.zip")] == [Outcome.NEW]
    reports = office.take(outer)
    assert {report.name.rpartition("!")[2]: report.outcome.value for report in reports} == {
        "inner.zip": "refused",
        "two.dcm": "new",
    }


def test_bombs_are_refused_and_the_rest_is_taken(office: ImportOffice, tmp_path: Path) -> None:
    good = sample(NAMES[0]).read_bytes()
    path = zipped(tmp_path / "bomb.zip", {"a-bomb.dcm": bytes(200 << 20), "good.dcm": good})
    importer = office.importer()
    importer._finder._limits = ZipLimits(free_bytes=1 << 20)
    reports = list(importer.take([path]))
    assert {r.name.rpartition("!")[2]: (r.outcome.value, r.detail) for r in reports} == {
        "a-bomb.dcm": ("refused", "it inflates beyond all measure"),
        "good.dcm": ("new", ""),
    }


def test_entries_that_share_their_bytes_count_each_time(office: ImportOffice, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"{n}.dcm": bytes(900 << 10) for n in range(20)})
    importer = office.importer()
    importer._finder._limits = ZipLimits(free_bytes=2 << 20, ratio=10)
    details = [report.detail for report in importer.take([path])]
    assert details.count("it inflates beyond all measure") >= 17


def test_damaged_and_locked_zips(office: ImportOffice, tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", {"one.dcm": sample(NAMES[0]).read_bytes()}).read_bytes()
    cut, garbled, locked, huge = (tmp_path / f"{name}.zip" for name in ("cut", "garbled", "locked", "huge"))
    cut.write_bytes(whole[: len(whole) // 2])
    garbled.write_bytes(whole[:200] + bytes(300) + whole[500:])
    flagged = bytearray(whole)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        flagged[whole.index(signature) + at] |= 1
    locked.write_bytes(bytes(flagged))
    end = whole.rindex(b"PK\x05\x06")
    huge.write_bytes(whole[: end + 12] + struct.pack("<I", 1 << 31) + whole[end + 16 :])
    expected = {cut: "damaged", garbled: "damaged", locked: "encrypted", huge: "too large"}
    for path, word in expected.items():
        (report,) = office.take(path)
        assert report.outcome is Outcome.REFUSED and word in report.detail, (path.name, report)
    zipped(tmp_path / "lzma.zip", {"one.dcm": b"x" * 999}, zipfile.ZIP_LZMA)
    assert "neither stored nor deflated" in office.take(tmp_path / "lzma.zip")[0].detail
    (tmp_path / "none.zip").write_bytes(_empty_zip())
    assert office.take(tmp_path / "none.zip") == []


def _empty_zip() -> bytes:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


def test_a_zip_cut_at_every_length_never_raises(office: ImportOffice, tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", {"one.txt": b"text", "two.txt": b"more"}).read_bytes()
    path = tmp_path / "cut.zip"
    for length in range(4, len(whole)):
        path.write_bytes(whole[:length])
        assert all(report.outcome in (Outcome.REFUSED, Outcome.SKIPPED) for report in office.take(path))


# ── whose ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_patient_and_study_belong_together(office: ImportOffice, folder: Path, tmp_path: Path) -> None:
    office.take(folder)
    ct = pydicom.dcmread(sample("CT_small.dcm"))
    mine = office.subject(study=ct.StudyInstanceUID)
    assert (mine.PatientID, mine.PatientName) == (ct.PatientID, str(ct.PatientName))
    assert mine.study["StudyDate"] == ct.StudyDate
    assert office.subject(patient=ct.PatientID).StudyInstanceUID == ""
    for arguments in (
        {"patient": "4MR1", "study": ct.StudyInstanceUID},
        {"study": "1.2.3"},
        {"study": "no uid"},
        {"patient": "nobody"},
        {"patient": ct.PatientID, "name": "Somebody^Else"},
        {},
    ):
        with pytest.raises(SubjectRefusedError):
            office.subject(**arguments)
    assert office.subject(patient="new", name="김^민수").PatientName == "김^민수"
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(picture)
    (report,) = office.take(picture, subject=mine)
    made = office.dataset(report.instances[0])
    assert made.StudyInstanceUID == ct.StudyInstanceUID and made.StudyDate == ct.StudyDate
    assert [report.outcome for report in office.take(folder / "S1", subject=mine)] == [Outcome.REFUSED]
    other = Subject(ct.PatientID, StudyInstanceUID="1.2.3")
    assert "StudyInstanceUID" in office.take(folder / "S0", subject=other)[0].detail
    (nobodys,) = office.take(picture)
    assert nobodys.outcome is Outcome.REFUSED and "whose" in nobodys.detail


def test_a_patient_may_be_named_with_the_issuer(office: ImportOffice, tmp_path: Path) -> None:
    for issuer in ("A", "B"):
        data = pydicom.dcmread(sample("CT_small.dcm"))
        data.PatientID, data.IssuerOfPatientID, data.PatientName = "P-7", issuer, f"Hong^{issuer}"
        data.StudyInstanceUID, data.SOPInstanceUID = f"1.2.{ord(issuer)}", f"1.2.{ord(issuer)}.1"
        data.save_as(tmp_path / f"{issuer}.dcm", enforce_file_format=True)
        office.take(tmp_path / f"{issuer}.dcm")
    for named in ({"patient": "P-7^^^B"}, {"patient": "P-7", "issuer": "B"}, {"patient": "P-7^^^B", "issuer": "B"}):
        found = office.subject(**named)
        assert (found.PatientID, found.IssuerOfPatientID, found.PatientName) == ("P-7", "B", "Hong^B")
    assert office.subject(patient="P-7^^^B", study="1.2.66").IssuerOfPatientID == "B"
    new = office.subject(patient="P-8^^^C", name="Kim^A")
    assert (new.PatientID, new.IssuerOfPatientID) == ("P-8", "C")
    for wrong in (
        {"patient": "P-7"},
        {"patient": "P-7^^^C"},
        {"patient": "P-7^^^B", "issuer": "A"},
        {"patient": "P-7^^^A", "study": "1.2.66"},
    ):
        with pytest.raises(SubjectRefusedError):
            office.subject(**wrong)


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"patient": "1" * 65}, "65 characters"),
        ({"patient": "1^^^" + "I" * 65}, "issuer"),
        ({"patient": "a\\b"}, "backslash"),
        ({"name": "a" * 65}, "65 characters"),
        ({"name": "a=b=c=d"}, "component groups"),
        ({"name": "a^b^c^d^e^f"}, "components"),
        ({"name": "^^="}, "separators"),
        ({"name": "Hong\x1b$)C^Gildong"}, "control"),
        ({"name": "Hong\udcb1"}, "no text"),
        ({"description": "d" * 65}, "65 characters"),
        ({"description": "a\nb"}, "control"),
        ({"description": "a\\b"}, "backslash"),
        ({"modality": "xc"}, "capitals"),
        ({"modality": "PHOTO"}, "none that DICOM defines"),
        ({"modality": "X" * 17}, "none that DICOM defines"),
    ],
)
def test_what_dicom_cannot_hold_is_refused_before_a_file_is_touched(
    office: ImportOffice, stated: dict[str, str], why: str
) -> None:
    with pytest.raises((SubjectRefusedError, WishRefusedError)) as caught:
        office.subject(stated.get("patient", "P-9"), name=stated.get("name", "Hong^Gildong"))
        Wishes(stated.get("description", ""), stated.get("modality", ""))
    assert why in str(caught.value)
    assert not any(len(value) > 2 and value in str(caught.value) for value in stated.values())


def test_what_dicom_can_hold_is_taken(office: ImportOffice) -> None:
    name = "가" * 64 + "=" + "金^民秀^^^ "
    assert office.subject("P" * 64, name=name).PatientName == name
    assert Wishes("판독 " * 16, "XC").modality == "XC"
