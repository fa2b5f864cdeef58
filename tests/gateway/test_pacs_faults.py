"""PACS that fall, lose and refuse: what came stays, the rest comes, and nothing else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.management.index import arrivals_read, retrieved
from gateway.management.index.arrivals_quarantine import list_quarantine, set_instance_state
from gateway.middleware.pacs.query import Query, Retrieved
from gateway.middleware.scp_settings import ScpSettings
from tests.support.broker_process import free_port, wait_until
from tests.support.pacs import Modality, Orthanc, Qrscp
from tests.support.pacs_desk import STUDY, Desk, desk, make_study, settings_of, take_in

pytestmark = [pytest.mark.peer("Orthanc"), pytest.mark.peer("dcmqrscp")]
WAYS = [("orthanc", "get"), ("orthanc", "move"), ("orthanc", "web"), ("qrscp", "get"), ("qrscp", "move")]
Peers = dict[str, Orthanc | Qrscp]
PORT = free_port()
MANY = f"{STUDY}4"
BAD = f"{STUDY}5"
SMALL = f"{STUDY}6"


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    folder = tmp_path_factory.mktemp("pacs")
    known = [Modality("MPACS", PORT)]
    with Orthanc(folder / "orthanc", known) as orthanc, Qrscp(folder / "qrscp", known) as qrscp:
        both: Peers = {"orthanc": orthanc, "qrscp": qrscp}
        for peer in both.values():
            peer.put(make_study(folder / "many", (60, 60), MANY, side=256))
            peer.put(make_study(folder / "small", (3, 2), SMALL))
            good = make_study(folder / "good", (4,), BAD)
            # An identifier that is longer than any: taken by both, refused at the gateway's door.
            bad = make_study(folder / "bad", (2,), BAD, IssuerOfPatientID="x" * 300)
            peer.put([good[0], bad[1], *good[2:]])
        yield both


@contextlib.contextmanager
def site(folder: Path, peer: Orthanc | Qrscp, way: str, **more: object) -> Iterator[Desk]:
    intake = ScpSettings(host="127.0.0.1", port=PORT) if way == "move" else None
    with desk(folder, settings_of(peer, way, per_minute=6000, **more), intake=intake) as at:
        yield at


def searches(peer: Orthanc | Qrscp) -> int:
    """How often the PACS searched, by its own log."""
    return sum(peer.log.count(mark) for mark in ("C-FIND RQ", "Incoming Find", "/instances?", "/series?"))


def cut(at: Desk, study: str) -> list[str]:
    with at.engine.connect() as connection:
        return retrieved.cut(connection, study)


def _while_it_comes(at: Desk, results: list[Retrieved]) -> threading.Thread:
    thread = threading.Thread(target=lambda: results.append(at.retrieve(MANY)))
    thread.start()
    wait_until(lambda: len(at.here(MANY)) >= 5, 30, "the first instances are here")
    return thread


@pytest.mark.parametrize(("which", "way"), WAYS)
def test_a_pacs_is_killed_in_mid_fetch_and_the_rest_comes_after_its_restart(
    tmp_path: Path, peers: Peers, which: str, way: str
) -> None:
    peer = peers[which]
    results: list[Retrieved] = []
    with site(tmp_path / "state", peer, way) as at:
        thread = _while_it_comes(at, results)
        peer.kill()
        thread.join()
        try:
            (broken,) = results
            kept = at.here(MANY)
            assert broken.outcome == "partial" and broken.reason, broken
            assert 5 <= broken.here == len(kept) < 120 == broken.total
            assert cut(at, MANY) == [""], "it is known to be incomplete"
            assert at.service.find(Query()).away[0].pacs == "main"
            assert at.retrieve(MANY).outcome == "partial", "what is here stays usable while the PACS is down"
            assert at.here(MANY) == kept
        finally:
            peer.start()
        rest = at.retrieve(MANY)
        assert (rest.outcome, rest.from_pacs) == ("complete", 120 - len(kept))
        assert cut(at, MANY) == []


def test_a_retrieval_waits_for_a_pacs_that_is_restarted(tmp_path: Path, peers: Peers) -> None:
    peer = peers["qrscp"]
    results: list[Retrieved] = []
    with site(tmp_path / "state", peer, "get", tries=10) as at:
        thread = _while_it_comes(at, results)
        peer.kill()
        peer.start()
        thread.join()
        assert (results[0].outcome, results[0].from_pacs) == ("complete", 120)


@pytest.mark.parametrize(("which", "way"), WAYS)
def test_an_instance_that_the_door_refuses_costs_no_other(tmp_path: Path, peers: Peers, which: str, way: str) -> None:
    with site(tmp_path / "state", peers[which], way) as at:
        done = at.retrieve(BAD)
        assert (done.outcome, done.here, done.total) == ("partial", 3, 4)
        assert "1 of 4 instances are missing" in done.reason
        assert at.here(BAD) == {f"{BAD}.1.{number}" for number in (1, 3, 4)}
        assert cut(at, BAD) == [], "the PACS has no more that could come"
        with at.engine.connect() as connection:
            assert [row.reason for row in list_quarantine(connection)] == ["illegal-value"]


@pytest.mark.parametrize(("which", "way"), WAYS)
def test_of_what_was_evicted_that_alone_is_fetched_again(tmp_path: Path, peers: Peers, which: str, way: str) -> None:
    peer = peers[which]
    with site(tmp_path / "state", peer, way) as at:
        take_in(tmp_path / "state", sorted(peer.folder.parent.joinpath("small").iterdir()))
        assert at.retrieve(SMALL).from_pacs == 0
        gone = f"{SMALL}.2.1"
        with at.engine.begin() as connection:
            row = arrivals_read.instance(connection, gone)
            assert row is not None
            set_instance_state(connection, [row.id], "evicted")
        before = searches(peer)
        assert before > 0
        done = at.retrieve(SMALL)
        assert (done.outcome, done.here, done.from_pacs) == ("complete", 5, 1)
        assert gone in at.here(SMALL)
        # By QIDO-RS or C-FIND: it is known what is missing.
        assert searches(peer) == before


def test_two_pacs_of_which_one_is_away(tmp_path: Path, peers: Peers) -> None:
    away = {"name": "away", "aet": "AWAY", "host": "127.0.0.1", "port": free_port(), "tries": 1}
    with desk(tmp_path / "state", away, settings_of(peers["qrscp"], "get")) as at:
        assert at.retrieve(BAD).pacs == "main"
        nothing = at.retrieve("1.2.3")
        assert nothing.outcome == "absent" and "away: it cannot be reached" in nothing.reason
