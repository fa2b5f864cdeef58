"""A report that comes after its images: on a doctor's device alone and by itself, never on a ward's."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from benchmarks.studies import HONG, long_ct
from tests.support import reports
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway


def _wait(found: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        time.sleep(0.05)
    return value


def _belongs_to(study: str, data: Dataset, series: str) -> Dataset:
    """Of the same patient and study, in a series of its own."""
    data.StudyInstanceUID, data.SeriesInstanceUID = study, series
    data.PatientID, data.PatientName, data.PatientBirthDate = HONG.identifier, HONG.name, HONG.birth_date
    return data


def _series(study: dict[str, Any], layer: str) -> list[dict[str, Any]]:
    return [one for one in study["series"] if layer in one["layers"]]


def test_a_report_comes_after_its_images(gateway: RunningGateway, tmp_path: Path) -> None:
    made = long_ct(tmp_path, 6)
    gateway.cli("profile", "add", "ward", "W1", "--attends", HONG.identifier)
    doctor = RunningDevice(tmp_path / "doctor", gateway, "doctor:D1")
    ward = RunningDevice(tmp_path / "ward", gateway, "ward:W1")
    image = str(pydicom.dcmread(made.files[2], stop_before_pixels=True).SOPInstanceUID)
    with doctor, ward:
        gateway.store(made.files)
        before = doctor.wait_complete(6)
        ward.wait_complete(6)
        first = [one["layers"]["display"] for one in before["series"]]

        finding = reports.text("소견", "우상엽 결절", reports.image(image, relationship="INFERRED FROM"))
        report = reports.report("판독 보고서", finding, VerificationFlag="VERIFIED")
        letter = reports.pdf("Discharge letter")
        structured, document = "1.2.826.0.1.3680043.8.498.1.1", "1.2.826.0.1.3680043.8.498.1.2"
        gateway.store(
            [
                reports.save(_belongs_to(made.StudyInstanceUID, report, structured), tmp_path / "sr.dcm"),
                reports.save(
                    _belongs_to(made.StudyInstanceUID, reports.document(letter), document), tmp_path / "pdf.dcm"
                ),
            ]
        )

        def received() -> dict[str, Any] | None:
            (study,) = doctor.studies()
            listed = _series(study, "report")
            whole = len(listed) == 2 and all(one["layers"]["report"]["complete"] for one in listed)
            return study if whole and study["settled"] and study["current"] else None

        study = _wait(received, "report on the doctor's device")

    again = [one["layers"]["display"] for one in _series(study, "display")]
    assert again == first, "pictures that were there are announced as they were"
    listed = {one["SeriesInstanceUID"]: one["reports"] for one in _series(study, "report")}
    assert [(one["DocumentTitle"], one["status"]) for one in listed[structured]] == [("판독 보고서", "final")]
    assert [one["media"] for one in listed[document]] == [["application/pdf"]]

    shown = doctor.call("show", made.StudyInstanceUID)
    assert "FINAL 판독 보고서" in shown and "소견: 우상엽 결절" in shown
    to = tmp_path / "out"
    doctor.call("export", made.StudyInstanceUID, "--to", str(to), "--layer", "report")
    assert (to / document / f"{document_uid(to, document)}.pdf").read_bytes() == letter
    (html,) = (to / structured).glob("*.html")
    assert f'<a href="#instance={image}">CT Image</a>' in html.read_text(encoding="utf-8")

    (seen,) = ward.studies()
    assert not _series(seen, "report")
    assert {one["Modality"] for one in seen["series"]} == {"CT"}
    (at_gateway,) = gateway.studies()
    assert at_gateway["layers"]["report"]["frames"] == 2

    alone = "1.2.826.0.1.3680043.8.498.1.3"
    only = _belongs_to(alone, reports.document(letter), f"{alone}.1")
    gateway.store([reports.save(only, tmp_path / "only.dcm")])
    doctor.call("run", "--once")
    (one,) = next(study for study in doctor.studies() if study["StudyInstanceUID"] == alone)["series"]
    assert one["layers"]["report"]["complete"]
    ward.call("run", "--once")
    assert len(ward.studies()) == 1, "a study of reports alone is not for a ward"

    secrets = (HONG.identifier, "Gildong", "길동", "결절", "판독", image, structured)
    assert not [secret for secret in secrets if secret in gateway.log + doctor.log + ward.log]


def document_uid(folder: Path, series: str) -> str:
    """The instance that ``series.report.json`` names, as its PDF and as the picture of its first page."""
    document, page = json.loads((folder / series / "series.report.json").read_text())
    assert page["file"] == f"{document['SOPInstanceUID']}.page1.jpg" and (folder / series / page["file"]).stat().st_size
    return str(document["SOPInstanceUID"])
