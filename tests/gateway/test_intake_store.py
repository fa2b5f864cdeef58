"""C-STORE and C-ECHO from real senders: what arrives is what was sent, and it is described rightly."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid
from test_intake_support import (
    DEADLINE_S,
    Intake,
    RawSender,
    data_set_bytes,
    intake,
    run,
    running,
    sample,
    storescu,
    variant,
)

from gateway.management.index import arrivals
from gateway.middleware.arrival import StoreOutcome
from gateway.middleware.scp_settings import UNCOMPRESSED_SYNTAXES

__all__ = ["intake"]  # the fixture

CORPUS = os.environ.get("MPACS_CORPUS")


@pytest.mark.peer("dcmtk")
def test_echo(intake: Intake) -> None:
    assert run("echoscu", "127.0.0.1", str(intake.port)).returncode == 0


@pytest.mark.peer("dcmtk")
def test_what_is_stored_is_what_was_sent(intake: Intake, tmp_path: Path) -> None:
    data = pydicom.dcmread(sample())
    del data[0xFFFCFFFC]  # storescu leaves trailing padding out
    source = tmp_path / "source.dcm"
    data.save_as(source)
    assert storescu(intake.port, source, options=["-aet", "CT1"]).returncode == 0
    arrival, outcome = intake.arrivals[0]
    stored = intake.archive.path(arrival.digest)
    assert outcome is StoreOutcome.NEW
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == arrival.digest
    assert stored == intake.archive.root / arrival.path
    assert arrival.size_bytes == stored.stat().st_size
    assert data_set_bytes(stored) == data_set_bytes(source)
    meta = pydicom.dcmread(stored, stop_before_pixels=True).file_meta
    assert meta.TransferSyntaxUID == arrival.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert meta.MediaStorageSOPInstanceUID == arrival.SOPInstanceUID
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "CT1"
    assert meta.ReceivingApplicationEntityTitle == "ANY-SCP"
    assert intake.spooled == []


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("CT_small.dcm", "-xi"),
        ("CT_small.dcm", "-xb"),
        ("CT_small.dcm", "-xd"),
        ("MR_small_RLE.dcm", "-xr"),
        ("JPGExtended.dcm", "-xx"),
        ("JPEG-LL.dcm", "-xs"),
        ("JPEG2000.dcm", "-xw"),
        ("emri_small_jpeg_ls_lossless.dcm", "-xt"),
    ],
)
def test_transfer_syntaxes(intake: Intake, name: str, option: str) -> None:
    sent = storescu(intake.port, sample(name), options=[option])
    assert sent.returncode == 0, sent.stderr
    arrival, _ = intake.arrivals[0]
    original = pydicom.dcmread(sample(name))
    with pydicom.dcmread(intake.archive.path(arrival.digest)) as stored:
        assert stored.file_meta.TransferSyntaxUID == arrival.TransferSyntaxUID
        if arrival.TransferSyntaxUID in UNCOMPRESSED_SYNTAXES:
            assert (stored.pixel_array == original.pixel_array).all()
        else:
            assert arrival.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
            assert stored.PixelData == original.PixelData
    assert arrival.has_pixels
    assert arrival.NumberOfFrames == int(original.get("NumberOfFrames", 1))


@pytest.mark.peer("dcmtk")
def test_the_same_instance_is_one_and_other_bytes_are_kept_apart(intake: Intake, tmp_path: Path) -> None:
    first = variant(tmp_path / "a.dcm")
    uid = pydicom.dcmread(first).SOPInstanceUID
    other = variant(tmp_path / "b.dcm", SOPInstanceUID=uid, ImageComments="changed")
    for path, aet in ((first, "A"), (first, "A"), (first, "B"), (other, "A"), (other, "A")):
        assert storescu(intake.port, path, options=["-aet", aet]).returncode == 0
    outcomes = [outcome.value for _, outcome in intake.arrivals]
    assert outcomes == ["new", "same", "twin", "conflict", "conflict"]
    kept = set(intake.archive.digests())
    assert kept == {intake.arrivals[0][0].digest, intake.arrivals[3][0].digest}
    with intake.engine.connect() as connection:
        (study,) = arrivals.studies(connection)
        (row,) = arrivals.instances_of(connection, study.id)
        (conflict,) = arrivals.list_conflicts(connection)
    assert row.digest == intake.arrivals[0][0].digest
    assert conflict.kind == "bytes"
    assert conflict.digest == intake.arrivals[3][0].digest


@pytest.mark.peer("dcmtk")
def test_another_patient_under_a_known_study_is_reported_not_merged(intake: Intake, tmp_path: Path) -> None:
    assert (
        storescu(intake.port, variant(tmp_path / "a.dcm"), variant(tmp_path / "b.dcm", PatientID="other")).returncode
        == 0
    )
    assert [outcome for _, outcome in intake.arrivals] == [StoreOutcome.NEW, StoreOutcome.CONFLICT]
    with intake.engine.connect() as connection:
        (study,) = arrivals.studies(connection)
        assert study.NumberOfStudyRelatedInstances == 1
        assert arrivals.list_conflicts(connection)[0].kind == "patient"


@pytest.mark.peer("dcmtk")
def test_the_end_of_an_association_names_its_studies(intake: Intake, tmp_path: Path) -> None:
    studies = [generate_uid(), generate_uid()]
    files = [variant(tmp_path / f"{n}.dcm", StudyInstanceUID=studies[n % 2]) for n in range(4)]
    assert storescu(intake.port, *files).returncode == 0
    intake.wait_for(lambda: len(intake.ends) == 1)
    assert intake.ends == [frozenset(studies)]


def test_an_unknown_sop_class_without_pixels_is_kept(intake: Intake, tmp_path: Path) -> None:
    path = variant(tmp_path / "private.dcm", SOPClassUID="1.3.46.670589.99.1")
    data = pydicom.dcmread(path)
    del data.PixelData
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.save_as(path)
    sender = RawSender(intake.port)
    status, _ = sender.store(data_set_bytes(path), data.SOPInstanceUID, data.SOPClassUID)
    sender.close()
    arrival, outcome = intake.arrivals[0]
    assert (status, outcome, arrival.has_pixels) == (0, StoreOutcome.NEW, False)
    assert arrival.SOPClassUID == "1.3.46.670589.99.1"


def test_only_the_configured_transfer_syntaxes_are_accepted(tmp_path: Path) -> None:
    j2k, explicit, jpip = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.94"
    with running(tmp_path / "state") as started:
        sender = RawSender(started.port, [jpip, j2k, explicit])
        assert sender.assoc.accepted_contexts[0].transfer_syntax == [j2k]
        sender.close()
        refused = RawSender(started.port, [jpip])
        assert [cx.result for cx in refused.assoc.rejected_contexts] == [0x04]
        refused.assoc.abort()
    with running(tmp_path / "second", transfer_syntaxes=(explicit,)) as started:
        sender = RawSender(started.port, [j2k, explicit])
        assert sender.assoc.accepted_contexts[0].transfer_syntax == [explicit]
        sender.close()


def _store_one(intake: Intake, tmp_path: Path, charset: str | None, **raw: bytes) -> None:
    """Store one instance whose text elements hold exactly these bytes."""
    # Placeholders of the same length, exchanged after the toolkit has encoded everything else.
    padded = {keyword: value + b" " * (len(value) % 2) for keyword, value in raw.items()}
    holders = {keyword: chr(0x41 + n) * len(value) for n, (keyword, value) in enumerate(padded.items())}
    path = variant(tmp_path / "one.dcm", StudyInstanceUID=generate_uid(), **holders)
    data = pydicom.dcmread(path)
    if charset is None:
        del data.SpecificCharacterSet
    else:
        data.SpecificCharacterSet = charset.split("\\")
    data.save_as(path)
    encoded = data_set_bytes(path)
    for keyword, value in padded.items():
        if value:
            assert encoded.count(holders[keyword].encode()) == 1
            encoded = encoded.replace(holders[keyword].encode(), value)
    sender = RawSender(intake.port)
    assert sender.store(encoded, data.SOPInstanceUID) == (0, "")
    sender.close()


HONG = "Hong^Gildong=洪^吉洞=홍^길동"


@pytest.mark.parametrize(
    ("charset", "raw", "shown"),
    [
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            HONG,
        ),
        ("ISO_IR 192", HONG.encode(), HONG),
        (None, HONG.encode(), HONG),
        ("NO_SUCH_SET", HONG.encode(), HONG),
        ("ISO_IR 192", b"M\xfcller^Jos\xe9", "Müller^José"),
        (None, b"M\xfcller^Jos\xe9", "Müller^José"),
    ],
)
def test_names_are_decoded_and_wrong_declarations_do_not_fail(
    intake: Intake, tmp_path: Path, charset: str | None, raw: bytes, shown: str
) -> None:
    _store_one(intake, tmp_path, charset, PatientName=raw)
    arrival, _ = intake.arrivals[0]
    assert arrival.PatientName == shown
    shown_parts = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), shown.split("="), strict=False))
    assert json.loads(arrival.study_attributes)["00100010"]["Value"] == [shown_parts]


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        (b"../../etc/passwd", "../../etc/passwd"),
        (b"a/b+c#d", "a/b+c#d"),
        (b" padded \0\0", "padded"),
        (b"A\0B", "A␀B"),
        (b"two\\values", "two\\values"),
        (b"", ""),
    ],
)
def test_a_patient_id_is_data(intake: Intake, tmp_path: Path, raw: bytes, stored: str) -> None:
    _store_one(intake, tmp_path, "ISO_IR 192", PatientID=raw)
    arrival, _ = intake.arrivals[0]
    assert arrival.PatientID == stored
    names = {path.name for path in intake.archive.root.rglob("*")}
    assert not any("passwd" in name or "padded" in name for name in names)
    with intake.engine.connect() as connection:
        assert [study.PatientID for study in arrivals.studies_of_patient(connection, stored)] == [stored]


def test_attributes_hold_what_a_list_shows(intake: Intake, tmp_path: Path) -> None:
    path = variant(
        tmp_path / "a.dcm",
        AccessionNumber="ACC1",
        CurrentPatientLocation="Ward 5",
        RequestingPhysician="Kim^Doctor",
        BodyPartExamined="HEAD",
        PatientBirthDate="19700101",
    )
    data = pydicom.dcmread(path)
    sender = RawSender(intake.port)
    assert sender.store(data_set_bytes(path), data.SOPInstanceUID)[0] == 0
    sender.close()
    arrival, _ = intake.arrivals[0]
    study, series = json.loads(arrival.study_attributes), json.loads(arrival.series_attributes)
    assert study["00080050"] == {"vr": "SH", "Value": ["ACC1"]}
    assert study["00380300"]["Value"] == ["Ward 5"]
    assert study["00321032"]["Value"] == [{"Alphabetic": "Kim^Doctor"}]
    assert study["00100030"]["Value"] == ["19700101"]
    assert series["00080060"]["Value"] == ["CT"]
    assert series["00180015"]["Value"] == ["HEAD"]
    assert "7FE00010" not in study | series
    assert arrival.InstanceNumber == data.InstanceNumber


@pytest.mark.corpus
@pytest.mark.peer("dcmtk")
@pytest.mark.skipif(CORPUS is None, reason="MPACS_CORPUS is not set")
def test_names_of_the_corpus(intake: Intake) -> None:
    folder = Path(str(CORPUS)) / "charset"
    assert (
        storescu(intake.port, folder / "chrI2.dcm", folder / "chrKoreanMulti.dcm", folder / "chrH32.dcm").returncode
        == 0
    )
    intake.wait_for(lambda: len(intake.ends) == 1, DEADLINE_S)
    names = {arrival.PatientName for arrival, _ in intake.arrivals}
    assert names == {HONG, "김희중", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"}
