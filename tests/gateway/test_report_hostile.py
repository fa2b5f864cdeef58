"""Reports from strangers: markup, control characters, depth, size, broken files; in the worker and by its limits."""

import asyncio
import struct
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.management import worker_protocol as protocol
from gateway.management.rendering import report, report_text, report_tree
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Refusal, RenderRefused
from gateway.management.rendering.report_html import TAGS
from gateway.management.workers import RenderJob, RenderPool
from tests.support import reports

LIMITS = RenderLimits()


def made(path: Path, limits: RenderLimits = LIMITS, thumbnail_side: int = 0) -> dict[str, bytes]:
    """The parts of a report by media type."""
    job = protocol.Job(str(path), 0, None, 1600, 90, thumbnail_side, layer="report")
    return {head.media: body for head, body in report.parts(job, limits, lambda: None)}


def refusal(path: Path, limits: RenderLimits = LIMITS, thumbnail_side: int = 0) -> str:
    with pytest.raises(Refusal) as caught:
        made(path, limits, thumbnail_side)
    return caught.value.reason


ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<!--", "-->", "]]>", "&lt;b&gt;", "&#60;b&#62;", "</body></html>",
    "javascript:alert(1)",
    "<svg/onload=alert(1)>",
    "<style>*{background:url(//example.org)}</style>",
]  # fmt: skip


def test_markup_in_a_report_is_text(tmp_path: Path) -> None:
    """Wherever a stranger may write: title, concept names, values, codes, units, names, UIDs, the language."""
    attack = " ".join(ATTACKS)
    language = reports.code("121049", "DCM", "Language")
    data = reports.report(
        attack[:64],
        reports.item("CODE", language, ConceptCodeSequence=[reports.code("en\" onload=\"alert(1)", "RFC5646", attack)]),
        reports.container(attack[:64], reports.text(attack[:64], attack), continuity="CONTINUOUS"),
        reports.number("n", "1", reports.code("<b>", "UCUM", "<i>")),
        reports.item("PNAME", "p", PersonName="<b>^<i>"),
        reports.image("1.2.3"),
        CompletionFlagDescription="<u>",
    )  # fmt: skip
    reference = data.ContentSequence[-1].ReferencedSOPSequence[0]
    reference.ReferencedSOPInstanceUID = '1.2"onclick="alert(1)'
    html = made(reports.save(data, tmp_path / "attack.dcm"))["text/html"].decode()
    root = ET.fromstring(html.partition("\n")[2])
    assert {element.tag for element in root.iter()} <= TAGS
    assert {name for element in root.iter() for name in element.attrib} == {"charset"}
    shown = " ".join("".join(root.itertext()).split())
    assert shown.count(attack) >= 2


def test_control_characters_reach_no_terminal(tmp_path: Path) -> None:
    """Escape sequences, bells, overrides of the writing direction, NUL, and C1 controls."""
    hostile = "a\x1b[2Jb\x07c\u202ed\x9be\u2066f\x00g\x7fh\r\ni\ufffej"
    parts = made(reports.save(reports.report("T", reports.text("n", hostile)), tmp_path / "c.dcm"))
    assert "n:\n  a[2Jbcdefgh\n  ij\n" in parts["text/plain"].decode()
    for text in parts.values():
        assert all(character.isprintable() or character == "\n" for character in text.decode())


def nested(depth: int) -> Dataset:
    item = reports.text("deep", "end")
    for _ in range(depth):
        item = reports.container("c", item)
    return reports.report("T", item)


def test_depth_is_bounded(tmp_path: Path) -> None:
    path = reports.save(nested(report_tree.MAX_DEPTH - 2), tmp_path / "ok.dcm")
    assert b"deep: end" in made(path)["text/plain"]
    assert refusal(reports.save(nested(report_tree.MAX_DEPTH), tmp_path / "deep.dcm")) == "too-large"


def abyss(path: Path, depth: int) -> Path:
    """Sequences of undefined length in one another, far deeper than any parser's stack."""
    sequence = struct.pack("<HH2s2xL", 0x0040, 0xA730, b"SQ", 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    data = reports.report("T")
    raw = reports.save(data, path).read_bytes()
    path.write_bytes(raw + sequence * depth)
    return path


def test_count_and_size_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = reports.report("T", *(reports.text("n", "v") for _ in range(50)))
    path = reports.save(many, tmp_path / "many.dcm")
    monkeypatch.setattr(report_tree, "MAX_ITEMS", 40)
    assert refusal(path) == "too-large"
    monkeypatch.undo()
    monkeypatch.setattr(report_text, "MAX_BYTES", 200)
    assert refusal(path) == "too-large"


def test_a_long_text_is_refused_by_its_size(tmp_path: Path) -> None:
    limits = replace(LIMITS, max_picture_bytes=1 << 20)
    path = reports.save(reports.report("T", reports.text("n", "long " * 500_000)), tmp_path / "long.dcm")
    assert refusal(path, limits) == "too-large"


def test_a_deflated_bomb_is_refused(tmp_path: Path) -> None:
    data = reports.report("T", reports.text("n", "a" * (3 << 20)))
    plain = reports.save(data, tmp_path / "plain.dcm")
    whole = plain.read_bytes()
    meta = pydicom.filereader.read_file_meta_info(plain)
    start = 128 + 4 + 12 + meta.FileMetaInformationGroupLength
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflater.compress(whole[start:]) + deflater.flush()
    bomb = tmp_path / "bomb.dcm"
    with bomb.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(file, meta)
        file.write(body)
    assert b"n:" in made(bomb)["text/plain"]
    assert refusal(bomb, replace(LIMITS, max_inflated_bytes=1 << 20)) == "too-large"


def test_characters_that_nothing_declares_are_read(tmp_path: Path) -> None:
    raw = reports.save(reports.every_kind(), tmp_path / "declared.dcm").read_bytes()
    shown = made(tmp_path / "declared.dcm")["text/plain"]
    at = raw.index(b"\x08\x00\x05\x00CS")
    (tmp_path / "none.dcm").write_bytes(raw[:at] + raw[at + 18 :])
    (tmp_path / "unknown.dcm").write_bytes(raw.replace(b"ISO_IR 192", b"ISO_IR 999"))
    for name, declared in (("none.dcm", "nothing"), ("unknown.dcm", "ISO_IR 999")):
        note = f"Characters: guessed: read as UTF-8; {declared} is declared\n"
        text = made(tmp_path / name)["text/plain"].decode()
        assert note in text
        assert text.replace(note, "") == shown.decode()
    korean = reports.report("판독", reports.text("소견", "정상 " * 2000), SpecificCharacterSet="ISO 2022 IR 149")
    raw = reports.save(korean, tmp_path / "escaped.dcm").read_bytes()
    assert "소견:\n  정상 정상" in made(tmp_path / "escaped.dcm")["text/plain"].decode()
    bare = raw.replace(b"\x1b$)C", b"    ").replace(b"ISO 2022 IR 149", b"KSC5601        ")
    (tmp_path / "bare.dcm").write_bytes(bare)
    assert "정상 정상" in made(tmp_path / "bare.dcm")["text/plain"].decode()
    latin = reports.report("T", reports.text("n", "Jörg"), SpecificCharacterSet="ISO_IR 100")
    raw = reports.save(latin, tmp_path / "latin.dcm").read_bytes()
    assert "Characters" not in made(tmp_path / "latin.dcm")["text/plain"].decode()
    for declared in ("ISO_IR 999", "ISO_IR 6", "", "ISO_IR 192"):
        (tmp_path / "undeclared.dcm").write_bytes(raw.replace(b"ISO_IR 100", declared.encode().ljust(10)))
        parts = made(tmp_path / "undeclared.dcm")
        told = f"read as Latin-1; {declared or 'nothing'} is declared"
        for media, label in (("text/plain", "Characters: "), ("text/html", "<strong>Characters</strong>: ")):
            assert "Jörg" in parts[media].decode() and f"{label}guessed: {told}" in parts[media].decode(), declared


def test_korean_beyond_the_declared_set_and_what_cannot_be_read_are_marked(tmp_path: Path) -> None:
    korean = reports.report("T", reports.text("소견", "정상 앞"), SpecificCharacterSet="ISO 2022 IR 149")
    raw = reports.save(korean, tmp_path / "escaped.dcm").read_bytes()
    (tmp_path / "beyond.dcm").write_bytes(raw.replace("앞".encode("euc_kr"), "뷁".encode("cp949")))
    text = made(tmp_path / "beyond.dcm")["text/plain"].decode()
    assert "소견: 정상 뷁" in text and "Characters: guessed: read as CP949; ISO 2022 IR 149 is declared" in text
    late = reports.report("T", reports.text("n", "ä " * 3000 + "ö"))
    raw = reports.save(late, tmp_path / "late.dcm").read_bytes()
    (tmp_path / "broken.dcm").write_bytes(raw.replace("ö".encode(), b"\xc3o"))
    assert "Characters: some could not be read" in made(tmp_path / "broken.dcm")["text/plain"].decode()


def test_a_number_that_is_none_is_shown_as_it_was_written(tmp_path: Path) -> None:
    raw = reports.save(
        reports.report("T", reports.number("n", "12345678", reports.code("mm", "UCUM", "mm"))), tmp_path / "n.dcm"
    )
    (tmp_path / "bad.dcm").write_bytes(raw.read_bytes().replace(b"12345678", b"12,5 ca."))
    assert b"n: 12,5 ca. mm" in made(tmp_path / "bad.dcm")["text/plain"]


def cut(path: Path, folder: Path) -> Iterator[Path]:
    whole = path.read_bytes()
    for length in range(132, len(whole), 61):
        target = folder / f"cut-{length}.dcm"
        target.write_bytes(whole[:length])
        yield target


def test_a_cut_report_is_refused_or_read_and_never_a_fault(tmp_path: Path) -> None:
    path = reports.save(reports.every_kind(), tmp_path / "whole.dcm")
    outcomes = set()
    for one in cut(path, tmp_path):
        try:
            made(one)
            outcomes.add("read")
        except (Refusal, RecursionError) as error:
            outcomes.add(getattr(error, "reason", "deep"))
    assert outcomes <= {"read", "malformed", "unsupported", "too-large"}
    assert "malformed" in outcomes


def test_a_sequence_that_breaks_off_is_no_report_without_it(tmp_path: Path) -> None:
    """An inner length that says more than there is must not cost the conclusion unsaid."""
    data = reports.report("T", reports.text("Finding", "nodule"), reports.text("Conclusion", "benign, no follow-up."))
    raw = reports.save(data, tmp_path / "whole.dcm").read_bytes()
    assert b"Conclusion: benign" in made(tmp_path / "whole.dcm")["text/plain"]
    at = raw.rindex(b"\x40\x00\x60\xa1UT\x00\x00") + 8
    (tmp_path / "inner.dcm").write_bytes(raw[:at] + struct.pack("<L", 4000) + raw[at + 4 :])
    assert refusal(tmp_path / "inner.dcm") == "malformed"


# ── documents ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("padding", [0, 1])
def test_a_pdf_is_passed_on_byte_for_byte(tmp_path: Path, padding: int) -> None:
    data = reports.pdf("Report" + "x" * padding)
    path = reports.save(reports.document(data), tmp_path / "d.dcm")
    assert made(path) == {"application/pdf": data}
    unsaid = reports.document(data)
    del unsaid.EncapsulatedDocumentLength
    assert made(reports.save(unsaid, tmp_path / "u.dcm")) == {"application/pdf": data}


@pytest.mark.peer("dcmtk")
def test_a_pdf_is_what_dcmtk_takes_out(tmp_path: Path) -> None:
    import subprocess

    path = reports.save(reports.document(reports.pdf("Report of odd length" + "x" * 3)), tmp_path / "d.dcm")
    subprocess.run(["dcm2pdf", str(path), str(tmp_path / "d.pdf")], check=True)
    assert made(path)["application/pdf"] == (tmp_path / "d.pdf").read_bytes()


def test_the_first_page_is_a_picture(tmp_path: Path) -> None:
    path = reports.save(reports.document(reports.pdf(pages=3)), tmp_path / "d.dcm")
    picture = made(path, thumbnail_side=128)["image/jpeg"]
    assert picture.startswith(b"\xff\xd8") and len(picture) < 20_000


@pytest.mark.parametrize(
    ("data", "sop_class", "mime", "reason"),
    [
        (b"no PDF at all", reports.PDF, "application/pdf", "decode"),
        (b"<ClinicalDocument/>", reports.CDA, "text/XML", "unsupported"),
        (b"<html/>", reports.CDA, "text/XML", "unsupported"),
        (b"<ClinicalDocument>", reports.CDA, "text/XML", "decode"),
        (b'<?xml version="1.0" encoding="rot13"?><a/>', reports.CDA, "text/XML", "decode"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", reports.CDA, "text/XML", "unsupported"),
        (b"<a>" * 200 + b"</a>" * 200, reports.CDA, "text/XML", "too-large"),
        (b"<a>" + b"<b/>" * 200_000 + b"</a>", reports.CDA, "text/XML", "too-large"),
        (b"solid", "1.2.840.10008.5.1.4.1.1.104.3", "model/stl", "unsupported"),
    ],
)
def test_other_documents_are_refused_with_a_reason(
    tmp_path: Path, data: bytes, sop_class: str, mime: str, reason: str
) -> None:
    assert refusal(reports.save(reports.document(data, sop_class, mime), tmp_path / "d.dcm")) == reason


def test_a_broken_pdf_is_passed_on_and_has_no_picture(tmp_path: Path) -> None:
    broken = reports.pdf()[:200]
    path = reports.save(reports.document(broken), tmp_path / "d.dcm")
    assert made(path)["application/pdf"] == broken
    assert refusal(path, thumbnail_side=128) == "decode"


def test_an_image_is_no_report(tmp_path: Path) -> None:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.Rows = reports.CT_IMAGE, "1.2.3", 1
    path = reports.save(data, tmp_path / "i.dcm")
    assert refusal(path) == "unsupported"
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


# ── in a real worker ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_survives_them_and_serves_the_next(tmp_path: Path) -> None:
    good = reports.save(reports.every_kind(), tmp_path / "good.dcm")
    bad = {
        abyss(tmp_path / "abyss.dcm", 20_000): "malformed",
        reports.save(reports.report("T", reports.text("n", "x" * (50 << 20))), tmp_path / "50.dcm"): "too-large",
        reports.save(nested(report_tree.MAX_DEPTH), tmp_path / "deep.dcm"): "too-large",
        reports.save(
            reports.document(b"<ClinicalDocument/>", reports.CDA, "text/XML"), tmp_path / "cda.dcm"
        ): "unsupported",
    }

    async def render(pool: RenderPool, path: Path) -> list[str]:
        return [part.media async for part in pool.render(RenderJob(path, layer="report"))]

    async def main() -> None:
        async with RenderPool(1) as pool:
            for path, reason in bad.items():
                with pytest.raises(RenderRefused) as caught:
                    await render(pool, path)
                assert caught.value.reason == reason
                assert await render(pool, good) == ["text/plain", "text/html"]

    asyncio.run(main())
