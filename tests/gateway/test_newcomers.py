"""Profiles of those whom a PACS's studies name: real PACS, the real command line, and nobody's profile changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.cli import main
from gateway.management.index.people import Profile
from gateway.management.newcomers import Known, Newcomer, named_in
from tests.support.pacs import Orthanc, Qrscp, stocked
from tests.support.pacs_desk import HONG, STUDY, desk, make_study, settings_of

KIM = "Kim^Minsu^^Dr=金^民秀=김^민수"


def person(code: str) -> Dataset:
    """An item of a Person Identification Macro (PS3.3 table 10-1)."""
    named, item = Dataset(), Dataset()
    named.CodeValue, named.CodingSchemeDesignator, named.CodeMeaning = code, "99STAFF", "staff number"
    item.PersonIdentificationCodeSequence = Sequence([named])
    item.InstitutionName = "Clinic"
    return item


def studies(folder: Path) -> list[Path]:
    """Of January 2024: two of P-1, one of P-2 (MR); of 2020 one of P-3; and one of nobody."""
    made: list[Path] = []
    for suffix, patient, day, more in (
        ("1", "P-1", "20240110", {"ReferringPhysicianName": KIM, "IssuerOfPatientID": "CLINIC"}),
        ("2", "P-1", "20240120", {"ReferringPhysicianName": KIM, "IssuerOfPatientID": "CLINIC"}),
        ("3", "P-2", "20240115", {
            "ReferringPhysicianName": "Park^Jisoo", "PhysiciansOfRecord": ["Lee^Attending", "Choi^Other"],
            "PhysiciansOfRecordIdentificationSequence": Sequence([person("D-7"), person("D-8")]), "Modality": "MR",
        }),
        ("4", "P-3", "20200115", {"ReferringPhysicianName": "Old^Doctor"}),
        ("5", "", "20240116", {}),
    ):  # fmt: skip
        values = {"patient": patient, "StudyDate": day, "ReferringPhysicianName": "", **more}
        made += make_study(folder / suffix, (1,), f"{STUDY}{suffix}", **values)
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return studies(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> Iterator[dict[str, Orthanc | Qrscp]]:
    with stocked(tmp_path_factory.mktemp("pacs"), files) as both:
        yield both


def call(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--state", str(folder)])


def rows(done: Result) -> list[dict[str, Any]]:
    return list(json.loads(done.stdout))


def profiles(folder: Path) -> dict[tuple[str, str], str]:
    return {(one["kind"], one["id"]): one["name"] for one in rows(call(folder, "profile", "list", "--json"))}


@pytest.mark.peer("Orthanc")
@pytest.mark.peer("dcmqrscp")
@pytest.mark.parametrize("which", ["orthanc", "qrscp"])
def test_those_whom_a_pacs_names_get_profiles(tmp_path: Path, peers: dict[str, Orthanc | Qrscp], which: str) -> None:
    with desk(tmp_path / "state", settings_of(peers[which], "get", per_minute=6000)):
        pass
    folder = tmp_path / "state"
    assert call(folder, "profile", "add", "patient", "P-2", "--name", "As^Set").exit_code == 0
    january = ("profile", "import", "--from-pacs", "main", "--date", "20240101-20240131", "--json")
    before = profiles(folder)
    tried = call(folder, *january, "--dry-run")
    assert tried.exit_code == 0, tried.stderr
    assert {one["outcome"] for one in rows(tried)} == {"would be added", "known"}
    assert "1 studies state no PatientID" in tried.stderr
    assert profiles(folder) == before == {("patient", "P-2"): "As^Set"}

    done = call(folder, *january)
    assert done.exit_code == 0, done.stderr
    # dcmqrscp does not say who the physicians of record are.
    more = {("doctor", "D-7"), ("doctor", "D-8")} if which == "orthanc" else set()
    mine = {("patient", "P-1^^^CLINIC"): HONG, ("doctor", "Kim^Minsu"): KIM, ("doctor", "Park^Jisoo"): "Park^Jisoo"}
    there = profiles(folder)
    assert there.keys() == {*mine, *more, ("patient", "P-2")}
    assert {key: there[key] for key in mine} == mine and there["patient", "P-2"] == "As^Set"
    assert {one["id"]: one["studies"] for one in rows(done) if one["kind"] == "patient"} == {
        "P-1^^^CLINIC": 2,
        "P-2": 1,
    }
    assert {one["outcome"] for one in rows(call(folder, *january))} == {"known"}
    noted = rows(call(folder, "audit", "show", "--json"))
    assert any(one["event"] == "search" and one["whom"] == "pacs:main" for one in noted)
    assert sum(one["event"] == "profile-changed" for one in noted) == len(there)

    mr = call(folder, "profile", "import", "--from-pacs", "main", "--modality", "mr", "--kind", "patient", "--json")
    assert [(one["id"], one["outcome"]) for one in rows(mr)] == [("P-2", "known")]
    text = call(folder, "profile", "import", "--from-pacs", "main", "--date", "-20201231").stdout
    assert "Old^Doctor" in text and "added" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from-pacs", "nobody", "--date", "20240101"], 1, "no PACS of that name"),
        (["--from-pacs", "main"], 2, "--date or --modality"),
        ([], 2, "a CSV file, or a PACS"),
        (["--from-pacs", "main", "--date", "yesterday"], 2, "a day such as 20240131"),
        (["--from-pacs", "main", "--date", "20240231"], 2, "a day such as 20240131"),
        (["--from-pacs", "main", "--date", "20240201-20240101"], 2, "begins before it ends"),
        (["--from-pacs", "main", "--date", "20240201"], 1, "main: it cannot be reached"),
    ],
)
def test_what_cannot_be_searched_by_is_said(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    away = {"name": "main", "aet": "AWAY", "host": "127.0.0.1", "port": 9, "tries": 1}
    with desk(tmp_path / "state", away):
        pass
    done = call(tmp_path / "state", "profile", "import", *arguments)
    assert done.exit_code == code and said in " ".join(done.stderr.split()), done.stderr


def known(*several: tuple[Any, str, str]) -> Known:
    return Known([Profile(identifier, kind, identifier, name, ()) for kind, identifier, name in several])


@pytest.mark.parametrize(
    ("there", "one", "outcome"),
    [
        ([], ("patient", "P-1", ""), "new"),
        ([("patient", "P-1", "Set")], ("patient", "P-1", "Other"), "known"),
        ([("patient", "P-1", "")], ("patient", "P-1^^^A", ""), "known"),
        ([("patient", "P-1^^^A", "")], ("patient", "P-1^^^B", ""), "new"),
        ([("patient", "P-1^^^A", "")], ("patient", "P-1", ""), "refused"),
        ([("doctor", "D-1", "Kim^Minsu")], ("doctor", "Kim^Minsu", "Kim^Minsu"), "known"),
        ([("doctor", "D-1", "Kim^Minsu")], ("doctor", "D-1", "Kim^M"), "known"),
        ([("doctor", "D-1", "Kim^Minsu")], ("doctor", "D-2", "KIM^MINSU"), "refused"),
        ([("doctor", "Kim^Minsu", "")], ("doctor", "D-2", "Kim^Minsu"), "refused"),
        ([("ward", "W3", "Kim^Minsu")], ("doctor", "Kim^Minsu", "Kim^Minsu"), "new"),
    ],
)
def test_nobody_who_is_there_loses_a_study_by_who_is_let_in(there: Any, one: Any, outcome: str) -> None:
    assert known(*there).let_in(Newcomer(*one))[0] == outcome


def test_one_person_of_several_names_is_said() -> None:
    def study(date: str, name: str) -> dict[str, Any]:
        return {
            "00080020": {"vr": "DA", "Value": [date]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
            "00100020": {"vr": "LO", "Value": ["P-1"]},
        }

    (one,), nameless = named_in([study("20200101", "Hong^Maiden"), study("20240101", "Hong^Now")])
    assert (one.name, one.studies, nameless) == ("Hong^Now", 2, 0)
    assert known().let_in(one) == ("new", "some of its studies have another name: is it one person?")
