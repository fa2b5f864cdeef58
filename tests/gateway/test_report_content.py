"""Structured reports against DCMTK's dsrdump: what it prints of a document's content stands in our text and HTML."""

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from gateway.management.rendering import report_values as values
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.report_document import Document, document_of, status_of
from gateway.management.rendering.report_file import read_report
from gateway.management.rendering.report_html import TAGS, to_html
from gateway.management.rendering.report_text import to_text
from gateway.management.rendering.report_tree import read_tree
from tests.support import reports

_LINE = re.compile(r'^ *<(?:[a-z ]+ )?([A-Z0-9]+):(?:\(,,"(.*?)"\))?=(.*)>(?: \{.*\})?$')
_ITEM = re.compile(r"^ *<[a-z ]*[A-Z0-9]+:")
_CODE = re.compile(r'^\((.*),([^,]*),"(.*)"\)$')
_NUMBER = re.compile(r'^(?:"([^"]*)"|empty) \(([^,]*),[^,]*,"(.*)"\)$')
_NOT_OF_THEIR_CLASS = {"sr-circle.dcm", "sr-ellipse.dcm", "sr-protractor.dcm"}
"""SCOORD in Basic Text, which its SOP Class forbids and dsrdump refuses: it is shown them as another class."""


@dataclass(frozen=True)
class Fact:
    """Something that dsrdump prints, and how it may look when it is readable."""

    printed: str
    shown: str


def _facts(path: Path) -> Iterator[Fact]:
    """Concept names, values, code meanings, numbers and units, one after the other."""
    command = ["dsrdump", "-q", "-Er", "-Ee", "-Ec", "-Ev", "-Dv", "+U8", "+Pl", "-Ph", str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    for line in done.stdout.decode().splitlines():
        found = _LINE.match(line)
        if found is None:
            assert not _ITEM.match(line), f"a line that this test does not understand: {line}"
            continue
        kind, name, value = found.groups()
        if name:
            yield Fact(line, name)
        yield from (Fact(line, shown) for shown in _shown(kind, value))


def _shown(kind: str, value: str) -> Iterator[str]:
    if kind == "CODE":
        code = _CODE.match(value)
        assert code, value
        yield code[3]
    elif kind == "NUM":
        number = _NUMBER.match(value)
        assert number, value
        has_symbol = number[1] and number[2] != "1"
        yield f"{number[1]} {number[2]}" if has_symbol else number[1] or ""
        yield number[3]
    elif kind == "PNAME":
        yield from (part for part in re.split(r"[\^=]", value.strip('"')) if part)
    elif kind in ("DATE", "TIME", "DATETIME"):
        read = {"DATE": values.date, "TIME": values.time, "DATETIME": values.moment}
        yield read[kind](value.strip('"'))
    elif kind in ("TEXT", "UIDREF"):
        yield value[1:-1].replace("\\r", "\n").replace("\\n", "\n")


def _document(path: Path) -> Document:
    data = read_report(path, RenderLimits()).data
    return document_of(data, read_tree(data))


def _plain(text: str) -> str:
    return " ".join(text.split())


def _html_text(html: bytes) -> str:
    """What a browser would show; well-formed, or it does not parse."""
    root = ET.fromstring(html.decode().partition("\n")[2])
    for element in root.iter("br"):
        element.text = "\n"
    return _plain("".join(root.find("body").itertext()))  # type: ignore[union-attr]  # there is one, or it is an error


def _check(path: Path) -> int:
    document = _document(path)
    text, html = _plain(to_text(document).decode()), _html_text(to_html(document))
    count = 0
    for fact in _facts(path):
        shown = _plain(fact.shown)
        assert shown in text, fact.printed
        assert shown in html, fact.printed
        count += 1
    _check_markup(to_html(document))
    return count


def _check_markup(html: bytes) -> None:
    root = ET.fromstring(html.decode().partition("\n")[2])
    for element in root.iter():
        assert element.tag in TAGS
        for name, value in element.attrib.items():
            assert (element.tag, name) in {("html", "lang"), ("meta", "charset"), ("a", "href")}
            if name == "href":
                assert re.fullmatch(r"#instance=[0-9.]{1,64}(&frame=[1-9][0-9]*)?", value), value


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("name", ["test-SR.dcm", "reportsi.dcm"])
def test_real_reports_are_complete(name: str) -> None:
    assert _check(Path(str(get_testdata_file(name)))) > 10


@pytest.mark.peer("dcmtk")
def test_every_value_type_is_complete(tmp_path: Path) -> None:
    path = reports.save(reports.every_kind(), tmp_path / "every.dcm")
    assert _check(path) > 40


@pytest.mark.peer("dcmtk")
@pytest.mark.corpus
def test_the_reports_of_the_corpus_are_complete(tmp_path: Path) -> None:
    counts = {}
    for path in sorted(Path(os.environ["MPACS_CORPUS"], "sr").glob("*.dcm")):
        shown = path
        if path.name in _NOT_OF_THEIR_CLASS:
            data = pydicom.dcmread(path)
            data.SOPClassUID, data.SOPInstanceUID = reports.COMPREHENSIVE_3D, "1.2.3"
            shown = reports.save(data, tmp_path / path.name)
        counts[path.name] = _check(shown)
    print(counts)
    assert min(counts.values()) >= 9
    assert sum(counts.values()) > 500


def test_running_text_is_read_as_text(tmp_path: Path) -> None:
    text = to_text(document_of(data := reports.every_kind(), read_tree(data))).decode()
    assert "History: Seen by Dr. Lee for 3 d (day).\n  Physician: Dr. Lee\n  Duration: 3 d (day)" in text


def test_what_follows_a_section_is_not_read_as_a_part_of_it() -> None:
    data = reports.report("Title", reports.container("One", reports.text("A", "a")), reports.text("B", "b"))
    assert to_text(document_of(data, read_tree(data))).decode().endswith("One:\n  A: a\nB: b\n")
    data = reports.report("Title", reports.text("B", "b"), reports.container("One", reports.text("A", "a")))
    assert to_text(document_of(data, read_tree(data))).decode().endswith("B: b\n\nOne\n---\nA: a\n")


def test_items_by_reference_are_resolved() -> None:
    text = to_text(document_of(data := reports.every_kind(), read_tree(data))).decode()
    assert "결론: 추적 검사 권고\n  inferred from: 소견: 우상엽에 12 mm 결절이 있음. 다른 폐야는 깨끗함.\n" in text
    lost = Dataset()
    lost.RelationshipType, lost.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 99]
    data = reports.report("Title", reports.text("A", "a", lost))
    assert "an item that is not in this document" in to_text(document_of(data, read_tree(data))).decode()


def test_coordinates_say_their_type_their_points_and_the_image_they_are_on() -> None:
    on = reports.image("1.2.3.4", 5, relationship="SELECTED FROM")
    circle = reports.item("SCOORD", "Lesion", on, GraphicType="CIRCLE", GraphicData=[10, 20.5, 30, 20.5])
    many = reports.item("SCOORD", "Rim", GraphicType="POLYLINE", GraphicData=list(range(40)))
    volume = reports.item("SCOORD3D", "Box", GraphicType="ELLIPSOID", GraphicData=[1, 2, 3, 4, 5, -6.5])
    data = reports.report("T", circle, many, volume)
    document = document_of(data, read_tree(data))
    text, html = to_text(document).decode(), to_html(document).decode()
    for shown in (text.replace("\n  ", " "), html):
        assert "circle of 2 points (column, row): (10, 20.5), (30, 20.5)" in shown
        assert "polyline of 20 points (column, row): (0, 1), (2, 3)" in shown and "(22, 23) and 8 more" in shown
        assert "ellipsoid of 2 points (x, y, z in mm): (1, 2, 3), (4, 5, -6.5)" in shown
    assert "selected from: CT Image, frame 5 [1]" in text and "#instance=1.2.3.4&amp;frame=5" in html


def test_images_are_links_and_numbered_references() -> None:
    data = reports.report("Keys", reports.image("1.2.3.4"), reports.image("1.2.3.5", 7), reports.image("1.2.3.6", 1, 2))
    document = document_of(data, read_tree(data))
    html = to_html(document).decode()
    assert '<a href="#instance=1.2.3.4">CT Image</a>' in html
    assert '<a href="#instance=1.2.3.5&amp;frame=7">CT Image, frame 7</a>' in html
    assert '<a href="#instance=1.2.3.6&amp;frame=2">2</a>' in html
    text = to_text(document).decode()
    assert "CT Image, frame 7 [2]" in text
    assert "[2] CT Image, frame 7: 1.2.3.5" in text


@pytest.mark.parametrize(
    ("completion", "verification", "preliminary", "has_predecessor", "status"),
    [
        ("COMPLETE", "VERIFIED", "", False, "final"),
        ("COMPLETE", "VERIFIED", "", True, "amended"),
        ("COMPLETE", "UNVERIFIED", "FINAL", False, "final"),
        ("COMPLETE", "UNVERIFIED", "", False, "preliminary"),
        ("COMPLETE", "VERIFIED", "PRELIMINARY", True, "preliminary"),
        ("PARTIAL", "VERIFIED", "FINAL", False, "preliminary"),
        ("", "", "", False, ""),
        ("", "VERIFIED", "", False, "final"),
    ],
)
def test_a_report_is_final_only_where_somebody_says_so(
    completion: str, verification: str, preliminary: str, has_predecessor: bool, status: str
) -> None:
    data = Dataset()
    data.CompletionFlag, data.VerificationFlag, data.PreliminaryFlag = completion, verification, preliminary
    if has_predecessor:
        reference, series, study = Dataset(), Dataset(), Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = reports.COMPREHENSIVE_3D, "1.2.3"
        series.ReferencedSOPSequence, study.ReferencedSeriesSequence = [reference], [series]
        data.PredecessorDocumentsSequence = [study]
    assert status_of(data) == status


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Hong^Gildong=洪^吉童=홍^길동", "Hong, Gildong (洪吉童, 홍길동)"),
        ("=洪^吉童=홍^길동", "洪吉童 (홍길동)"),
        ("Packer^David M.^^^M. D.", "Packer, David M., M. D."),
        ("Adams^John Robert Quincy^^Rev.^B.A. M.Div.", "Rev. Adams, John Robert Quincy, B.A. M.Div."),
        ("Fukuda^^^Dr.", "Dr. Fukuda"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ, ﾀﾛｳ (山田太郎, やまだたろう)"),
        ("", ""),
    ],
)
def test_names_are_readable(written: str, shown: str) -> None:
    assert values.person(written) == shown


@pytest.mark.parametrize(
    ("read", "written", "shown"),
    [
        (values.date, "20001206", "2000-12-06"),
        (values.date, "2000.12.06", "2000-12-06"),
        (values.date, "soon", "soon"),
        (values.time, "1015", "10:15"),
        (values.time, "101500.000000", "10:15:00"),
        (values.time, "101500.25", "10:15:00.25"),
        (values.moment, "20010213184746", "2001-02-13 18:47:46"),
        (values.moment, "2001", "2001"),
        (values.moment, "20010213184746.5+0900", "2001-02-13 18:47:46.5 +0900"),
    ],
)
def test_times_are_readable(read: object, written: str, shown: str) -> None:
    assert callable(read)
    assert read(written) == shown


@pytest.mark.parametrize(
    ("value", "meaning", "shown"),
    [
        ("mm", "millimeter", "mm (millimeter)"),
        ("mm", "mm", "mm"),
        ("1", "no units", "no units"),
        ("{counts}", "", "{counts}"),
        ("{ratio}", "ratio", "{ratio} (ratio)"),
        ("1", "", ""),
        ("%", "", "%"),
    ],
)
def test_units_are_readable(value: str, meaning: str, shown: str) -> None:
    assert values.unit(values.Code(value, "UCUM", meaning)) == shown
