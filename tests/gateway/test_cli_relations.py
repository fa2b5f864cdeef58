"""`profile attend`, `leave`, `import` and `release` as they are typed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = CliRunner().invoke(main, ["init", "--state", str(tmp_path / "state")])
    assert made.exit_code == 0, made.output
    return tmp_path / "state"


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--state", str(folder)])


def profiles(folder: Path) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in json.loads(run(folder, "profile", "list", "--json").stdout)}


def test_attend_and_leave(folder: Path) -> None:
    run(folder, "profile", "add", "doctor", "D-17")
    done = run(folder, "profile", "attend", "doctor", "D-17", "P-1", "--until", "2099-01-01T08:00")
    assert done.exit_code == 0 and "until 2099-01-01T08:00" in done.stdout
    (term,) = profiles(folder)["D-17"]["terms"]
    assert (term["patient"], term["role"]) == ("P-1", "attending")
    assert run(folder, "profile", "leave", "doctor", "D-17", "P-1").exit_code == 0
    assert profiles(folder)["D-17"]["terms"] == []
    again = run(folder, "profile", "leave", "doctor", "D-17", "P-1")
    assert again.exit_code == 1 and "does not attend" in again.stderr
    assert run(folder, "profile", "attend", "doctor", "nobody", "P-1").exit_code == 1
    assert run(folder, "profile", "attend", "patient", "P-1", "P-1").exit_code == 2
    over = run(folder, "profile", "attend", "doctor", "D-17", "P-1", "--until", "2000-01-01")
    assert over.exit_code == 1 and "end before it begins" in over.stderr
    shown = json.loads(run(folder, "audit", "show", "--who", "doctor:D-17", "--json").stdout)
    assert [one.get("patient") for one in shown] == ["P-1", "P-1", None]


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-8", "cp949"])
def test_people_from_a_table(folder: Path, tmp_path: Path, coding: str) -> None:
    rows = [
        "Kind,ID,name,issuer,attends,until",
        "patient,P-1,홍^길동,HOSP,,",
        "doctor,D-1,김^민수,,P-1^^^HOSP,",
        "doctor,D-1,,,P-2,2099-01-01",
        "ward,W3,Ward 3,,*,",
        "nurse,N-1,,,,",
        "doctor,,,,,",
        "patient,P-2,,,P-1,",
        "doctor,D-2,,,P-1,soon",
        "doctor,D-3,Kim, Minsu,,,",
    ]
    file = tmp_path / "people.csv"
    file.write_bytes("\r\n".join(rows).encode(coding))
    dry = run(folder, "profile", "import", str(file), "--dry-run", "--json")
    assert dry.exit_code == 1 and profiles(folder) == {}, "nothing is done"
    done = run(folder, "profile", "import", str(file), "--json")
    assert done.exit_code == 1 and "5 of 9 rows were refused" in done.stderr
    outcomes = json.loads(done.stdout)
    assert [one["outcome"] for one in outcomes] == ["added", "added", "changed", "added", *["refused"] * 5]
    assert [one["line"] for one in outcomes] == list(range(2, 11))
    found = profiles(folder)
    assert found["P-1^^^HOSP"]["name"] == "홍^길동"
    assert found["D-1"]["name"] == "김^민수", "an empty cell leaves what is there"
    assert found["D-1"]["attends"] == ["P-1^^^HOSP"] and found["D-1"]["terms"][0]["patient"] == "P-2"
    assert set(found) == {"P-1^^^HOSP", "D-1", "W3"}


@pytest.mark.parametrize("text", ["", "name,id\nx,y\n", "kind,id,colour\n", "\xff\xfe\x00"])
def test_a_table_of_another_form_is_refused_whole(folder: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(text.encode("latin-1"))
    done = run(folder, "profile", "import", str(file))
    assert done.exit_code == 1 and str(file) in done.stderr
    assert profiles(folder) == {}


def test_a_kind_of_entry_that_there_is_not_is_said(folder: Path) -> None:
    done = run(folder, "audit", "show", "--event", "nonsense")
    assert done.exit_code == 2 and "break-glass" in done.stderr


def test_release_names_what_is_not_here(folder: Path) -> None:
    done = run(folder, "release", "1.2.3")
    assert done.exit_code == 1 and "1.2.3" in done.stderr and "1 of 1" in done.stderr
