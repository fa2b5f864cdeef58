"""What a user uploads goes to the PACS, and the PACS says that it keeps it: C-STORE, STOW-RS, storage commitment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from gateway import app
from gateway.management.index import commitments
from gateway.middleware.pacs.client import PacsClient
from gateway.middleware.pacs.errors import PacsAway, PacsRefused, QueryInvalid
from gateway.middleware.scp_settings import ScpSettings
from tests.support.broker_process import free_port, wait_until
from tests.support.gateways import RunningGateway
from tests.support.pacs import Modality, Orthanc, Qrscp
from tests.support.pacs_desk import STUDY, desk, make_study, settings_of

pytestmark = [pytest.mark.peer("Orthanc"), pytest.mark.peer("dcmqrscp")]


@dataclass
class Site:
    orthanc: Orthanc
    qrscp: Qrscp
    port: int


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port = tmp_path_factory.mktemp("pacs"), free_port()
    known = [Modality("MPACS", port)]
    with Orthanc(folder / "orthanc", known) as orthanc, Qrscp(folder / "qrscp", known) as qrscp:
        yield Site(orthanc, qrscp, port)


@pytest.mark.parametrize(("which", "way"), [("orthanc", "get"), ("orthanc", "web"), ("qrscp", "get")])
def test_a_file_is_stored_and_comes_back(tmp_path: Path, site: Site, which: str, way: str) -> None:
    peer = site.orthanc if which == "orthanc" else site.qrscp
    study = f"{STUDY}.{which == 'orthanc':d}.{way == 'web':d}"
    (path,) = make_study(tmp_path / "files", (1,), study)
    with desk(tmp_path / "state", settings_of(peer, way)) as at:
        for _ in range(2):  # twice is once
            done = at.service.store("main", path)
            assert done.ok and done.SOPInstanceUID == path.stem, done
        assert at.retrieve(study).total == 1


@pytest.mark.parametrize(("which", "way"), [("orthanc", "get"), ("orthanc", "web")])
def test_what_is_no_dicom_is_not_sent(tmp_path: Path, site: Site, which: str, way: str) -> None:
    (tmp_path / "text").write_text("no DICOM")
    with desk(tmp_path / "state", settings_of(site.orthanc, way)) as at:
        done = at.service.store("main", tmp_path / "text")
        assert not done.ok and "no DICOM file" in done.reason


def test_a_pacs_that_is_away_is_told_apart_from_one_that_refuses(tmp_path: Path, site: Site) -> None:
    (path,) = make_study(tmp_path / "files", (1,))
    away = {"name": "away", "aet": "AWAY", "host": "127.0.0.1", "port": free_port()}
    stranger = settings_of(site.qrscp, "get", name="stranger", aet="NOBODY")
    with desk(tmp_path / "state", away, stranger) as at:
        with pytest.raises(PacsAway):
            at.service.store("away", path)
        with pytest.raises(PacsRefused):
            at.service.store("stranger", path)
        with pytest.raises(QueryInvalid):
            at.service.store("unknown", path)


def test_orthanc_commits_to_what_it_has_and_to_nothing_else(tmp_path: Path, site: Site) -> None:
    (path,) = make_study(tmp_path / "files", (1,), f"{STUDY}.7")
    settings = {"pacs": [settings_of(site.orthanc, "get")]}
    with RunningGateway(tmp_path / "state", settings=settings, dicom_port=site.port) as gateway:
        client = PacsClient(gateway.folder / "pacs.sock")
        assert asyncio.run(client.store("main", path)).ok
        kind = str(pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID)
        transaction = asyncio.run(client.commit("main", [(kind, path.stem), (kind, "1.2.3.4.5")]))
        _, opened, _ = app.open_registry(app.State(gateway.folder))

        def states() -> dict[str, tuple[str, int]]:
            with opened.connect() as connection:
                return commitments.states(connection, transaction)

        wait_until(lambda: all(state != "pending" for state, _ in states().values()), 30, f"committed: {gateway.log}")
        # 0x0112: no such object instance (PS3.3 section C.14.1.1)
        assert states() == {path.stem: ("kept", 0), "1.2.3.4.5": ("failed", 0x0112)}
        opened.dispose()
        assert path.stem not in gateway.log


def test_a_report_that_nobody_asked_for_changes_nothing(tmp_path: Path) -> None:
    from pynetdicom import AE, build_role

    from gateway.middleware import commitment

    with desk(tmp_path / "state", intake=ScpSettings(host="127.0.0.1", port=(port := free_port()))):
        entity = AE("ORTHANC")
        entity.add_requested_context(commitment.PUSH_MODEL)
        role = build_role(commitment.PUSH_MODEL, scp_role=True)
        association = entity.associate("127.0.0.1", port, ext_neg=[role])
        assert association.is_established
        report = commitment.request("1.2.3", [("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4")])
        status, _ = association.send_n_event_report(report, 1, commitment.PUSH_MODEL, commitment.INSTANCE)
        assert status.Status == 0x0112
        del report.TransactionUID
        status, _ = association.send_n_event_report(report, 1, commitment.PUSH_MODEL, commitment.INSTANCE)
        assert status.Status == 0x0115
        association.release()
