"""Cache first, against real PACS: only what is missing is fetched, by each way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.middleware.pacs.errors import QueryInvalid
from gateway.middleware.pacs.query import Progress, Query, value
from tests.support.pacs import Orthanc, Qrscp, stocked
from tests.support.pacs_desk import HONG, STUDY, desk, make_study, settings_of, take_in

pytestmark = [pytest.mark.peer("Orthanc"), pytest.mark.peer("dcmqrscp")]
WAYS = [("orthanc", "get"), ("orthanc", "web"), ("qrscp", "get")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_study(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> Iterator[dict[str, Orthanc | Qrscp]]:
    with stocked(tmp_path_factory.mktemp("pacs"), files) as both:
        yield both


def asked(peer: Orthanc | Qrscp) -> int:
    """How often the PACS was spoken to, by its own log."""
    return sum(peer.log.count(mark) for mark in ("Association Received", "GET /dicom-web"))


@pytest.mark.parametrize(("which", "way"), WAYS)
def test_a_study_comes_whole_and_the_second_request_touches_no_pacs(
    tmp_path: Path, peers: dict[str, Orthanc | Qrscp], files: list[Path], which: str, way: str
) -> None:
    peer = peers[which]
    with desk(tmp_path / "state", settings_of(peer, way)) as at:
        told: list[Progress] = []
        done = at.retrieve(tell=told.append)
        assert (done.outcome, done.here, done.total, done.from_pacs) == ("complete", 5, 5, 5), done
        assert (told[0].here, told[-1].here, told[-1].total) == (0, 5, 5)
        assert at.here() == {path.stem for path in files}
        before = asked(peer)
        assert before > 0
        again = at.retrieve()
        assert (again.outcome, again.here, again.from_pacs) == ("complete", 5, 0)
        assert at.retrieve(series=f"{STUDY}.1").here == 3
        assert asked(peer) == before
        assert at.retrieve(series=f"{STUDY}.99").outcome == "absent", "a series that the study does not have"
        assert at.retrieve(must_ask=True).from_pacs == 0
        assert asked(peer) > before


@pytest.mark.parametrize(("which", "way"), WAYS)
def test_of_a_series_that_is_half_here_only_the_rest_is_fetched(
    tmp_path: Path, peers: dict[str, Orthanc | Qrscp], files: list[Path], which: str, way: str
) -> None:
    peer = peers[which]
    with desk(tmp_path / "state", settings_of(peer, way)) as at:
        take_in(tmp_path / "state", files[:2])
        sent = peer.log.count("Store SCU RQ")
        done = at.retrieve(series=f"{STUDY}.1")
        assert (done.outcome, done.here, done.total, done.from_pacs) == ("complete", 3, 3, 1)
        assert at.here() == {path.stem for path in files[:3]}
        if which == "qrscp":
            assert peer.log.count("Store SCU RQ") == sent + 1
        assert at.retrieve().from_pacs == 2


@pytest.mark.parametrize(("which", "way"), WAYS)
def test_a_korean_name_finds_the_patient(
    tmp_path: Path, peers: dict[str, Orthanc | Qrscp], which: str, way: str
) -> None:
    with desk(tmp_path / "state", settings_of(peers[which], way)) as at:
        # Orthanc's DICOMweb plugin 1.7 does not decode what is percent-encoded in a query.
        hangul = () if way == "web" else ("홍길동", "홍^길동", "홍*")
        for typed in (*hangul, "Hong*", "*Gildong*"):
            found = at.service.find(Query("STUDY", {"PatientName": typed}))
            assert not found.away
            assert [value(hit.attributes, "0020000D") for hit in found.hits] == [STUDY], typed
            name = found.hits[0].attributes["00100010"]["Value"][0]
            assert "=".join(name.values()) == HONG
        assert not at.service.find(Query("STUDY", {"PatientName": "김길동"})).hits
        below = Query("SERIES", {"StudyInstanceUID": STUDY})
        assert len(at.service.find(below).hits) == 2
        images = Query("IMAGE", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1"}, most=2)
        found = at.service.find(images)
        assert (len(found.hits), found.cut) == (2, ["main"])
        if way != "web":
            patients = at.service.find(Query("PATIENT", {"PatientID": "P-1"})).hits
            assert [value(hit.attributes, "00100020") for hit in patients] == ["P-1"]


def test_questions_that_are_none_reach_no_pacs(tmp_path: Path, peers: dict[str, Orthanc | Qrscp]) -> None:
    with desk(tmp_path / "state", settings_of(peers["qrscp"], "get")) as at:
        before = asked(peers["qrscp"])
        for query in (
            Query("STUDY", {"PixelData": "1"}),
            Query("STUDY", {"PatientName": "a\\b"}),
            Query("STUDY", {"StudyInstanceUID": "not a uid"}),
            Query("SERIES", {}),
            Query("IMAGE", {"StudyInstanceUID": STUDY}),
        ):
            with pytest.raises(QueryInvalid):
                at.service.find(query)
        with pytest.raises(QueryInvalid):
            at.retrieve("no uid")
        with pytest.raises(QueryInvalid):
            at.retrieve(pacs="unknown")
        assert asked(peers["qrscp"]) == before
        assert at.retrieve("1.2.3").outcome == "absent"
