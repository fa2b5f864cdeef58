"""The keys of a search over DICOM JSON: wildcards, names in several letters, ranges of dates; and what they cost."""

from typing import Any

import pytest

from gateway.management.matching import fits, is_named, is_within, matches
from wire.asks import Search

NAME = ["Hong^Gildong", "洪^吉童", "홍^길동"]


@pytest.mark.parametrize(
    "pattern", ["홍길동", "홍*", "*길동", "홍^길동", "hong^gildong", "HONG*", "Hong?Gildong", "洪吉童", "*"]
)
def test_a_name_is_found_in_each_of_its_letters(pattern: str) -> None:
    assert is_named(pattern, NAME)
    assert is_named(pattern, ["=".join(NAME)])


@pytest.mark.parametrize("pattern", ["홍", "길동", "Hong", "Gildong^Hong", "홍길동님", "??", "[H]ong*", "Hon.*"])
def test_another_name_is_not(pattern: str) -> None:
    """Brackets and dots are no wildcards."""
    assert not is_named(pattern, NAME)


def test_hangul_that_came_in_letters_is_the_same() -> None:
    decomposed = "홍^길동"
    assert is_named("홍길동", [decomposed]) and is_named(decomposed, ["홍^길동"])


@pytest.mark.parametrize(
    ("wanted", "date", "lies"),
    [
        ("", "", True),
        ("20240101", "20240101", True),
        ("20240101-", "20231231", False),
        ("20240101-", "20240101", True),
        ("-20240101", "20240102", False),
        ("20240101-20240131", "20240131", True),
        ("20240101-20240131", "", False),
        ("20240101-", "2024", False),
    ],
)
def test_ranges_of_dates(wanted: str, date: str, lies: bool) -> None:
    assert is_within(wanted, date) is lies


def test_stars_cost_no_more_than_the_lengths() -> None:
    """A matcher that tries all ways would not end before the test's time does."""
    assert not fits("*a" * 32 + "b", "a" * 5000)
    assert fits("*a" * 32, "a" * 5000)


def test_modality_and_part_stand_in_the_series() -> None:
    empty: dict[str, Any] = dict.fromkeys(("PatientName", "PatientID", "AccessionNumber", "StudyDate"), "")
    study = {"00100020": {"vr": "LO", "Value": ["P-1"]}}
    series = [{"00080060": {"vr": "CS", "Value": ["CT"]}, "00180015": {"vr": "CS", "Value": ["CHEST"]}}]

    def finds(modalities: list[str], part: str, **keys: str) -> bool:
        search = Search("doctor", bytes(16), **{**empty, **keys}, ModalitiesInStudy=modalities, BodyPartExamined=part,
                        StudyDescription="", page=0)  # fmt: skip
        return matches(search, study, series)

    assert finds([], "") and finds(["MR", "CT"], "CH*") and finds([], "", PatientID="p-?")
    assert not finds(["MR"], "") and not finds([], "HEAD") and not finds([], "", PatientID="P-2")
