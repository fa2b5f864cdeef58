"""Fetching before anybody asks: by default never; by rules exactly what they say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config_pacs import Daily, Prefetch, Priors
from gateway.management.index import arrivals, trail
from gateway.management.prefetch import Prefetcher
from tests.support.pacs import Modality, Orthanc, Qrscp
from tests.support.pacs_desk import STUDY, Desk, desk, make_study, settings_of, take_in

pytestmark = pytest.mark.peer("Orthanc")
NEW = f"{STUDY}0"
# Suffix of the study, and what differs from the new one (CT of the chest, P-1, born 1970, of 20 January 2024).
PRIORS: dict[str, dict[str, Any]] = {
    "1": {"StudyDate": "20231101"},
    "2": {"StudyDate": "20230601", "BodyPartExamined": "HEAD"},
    "3": {"StudyDate": "20230401", "Modality": "MR"},
    "4": {"StudyDate": "20230301", "Modality": "MR", "BodyPartExamined": "HEAD"},
    "5": {"StudyDate": "20100101"},
    "6": {"StudyDate": "20231201", "patient": "P-2"},
    "7": {"StudyDate": "20231201", "PatientBirthDate": "20010101"},
    "8": {"StudyDate": "20240301"},
}


def study_of(folder: Path, suffix: str, **more: Any) -> list[Path]:
    values = {"PatientBirthDate": "19700101", "BodyPartExamined": "CHEST", "Modality": "CT", **more}
    return make_study(folder / suffix, (1,), f"{STUDY}{suffix}", **values)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("pacs")
    with Orthanc(folder / "orthanc", [Modality("MPACS", 1)]) as peer:
        for suffix, more in PRIORS.items():
            peer.put(study_of(folder / "files", suffix, **more))
        yield peer


def arrive(at: Desk, folder: Path, study: str, files: list[Path]) -> None:
    take_in(at.state.root, files)
    with at.engine.begin() as connection:
        arrivals.mark_settled(connection, [study], 4e9)


def fetched(at: Desk) -> set[str]:
    return {suffix for suffix in PRIORS if at.here(f"{STUDY}{suffix}")}


@pytest.mark.parametrize(
    ("priors", "expected"),
    [
        (Priors(), set()),
        (Priors(most=9), {"1", "2", "3"}),
        (Priors(most=9, same="modality"), {"1", "2"}),
        (Priors(most=9, same="body part"), {"1", "3"}),
        (Priors(most=9, same="patient"), {"1", "2", "3", "4"}),
        (Priors(most=1, same="patient"), {"1"}),
        (Priors(most=9, same="patient", years=30), {"1", "2", "3", "4", "5"}),
    ],
    ids=lambda value: f"{value.most}-{value.same}-{value.years:g}" if isinstance(value, Priors) else "",
)
def test_priors_of_an_arriving_study(tmp_path: Path, pacs: Orthanc, priors: Priors, expected: set[str]) -> None:
    with desk(tmp_path / "state", settings_of(pacs, "get", per_minute=6000)) as at:
        prefetcher = Prefetcher(Prefetch(priors), at.engine, at.service)
        prefetcher.begin()
        before = pacs.log.count("Association Received")
        arrive(at, tmp_path, NEW, study_of(tmp_path / "files", "0", StudyDate="20240120"))
        assert prefetcher.step() == len(expected)
        assert fetched(at) == expected
        with at.engine.connect() as connection:
            noted = [one.event for one in trail.latest_first(connection)]
        kinds = [one["event"] for one in noted if "prefetch" in one.get("what", "")]
        assert kinds.count("retrieve") == len(expected) and kinds.count("search") == bool(priors.most)
        if not expected:
            assert pacs.log.count("Association Received") == before
        # What was fetched has no priors of its own, and what was looked at is not looked at again.
        with at.engine.begin() as connection:
            arrivals.mark_settled(connection, [f"{STUDY}{suffix}" for suffix in expected], 4e9)
        assert prefetcher.step() == prefetcher.step() == 0


def test_what_is_here_at_the_first_start_is_no_arrival(tmp_path: Path, pacs: Orthanc) -> None:
    with desk(tmp_path / "state", settings_of(pacs, "get")) as at:
        arrive(at, tmp_path, NEW, study_of(tmp_path / "files", "0", StudyDate="20240120"))
        prefetcher = Prefetcher(Prefetch(Priors(most=9)), at.engine, at.service)
        prefetcher.begin()
        assert prefetcher.step() == 0 and not fetched(at)


def test_a_list_at_a_time_of_day(tmp_path: Path, pacs: Orthanc) -> None:
    with desk(tmp_path / "state", settings_of(pacs, "get", per_minute=6000)) as at:
        daily = Daily("05:30", {"StudyDate": "yesterday"}, "main")
        prefetcher = Prefetcher(Prefetch(daily=[daily]), at.engine, at.service)
        assert prefetcher.run_daily(daily, dt.date(2023, 12, 2)) == 2
        assert fetched(at) == {"6", "7"}
        with at.engine.connect() as connection:
            noted = [one.event for one in trail.latest_first(connection)][:3]
        assert [
            (one["event"], one["who"], one["whom"], one.get("patient"), one.get("study")) for one in noted[::-1]
        ] == [
            ("search", "gateway", "pacs:main", None, None),
            *(("retrieve", "gateway", "pacs:main", p, f"{STUDY}{s}") for p, s in (("P-2", "6"), ("P-1", "7"))),
        ]
        assert prefetcher.run_daily(daily, dt.date(2023, 12, 2)) == 0


@pytest.mark.peer("dcmqrscp")
def test_a_pacs_that_does_not_say_modalities_in_study_is_asked_for_the_series(tmp_path: Path) -> None:
    with Qrscp(tmp_path / "qrscp", []) as peer:
        for suffix in ("1", "3"):
            peer.put(study_of(tmp_path / "files", suffix, **PRIORS[suffix]))
        with desk(tmp_path / "state", settings_of(peer, "get", per_minute=6000)) as at:
            prefetcher = Prefetcher(Prefetch(Priors(most=9, same="modality")), at.engine, at.service)
            prefetcher.begin()
            arrive(at, tmp_path, NEW, study_of(tmp_path / "files", "0", StudyDate="20240120"))
            assert prefetcher.step() == 1
            assert fetched(at) == {"1"}
