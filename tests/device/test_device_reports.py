"""Reports on a device: listed with their standing, shown on the terminal, written as files."""

import os

import pytest
from device_gateway import Study, study_attributes

from device_client.reports import status_of
from wire.names import encode_reference

UID = "1.2.826.0.1.3680043.8.498.9"
SR, DOC = f"{UID}.1", f"{UID}.2"
TEXT = "판독 보고서\n====\n소견: 정상\n"
HTML = "<!DOCTYPE html>\n<html><body><h1>판독 보고서</h1></body></html>\n"


def flags(completion, verification, preliminary=None, before=None):
    given = {"0040A491": completion, "0040A493": verification, "0040A496": preliminary}
    found = {tag: {"vr": "CS", "Value": [value]} for tag, value in given.items() if value}
    if before:
        found["0040A360"] = {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [before]}}]}
    return found


@pytest.fixture
def received(gateway, enrolled):
    """A structured report that was amended, and a PDF of which nothing is said."""
    attributes = study_attributes(UID, [SR, DOC])
    attributes["series"][0]["00080060"]["Value"] = ["SR"]
    attributes["series"][1]["00080060"]["Value"] = ["DOC"]
    study = Study(os.urandom(16), attributes, 1, True)
    described = {
        "00420010": {"vr": "ST", "Value": ["판독 보고서"]},
        "00080023": {"vr": "DA", "Value": ["20261124"]},
        "00080033": {"vr": "TM", "Value": ["093000"]},
        **flags("COMPLETE", "VERIFIED", before="1.2.3"),
    }
    structured = [(f"{SR}.1", 0, 0, TEXT.encode()), (f"{SR}.1", 0, 0, HTML.encode())]
    pdf = [(f"{DOC}.1", 0, 0, b"%PDF-1.4"), (f"{DOC}.1", 0, 0, b"\xff\xd8first page")]
    study.entries = [
        gateway.seal_object(
            "report", [SR], structured, [0], media=["text/plain", "text/html"], attributes=described
        ).entry,
        gateway.seal_object(
            "report", [DOC], pdf, [1], 1, media=["application/pdf", "image/jpeg"],
            attributes={"00420010": {"vr": "ST", "Value": ["Letter"]}},
        ).entry,
    ]  # fmt: skip
    gateway.announce(study)
    enrolled.call("run", "--once", "--timeout", "10")
    enrolled.report = encode_reference(study.entries[0].object)
    return enrolled


def test_reports_are_fetched_by_themselves_and_listed(received):
    (study,) = received.json("studies")
    structured, document = study["series"]
    assert structured["layers"]["report"]["complete"] and document["layers"]["report"]["complete"]
    assert structured["reports"] == [
        {
            "SOPInstanceUID": f"{SR}.1",
            "DocumentTitle": "판독 보고서",
            "ContentDate": "20261124",
            "ContentTime": "093000",
            "status": "amended",
            "media": ["text/plain", "text/html"],
            "replaced": False,
        }
    ]
    assert [(one["DocumentTitle"], one["status"], one["media"]) for one in document["reports"]] == [
        ("Letter", "", ["application/pdf"])
    ]


def test_an_earlier_report_is_marked_when_another_takes_its_place(gateway, received):
    study = Study(os.urandom(16), study_attributes(UID, [SR]), 1, True)
    again = {"00420010": {"vr": "ST", "Value": ["보충"]}, **flags("COMPLETE", "VERIFIED", before=f"{SR}.1")}
    late = [(f"{SR}.9", 0, 0, b"more\n")]
    study.entries = [gateway.seal_object("report", [SR], late, [0], media=["text/plain"], attributes=again).entry]
    gateway.announce(study)
    received.call("run", "--once", "--timeout", "10")
    (listed,) = received.json("studies")
    marks = {one["SOPInstanceUID"]: one["replaced"] for one in listed["series"][0]["reports"]}
    assert marks == {f"{SR}.1": True, f"{SR}.9": False}
    assert "REPLACED AMENDED 판독 보고서" in received.call("show", UID).stdout


def test_show_prints_the_text_and_its_standing(received):
    shown = received.call("show", UID).stdout
    assert "AMENDED 판독 보고서" in shown
    assert "소견: 정상" in shown
    assert f"pdf: `mpacs-device export {UID} --to DIR --layer report`" in " ".join(shown.split())
    (report,) = received.json("show", UID)["series"][0]["reports"]
    assert report["text"] == TEXT


def test_export_writes_text_html_and_pdf(received, tmp_path):
    to = tmp_path / "out"
    written = received.json("export", UID, "--to", str(to), "--layer", "report")
    assert (written["pictures"], written["missing"]) == (4, 0)
    files = sorted(str(path.relative_to(to)) for path in to.rglob("*") if path.is_file())
    assert files == sorted(
        [
            "patient.json",
            f"{SR}/{SR}.1.txt",
            f"{SR}/{SR}.1.html",
            f"{SR}/series.report.json",
            f"{DOC}/{DOC}.1.pdf",
            f"{DOC}/{DOC}.1.page1.jpg",
            f"{DOC}/series.report.json",
        ]
    )
    assert (to / SR / f"{SR}.1.txt").read_text(encoding="utf-8") == TEXT
    assert (to / SR / f"{SR}.1.html").read_text(encoding="utf-8") == HTML
    assert (to / DOC / f"{DOC}.1.pdf").read_bytes() == b"%PDF-1.4"
    assert (to / DOC / f"{DOC}.1.page1.jpg").read_bytes() == b"\xff\xd8first page"


def test_a_damaged_report_is_not_shown(received):
    path = received.folder / "objects" / f"{received.report}.data"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    done = received.call("show", UID, code=1)
    assert "fetched again" in done.stderr and "정상" not in done.stdout
    received.call("run", "--once", "--timeout", "10")
    assert "소견: 정상" in received.call("show", UID).stdout


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (flags("", ""), ""),
        (flags("COMPLETE", "VERIFIED"), "final"),
        (flags("COMPLETE", "UNVERIFIED"), "preliminary"),
        (flags("COMPLETE", "UNVERIFIED", "FINAL"), "final"),
        (flags("COMPLETE", "VERIFIED", "PRELIMINARY", "1.2"), "preliminary"),
        (flags("PARTIAL", "VERIFIED", "FINAL"), "preliminary"),
        (flags("COMPLETE", "VERIFIED", None, "1.2"), "amended"),
        ({"0040A491": "no element"}, ""),
    ],
)
def test_a_report_is_final_only_where_somebody_says_so(given, status):
    assert status_of(given) == status
