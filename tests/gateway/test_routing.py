"""Who a study is for: identifiers, spellings of names, wards, and what must not be guessed."""

import itertools
import time
import unicodedata
from typing import Any

import pytest

from gateway.management.index.people import Profile
from gateway.management.routing import Rules, name_forms

_numbers = itertools.count()


def profile(kind: Any, identifier: str, name: str = "", attends: tuple[str, ...] = ()) -> Profile:
    return Profile(f"r{next(_numbers)}", kind, identifier, name, attends)


def person(*names: str, tag: str = "00080090") -> dict[str, Any]:
    groups = [dict(zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)) for name in names]
    return {tag: {"vr": "PN", "Value": groups}}


def found(profiles: list[Profile], attributes: dict[str, Any], PatientID: str = "P-1") -> list[str]:
    return [f"{p.kind}:{p.identifier}" for p in Rules(profiles).recipients(attributes, PatientID)]


def test_the_patient_alone() -> None:
    profiles = [
        profile("patient", "P-1"),
        profile("patient", "P-10"),
        profile("patient", "p-1"),
        profile("ward", "P-1"),
    ]
    assert found(profiles, {}) == ["patient:P-1"]
    assert found(profiles, {}, " P-1 ") == ["patient:P-1"]  # padding is no part of LO


@pytest.mark.parametrize("nobody", ["", " ", "*", "P-2"])
def test_no_patient_by_an_empty_or_odd_identifier(nobody: str) -> None:
    profiles = [profile("patient", "P-1"), profile("doctor", "D", attends=("P-1",)), profile("ward", "W")]
    assert found(profiles, {}, nobody) == []


def of_issuer(profiles: list[Profile], issuer: str) -> list[str]:
    return [f"{p.kind}:{p.identifier}" for p in Rules(profiles).recipients({}, "P-1", issuer)]


def test_equal_identifiers_of_two_issuers_are_two_patients() -> None:
    profiles = [
        profile("patient", "P-1"),
        profile("patient", "P-1^^^A"),
        profile("patient", "P-1^^^B"),
        profile("doctor", "any", attends=("P-1",)),
        profile("doctor", "of A", attends=("P-1^^^A",)),
        profile("ward", "all", attends=("*",)),
    ]
    assert of_issuer(profiles, "A") == ["patient:P-1^^^A", "doctor:any", "doctor:of A", "ward:all"]
    assert of_issuer(profiles, " B ") == ["patient:P-1^^^B", "doctor:any", "ward:all"]
    assert of_issuer(profiles, "C") == ["patient:P-1", "doctor:any", "ward:all"]
    assert of_issuer(profiles, "") == ["patient:P-1", "doctor:any", "ward:all"]


def test_a_stated_issuer_is_never_guessed() -> None:
    profiles = [profile("patient", "P-1^^^A"), profile("doctor", "of A", attends=("P-1^^^A",))]
    assert of_issuer(profiles, "") == of_issuer(profiles, "B") == of_issuer(profiles, "a") == []
    assert found(profiles, {}, "P-1^^^A") == []  # a PatientID that only looks like it


def test_attending_some_or_all() -> None:
    profiles = [
        profile("doctor", "all", attends=("*",)),
        profile("doctor", "one", attends=("P-1", "P-3")),
        profile("doctor", "other", attends=("P-2",)),
        profile("ward", "ward", attends=("P-1",)),
        profile("patient", "P-9"),
    ]
    assert found(profiles, {}) == ["doctor:all", "doctor:one", "ward:ward"]
    assert found(profiles, {}, "") == ["doctor:all"]


@pytest.mark.parametrize(
    ("kept", "header"),
    [
        ("Kim^Minsu", "Kim^Minsu"),
        ("Kim^Minsu", "KIM^MINSU"),
        ("Kim^Minsu", "Kim^Minsu^^Dr."),
        ("Kim^Minsu", "Kim Minsu"),
        ("Kim^Minsu", "Minsu Kim"),
        ("Minsu Kim", "Kim^Minsu"),
        ("Kim^Min Su", "Kim^Min  Su"),
        ("Kim^Minsu=金^民秀=김^민수", "Kim^Minsu"),
        ("김^민수", "Kim^Minsu=金^民秀=김^민수"),
        ("金^民秀", "Kim^Minsu=金^民秀"),
        ("김민수", "=김민수"),
        (unicodedata.normalize("NFD", "김^민수"), "김^민수"),
        ("Müller^Jörg", unicodedata.normalize("NFD", "MÜLLER^JÖRG")),
        ("D-7", "D-7"),
    ],
)
def test_spellings_that_are_one_name(kept: str, header: str) -> None:
    assert found([profile("doctor", "D-7" if kept == "D-7" else "D", kept)], person(header))


@pytest.mark.parametrize(
    ("kept", "header"),
    [
        ("Kim^Minsu", "Kim^Minho"),
        ("Kim^Minsu", "Kim"),
        ("Kim^Minsu", "^Minsu"),
        ("", ""),
        ("", "Kim^Minsu"),
        ("Kim^Minsu", ""),
        ("Kim^Minsu", "^^^"),
    ],
)
def test_spellings_that_are_not(kept: str, header: str) -> None:
    assert not found([profile("doctor", "D", kept)], person(header))


def test_a_name_that_fits_two_names_nobody() -> None:
    two = [profile("doctor", "D-1", "Kim^Minsu"), profile("doctor", "D-2", "KIM MINSU")]
    assert found(two, person("Kim^Minsu")) == []
    # An identifier in the header settles it.
    code = {"00401101": {"Value": [{"00080100": {"Value": ["D-2"]}}]}}
    assert found(two, {**person("Kim^Minsu"), "00080096": {"vr": "SQ", "Value": [code]}}) == ["doctor:D-2"]
    # And so does another physician's name, for that one alone.
    three = [*two, profile("doctor", "D-3", "Lee^Jun")]
    assert found(three, person("Kim^Minsu", "Lee^Jun")) == ["doctor:D-3"]


@pytest.mark.parametrize("tag", ["00080090", "0008009C", "00081050", "00321032", "00081060", "00081048"])
def test_every_kind_of_physician(tag: str) -> None:
    assert found([profile("doctor", "D", "Kim^Minsu")], person("Kim^Minsu", tag=tag)) == ["doctor:D"]
    assert not found([profile("patient", "D", "Kim^Minsu")], person("Kim^Minsu", tag=tag))


@pytest.mark.parametrize(
    ("location", "fits"), [("W3", True), ("w3", True), ("Ward 3", True), ("W33", False), ("", False)]
)
def test_the_ward_where_the_patient_lies(location: str, fits: bool) -> None:
    attributes = {"00380300": {"vr": "LO", "Value": [location]}}
    assert found([profile("ward", "W3", "Ward 3")], attributes) == (["ward:W3"] if fits else [])
    assert found([profile("ward", "W3", "")], {"00380300": {"vr": "LO"}}) == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"00080090": None},
        {"00080090": {"Value": None}},
        {"00080090": {"Value": "text"}},
        {"00080090": {"Value": [None, 1, "x", {}, {"Alphabetic": 3}, {"Alphabetic": None}]}},
        {"00080096": {"Value": [None, 3, {"00401101": 5}, {"00401101": {"Value": [None, {"00080100": None}]}}]}},
        {"00380300": {"Value": [None, 5, {}]}},
    ],
)
def test_odd_attributes_route_to_nobody_and_fail_nowhere(attributes: dict[str, Any]) -> None:
    everybody = [profile("doctor", "D", "Kim^Minsu"), profile("ward", "W", ""), profile("patient", "Q")]
    assert found(everybody, attributes) == []


def test_name_forms_as_documented() -> None:
    assert list(name_forms("Kim^Min Su=金^民秀")) == ["kim min su", "min su kim", "金 民秀", "民秀 金"]


def test_thousands_of_profiles_cost_a_study_little() -> None:
    profiles = [profile("patient", f"P-{n}") for n in range(4000)]
    profiles += [profile("doctor", f"D-{n}", f"N{n}^A", (f"P-{n}",)) for n in range(1000)]
    rules = Rules(profiles)
    attributes = person("N5^A", "Nobody^B")
    began = time.perf_counter()
    for n in range(1000):
        rules.recipients(attributes, f"P-{n}")
    each_s = (time.perf_counter() - began) / 1000
    assert each_s < 0.001
    assert [p.identifier for p in rules.recipients(attributes, "P-7")] == ["P-7", "D-5", "D-7"]
