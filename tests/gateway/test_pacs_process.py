"""PACS as the core and the command line meet them: the process, its socket, C-MOVE to the gateway's own intake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.middleware.pacs.client import PacsClient
from gateway.middleware.pacs.errors import PacsAway, QueryInvalid
from gateway.middleware.pacs.query import Progress, Query, value
from tests.support.broker_process import free_port
from tests.support.gateways import RunningGateway
from tests.support.pacs import Modality, Orthanc, Qrscp
from tests.support.pacs_desk import STUDY, make_study, settings_of

pytestmark = [pytest.mark.peer("Orthanc"), pytest.mark.peer("dcmqrscp")]
OTHER = f"{STUDY}9"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, Orthanc, Qrscp]]:
    """A gateway with two PACS to which it speaks by C-MOVE, and one that is not there."""
    folder = tmp_path_factory.mktemp("site")
    port = free_port()
    known = [Modality("MPACS", port)]
    with Orthanc(folder / "orthanc", known) as orthanc, Qrscp(folder / "qrscp", known) as qrscp:
        orthanc.put(make_study(folder / "one"))
        qrscp.put(make_study(folder / "other", (4,), OTHER, "P-2", "Kim^Minsu"))
        pacs = [
            settings_of(orthanc, "move", name="orthanc"),
            settings_of(qrscp, "move", name="qrscp"),
            {"name": "away", "aet": "AWAY", "host": "127.0.0.1", "port": free_port(), "tries": 1},
        ]
        with RunningGateway(folder / "state", settings={"pacs": pacs}, dicom_port=port) as gateway:
            yield gateway, orthanc, qrscp


def client_of(gateway: RunningGateway) -> PacsClient:
    return PacsClient(gateway.folder / "pacs.sock")


def test_the_core_finds_in_all_of_them_and_hears_who_was_away(site: tuple[RunningGateway, Orthanc, Qrscp]) -> None:
    found = asyncio.run(client_of(site[0]).find(Query("STUDY", {"PatientName": "*"})))
    assert {(hit.pacs, value(hit.attributes, "00100020")) for hit in found.hits} == {
        ("orthanc", "P-1"),
        ("qrscp", "P-2"),
    }
    assert [one.pacs for one in found.away] == ["away"]
    alone = asyncio.run(client_of(site[0]).find(Query("STUDY", {"PatientName": "*"}), ["qrscp"]))
    assert [hit.pacs for hit in alone.hits] == ["qrscp"] and not alone.away


def test_the_core_retrieves_by_move_and_equal_requests_join(site: tuple[RunningGateway, Orthanc, Qrscp]) -> None:
    gateway, orthanc, _ = site
    told: list[Progress] = []

    async def twice() -> None:
        client = client_of(gateway)
        one, other = await asyncio.gather(client.retrieve(STUDY, on_progress=told.append), client.retrieve(STUDY))
        assert one == other
        assert (one.outcome, one.total, one.from_pacs, one.pacs) == ("complete", 5, 5, "orthanc")

    asyncio.run(twice())
    assert told[-1].here == 5
    assert orthanc.log.count("Move-SCU request received") == 1
    gateway.wait_studies(lambda studies: any(s["StudyInstanceUID"] == STUDY and s["settled"] for s in studies))
    assert "P-1" not in gateway.log and STUDY not in gateway.log


def test_the_command_line_asks_by_way_of_the_gateway_that_runs(site: tuple[RunningGateway, Orthanc, Qrscp]) -> None:
    gateway, *_ = site
    assert gateway.cli("pacs", "echo", "qrscp").strip() == "qrscp answers"
    away = gateway.run_cli("pacs", "echo", "away")
    assert away.returncode == 1 and "cannot be reached" in away.stderr
    hits = gateway.cli("pacs", "find", "qrscp", "--name", "Kim*", json=True)
    assert [value(hit, "0020000D") for hit in hits] == [OTHER]
    assert "Kim^Minsu" in gateway.cli("pacs", "find", "qrscp", "--patient", "P-2")
    done = gateway.cli("pacs", "get", "qrscp", "--study", OTHER, json=True)
    assert (done["outcome"], done["here"], done["total"]) == ("complete", 4, 4)
    missing = gateway.run_cli("pacs", "get", "qrscp", "--study", "1.2.3", "--json")
    assert missing.returncode == 1 and json.loads(missing.stdout)["outcome"] == "absent"
    for uids in (["1.2.3"], [OTHER, "--series", f"{OTHER}.99"]):
        missing = gateway.run_cli("pacs", "get", "qrscp", "--study", *uids)
        assert missing.returncode == 1 and not missing.stdout and "not found" in missing.stderr
    events = [one for one in gateway.cli("audit", "show", json=True) if one.get("whom") == "pacs:qrscp"]
    seen = {(one["event"], one.get("outcome", "success"), one.get("patient"), one.get("study")) for one in events}
    assert {("search", "success", "P-2", None), ("retrieve", "success", "P-2", OTHER)} <= seen
    assert ("retrieve", "failed", None, "1.2.3") in seen and all(one["who"].startswith("operator:") for one in events)
    listed = {one["pacs"]: one for one in gateway.cli("pacs", "list", json=True)}
    assert listed["qrscp"]["answered_at"] and not listed["qrscp"]["error"]
    assert listed["away"]["answered_at"] is None and listed["away"]["error"]


def test_status_names_each_pacs_and_one_that_is_away_is_no_fault(site: tuple[RunningGateway, Orthanc, Qrscp]) -> None:
    gateway, *_ = site
    gateway.wait_healthy()
    parts = {part["part"]: part for part in gateway.cli("status", json=True)}
    assert "answered at" in parts["pacs qrscp"]["detail"]
    assert parts["pacs away"]["detail"].startswith("AWAY: it cannot be reached")


def test_a_pacs_process_that_falls_is_started_again(site: tuple[RunningGateway, Orthanc, Qrscp]) -> None:
    gateway, *_ = site
    pid = gateway.kill("pacs")
    gateway.wait_part("pacs", pid)

    async def soon() -> str:
        for _ in range(600):
            try:
                return (await client_of(gateway).retrieve(OTHER)).outcome
            except PacsAway:
                await asyncio.sleep(0.05)
        return "never"

    assert asyncio.run(soon()) == "complete"


def test_who_asks_wrongly_hears_why(site: tuple[RunningGateway, Orthanc, Qrscp], tmp_path: Path) -> None:
    client = client_of(site[0])
    with pytest.raises(QueryInvalid):
        asyncio.run(client.find(Query("STUDY", {"Rows": "1"})))
    with pytest.raises(QueryInvalid):
        asyncio.run(client.find(Query("STUDY", {}), ["nobody"]))
    nowhere = PacsClient(tmp_path / "pacs.sock")
    assert not nowhere.is_there
    with pytest.raises(PacsAway):
        asyncio.run(nowhere.find(Query()))


def test_a_pacs_whose_token_cannot_be_read_stops_nothing_else(tmp_path: Path) -> None:
    bad = {"name": "bad", "dicomweb": "http://127.0.0.1:9/dicom-web", "token_file": "/nonexistent/token"}
    with RunningGateway(tmp_path / "state", settings={"pacs": [bad]}) as gateway:
        gateway.wait_part("intake")
        assert "it is left out until the next start" in gateway.log
        assert gateway.run_cli("pacs", "echo", "bad").returncode == 1
