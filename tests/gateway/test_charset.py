"""Names are read right whatever the header declares, and marked where they are read against it."""

import json
import os
import struct
from pathlib import Path

import pytest
from pydicom.data import get_charset_files

from gateway.middleware.header import read_header
from gateway.middleware.part10 import preamble_and_meta

MARK = "04000561"

DECLARED = {
    "chrArab.dcm": ("قباني^لنزار", "", ""),
    "chrFren.dcm": ("Buc^Jérôme", "", ""),
    "chrFrenMulti.dcm": ("Buc^Jérôme", "", ""),
    "chrGerm.dcm": ("Äneas^Rüdiger", "", ""),
    "chrGreek.dcm": ("Διονυσιος", "", ""),
    "chrH31.dcm": ("Yamada^Tarou", "山田^太郎", "やまだ^たろう"),
    "chrH32.dcm": ("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎", "やまだ^たろう"),
    "chrHbrw.dcm": ("שרון^דבורה", "", ""),
    "chrI2.dcm": ("Hong^Gildong", "洪^吉洞", "홍^길동"),
    "chrJapMulti.dcm": ("やまだ^たろう", "", ""),
    "chrJapMultiExplicitIR6.dcm": ("やまだ^たろう", "", ""),
    "chrKoreanMulti.dcm": ("김희중", "", ""),
    "chrRuss.dcm": ("Люкceмбypг", "", ""),
    "chrX1.dcm": ("Wang^XiaoDong", "王^小東", ""),
    "chrX2.dcm": ("Wang^XiaoDong", "王^小东", ""),
}
"""pydicom's samples, from the standard's own examples (PS3.5 annexes H to K) and others."""


def name_of(path: Path) -> tuple[tuple[str, str, str], bool]:
    """The three groups of the name as a list shows it, and whether it is marked."""
    header = read_header(path)
    attributes = json.loads(header.study_attributes)
    name = attributes["00100010"]["Value"][0]
    groups = tuple(name.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
    assert header.PatientName == "=".join(groups).rstrip("=")
    return groups, MARK in attributes  # type: ignore[return-value]  # three of them


def file_with(folder: Path, name: bytes, declared: str | None, description: bytes = b"") -> Path:
    """A file whose header holds these very bytes, which no library would write."""
    sop_class, uid = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    elements = [(0x00080016, b"UI", sop_class.encode()), (0x00080018, b"UI", uid.encode()), (0x00080060, b"CS", b"OT"),
                (0x00081030, b"LO", description), (0x00100010, b"PN", name), (0x00100020, b"LO", b"P-1"),
                (0x0020000D, b"UI", b"1.2.3"), (0x0020000E, b"UI", b"1.2.3.1")]  # fmt: skip
    if declared is not None:
        elements.insert(0, (0x00080005, b"CS", declared.encode()))
    body = b"".join(
        struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value) + len(value) % 2)
        + value
        + b" " * (len(value) % 2)
        for tag, vr, value in elements
    )
    path = folder / "named.dcm"
    path.write_bytes(preamble_and_meta(sop_class, uid, "1.2.840.10008.1.2.1", "", "") + body)
    return path


def test_what_is_declared_rightly_is_believed_and_not_marked() -> None:
    files = {Path(path).name: Path(path) for path in get_charset_files("*.dcm")}
    for name, groups in DECLARED.items():
        assert name_of(files[name]) == (groups, False), name


@pytest.mark.corpus
def test_the_corpus_is_read_without_a_mark_or_a_replacement() -> None:
    for path in sorted((Path(os.environ["MPACS_CORPUS"]) / "charset").glob("*.dcm")):
        if "SQEncoding" in path.name:  # data sets without a study
            continue
        groups, is_marked = name_of(path)
        assert "�" not in "".join(groups) and not is_marked, path.name


KOREAN = "Kim^Min Su=金^民秀=김^민수"
WRONG = [
    # (name, bytes' encoding, declared)
    ("김^민수", "utf8", None),
    ("김^민수", "utf8", "ISO_IR 100"),
    ("김^민수", "utf8", "ISO_IR 6"),
    ("김^민수", "euc_kr", None),
    ("김^민수", "euc_kr", "ISO_IR 100"),
    ("김^민수", "euc_kr", "ISO_IR 192"),
    ("김^민수", "euc_kr", "KSC5601"),
    ("김^민수", "cp949", "EUC-KR"),
    ("홍^길동", "euc_kr", "no such set"),
    ("Müller^Jürgen", "utf8", "ISO_IR 100"),
    ("Müller^Jürgen", "latin_1", "ISO_IR 192"),
    ("Müller^Jürgen", "latin_1", None),
    ("Jérôme^Ñandú", "latin_1", "ISO_IR 6"),
    ("山田^太郎", "shift_jis", "ISO_IR 100"),
    ("山田^太郎", "shift_jis", None),
    ("王^小东", "gbk", None),
    ("王^小东", "gbk", "ISO_IR 192"),
    ("王^小東", "utf8", "GB2312 "),
    ("Иванов^Иван", "utf8", "ISO_IR 144"),
    (KOREAN, "utf8", "ISO_IR 100"),
    (KOREAN, "utf8", "UTF-8"),
    # Syllables beyond KS X 1001, which no DICOM term declares.
    ("똠^뷁", "cp949", "ISO 2022 IR 149"),
    ("똠^뷁", "cp949", "\\ISO 2022 IR 149"),
    ("똠^뷁", "cp949", "ISO_IR 149"),
    ("김^뷁수", "cp949", None),
    ("김^뷁수", "cp949", "ISO_IR 100"),
    ("김^뷁수", "cp949", "ISO_IR 192"),
    ("김^뷁수", "cp949", "ISO_IR 144"),
    ("뷁^똠방각하", "cp949", None),
    ("뷁^똠방각하", "cp949", "KSC5601"),
    ("Kim^B=金^民秀=김^뷁수", "cp949", None),
    ("王^小东", "utf8", "\\ISO 2022 IR 58"),
    ("王^小東", "gb18030", "\\ISO 2022 IR 58"),
    ("김^민수", "euc_kr", "ISO 2022 IR 87"),
]


@pytest.mark.parametrize(("name", "encoding", "declared"), WRONG)
def test_what_is_declared_wrongly_is_guessed_and_marked(
    tmp_path: Path, name: str, encoding: str, declared: str | None
) -> None:
    groups, is_marked = name_of(file_with(tmp_path, name.encode(encoding), declared))
    assert groups == tuple((name + "==").split("=")[:3]) and is_marked


RIGHT = [
    ("Müller^Jürgen", "latin_1", "ISO_IR 100"),
    ("ÄÖÜ^Ä", "latin_1", "ISO_IR 100"),
    ("Иванов^Иван", "iso8859_5", "ISO_IR 144"),
    ("김^민수", "euc_kr", "ISO 2022 IR 149"),
    ("김^민수", "euc_kr", "\\ISO 2022 IR 149"),
    ("김^민수", "utf8", "ISO_IR 192"),
    ("김^민수", "utf8", "ISO IR 192"),
    ("김^민수", "euc_kr", "ISO_2022_IR_149"),
    ("王^小东", "gb18030", "GB18030"),
    ("王^小东", "gbk", "GBK"),
    ("王^小东", "gb2312", "\\ISO 2022 IR 58"),
    ("Plain^Name", "ascii", None),
    ("Plain^Name", "ascii", "no such set"),
]


@pytest.mark.parametrize(("name", "encoding", "declared"), RIGHT)
def test_what_its_bytes_fit_is_not_doubted(tmp_path: Path, name: str, encoding: str, declared: str | None) -> None:
    assert name_of(file_with(tmp_path, name.encode(encoding), declared)) == ((name, "", ""), False)


def test_escapes_that_are_lacking_or_not_declared(tmp_path: Path) -> None:
    escape = b"\x1b$)C"
    parts = [group.encode("euc_kr") for group in KOREAN.split("=")]
    groups = tuple(KOREAN.split("="))
    once = b"=".join([parts[0], escape + parts[1], escape + parts[2]])  # not again behind the caret
    assert name_of(file_with(tmp_path, once, "\\ISO 2022 IR 149")) == (groups, False)
    never = b"=".join(parts)
    assert name_of(file_with(tmp_path, never, "\\ISO 2022 IR 149")) == (groups, False)
    assert name_of(file_with(tmp_path, once, None)) == (groups, True)
    assert name_of(file_with(tmp_path, once, "ISO_IR 100")) == (groups, True)


@pytest.mark.parametrize("declared", [None, "ISO_IR 100", "ISO 2022 IR 149", "\\ISO 2022 IR 149", "ISO 2022 IR 87"])
def test_escapes_to_a_set_that_lacks_the_syllable(tmp_path: Path, declared: str | None) -> None:
    escape = b"\x1b$)C"
    family, given = "김".encode("cp949"), "뷁수".encode("cp949")
    each = b"Kim^B=" + escape + "金".encode("euc_kr") + b"=" + escape + family + b"^" + escape + given
    assert name_of(file_with(tmp_path, each, declared)) == (("Kim^B", "金", "김^뷁수"), True)
    once = b"Kim^B==" + escape + family + b"^" + given
    assert name_of(file_with(tmp_path, once, declared)) == (("Kim^B", "", "김^뷁수"), True)


def test_the_mark_says_what_was_declared(tmp_path: Path) -> None:
    path = file_with(tmp_path, "김^민수".encode("euc_kr"), "ISO_IR 100", description="뇌 자기공명".encode("euc_kr"))
    attributes = json.loads(read_header(path).study_attributes)
    (item,) = attributes[MARK]["Value"]
    assert item["04000550"]["Value"] == [{"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}]
    assert item["04000565"]["Value"] == ["CORRECT"]
    assert attributes["00081030"]["Value"] == ["뇌 자기공명"]


def test_any_bytes_are_read_somehow(tmp_path: Path) -> None:
    for seed in range(60):
        name = bytes((seed * 37 + 101 * n * n) % 256 for n in range(1 + seed % 20)).replace(b"\\", b"_")
        for declared in (None, "ISO_IR 192", "\\ISO 2022 IR 149", "GB18030", "ISO_IR 13", "ISO_IR 166", "?", "\\\\"):
            header = read_header(file_with(tmp_path, name, declared))
            json.loads(header.study_attributes)


def test_what_is_too_long_is_cut_where_one_sees_it(tmp_path: Path) -> None:
    for letter in ("A", "가"):
        name = letter * 2000 + "^Kim=" + "金" * 70 + "=김"
        header = read_header(file_with(tmp_path, name.encode(), "ISO_IR 192", description=b"d" * 3000))
        attributes = json.loads(header.study_attributes)
        shown = attributes["00100010"]["Value"][0]
        assert shown["Alphabetic"].startswith(letter * 60) and shown["Alphabetic"].endswith(letter + "…")
        assert shown["Ideographic"].startswith("金" * 60) and shown["Phonetic"] == "김"
        assert len(json.dumps(attributes["00100010"])) <= 1024
        (description,) = attributes["00081030"]["Value"]
        assert description.startswith("d" * 700) and description.endswith("d…")
