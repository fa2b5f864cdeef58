"""The long form: a CT of 300 slices by each way, and how long it takes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.middleware.scp_settings import ScpSettings
from tests.support.broker_process import free_port
from tests.support.pacs import Modality, Orthanc, Qrscp
from tests.support.pacs_desk import STUDY, desk, make_study, settings_of

pytestmark = [pytest.mark.long, pytest.mark.peer("Orthanc"), pytest.mark.peer("dcmqrscp"), pytest.mark.timeout(600)]
SLICES = 300
Site = tuple[dict[str, Orthanc | Qrscp], int]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port = tmp_path_factory.mktemp("pacs"), free_port()
    known = [Modality("MPACS", port), Modality("GETSCU", port)]
    files = make_study(folder / "files", (SLICES,), side=512)
    with Orthanc(folder / "orthanc", known) as orthanc, Qrscp(folder / "qrscp", known) as qrscp:
        orthanc.put(files)
        qrscp.put(files)
        yield {"orthanc": orthanc, "qrscp": qrscp}, port


@pytest.mark.parametrize(
    ("which", "way"), [("orthanc", "get"), ("orthanc", "move"), ("orthanc", "web"), ("qrscp", "get"), ("qrscp", "move")]
)
def test_three_hundred_slices(tmp_path: Path, site: Site, which: str, way: str) -> None:
    peers, port = site
    peer = peers[which]
    intake = ScpSettings(host="127.0.0.1", port=port) if way == "move" else None
    with desk(tmp_path / "state", settings_of(peer, way), intake=intake) as at:
        begun = time.monotonic()
        done = at.retrieve()
        took = time.monotonic() - begun
        assert (done.outcome, done.from_pacs) == ("complete", SLICES), done
        before = peer.log
        begun = time.monotonic()
        assert at.retrieve().from_pacs == 0
        print(
            f"{which} by {way}: {took:.2f} s for {SLICES} slices, {time.monotonic() - begun:.3f} s when they are here"
        )
        assert peer.log == before, "no PACS was asked"
    if way == "get":
        begun = time.monotonic()
        command = ["getscu", "-S", "-aec", peer.aet, "-aet", "MPACS", "-od", str(tmp_path), "127.0.0.1", str(peer.port)]
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]
        subprocess.run([*command, *keys], check=True, capture_output=True, timeout=300)
        print(f"{which} by DCMTK's getscu, which makes nothing durable: {time.monotonic() - begun:.2f} s")
