"""A census as a table: what is read, and what is refused with its line."""

import pytest

from gateway.middleware.census_csv import TableError, moment, rows
from gateway.middleware.movement import Change

NOW = 1_800_000_000.0


def read(text: str, encoding: str = "utf-8") -> list[tuple[int, str]]:
    """``(line, change or reason)``."""
    found = rows(text.encode(encoding), encoding, NOW)
    return [(one.line, str(one.movement.change) if one.movement else one.reason) for one in found]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_tables_of_usual_programs(separator: str, mark: str, end: str) -> None:
    lines = ["PatientID|ward|bed|PatientName", "P-1|W3|301-2|홍^길동", 'P-2|"W3"||']
    (first, second) = rows((mark + end.join(lines).replace("|", separator)).encode(), "utf-8", NOW)
    assert first.movement is not None and second.movement is not None
    assert (first.movement.PatientID, first.movement.bed, first.movement.PatientName) == ("P-1", "301-2", "홍^길동")
    assert (second.movement.change, second.movement.ward, second.movement.at) == (Change.ADMIT, "W3", NOW)


def test_what_happened_and_when() -> None:
    text = "PatientID,ward,change,at\nP-1,W3,transfer,2026-11-24T14:05+09:00\nP-2,W3,discharge,\n"
    (first, second) = rows(text.encode(), "utf-8", NOW)
    assert first.movement is not None and second.movement is not None
    assert (first.movement.change, first.movement.at) == (Change.TRANSFER, 1_795_496_700.0)
    assert (second.movement.change, second.movement.ward) == (Change.DISCHARGE, "")


def test_korean_excel() -> None:
    (row,) = rows("PatientID,ward,PatientName\nP-1,W3,김^민수\n".encode("cp949"), "cp949", NOW)
    assert row.movement is not None and row.movement.PatientName == "김^민수"
    with pytest.raises(TableError, match="cp949"):
        list(rows("PatientID,ward,PatientName\nP-1,W3,김^민수\n".encode("cp949"), "utf-8", NOW))


def test_bad_rows_are_named_and_the_others_read() -> None:
    text = (
        "PatientID,ward,change,at\nP-1,W3,,\n,W3,,\nP-2,W3,vanish,\nP-3,W3,,yesterday\nP-4,W3\nP-5,W3,,,more\n"
        "P-6,W3,,9999-12-31T23:59-23:00\nP-7,W3,admit,\n"
    )
    found = read(text)
    assert [line for line, _ in found] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert [line for line, said in found if said == "admit"] == [2, 9]
    assert "no PatientID" in dict(found)[3] and "change" in dict(found)[4] and "at is no time" in dict(found)[5]


@pytest.mark.parametrize(
    "text", ["", "P-1,W3\n", "PatientID,Ward\nP,W\n", "ward\nW\n", "PatientID,ward,ward\nP,W,W\n", "\0\n"]
)
def test_what_is_no_such_table(text: str) -> None:
    with pytest.raises(TableError, match="columns"):
        read(text)


@pytest.mark.parametrize("text", ['PatientID,ward\n"P,W\n', "PatientID,ward\n" + "P" * 200_000 + ",W\n"])
def test_what_is_no_csv(text: str) -> None:
    with pytest.raises(TableError, match="CSV"):
        read(text)


def test_an_encoding_that_is_none() -> None:
    with pytest.raises(TableError, match="no such encoding"):
        list(rows(b"PatientID,ward\nP,W\n", "klingon", NOW))


@pytest.mark.parametrize("text", ["", "now", "2026-13-01", "20:00"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        moment(text)
