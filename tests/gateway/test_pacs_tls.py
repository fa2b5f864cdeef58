"""TLS towards PACS and from them, certificates of both demanded (PS3.15 annex B, BCP 195); credentials of DICOMweb."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.middleware.pacs.query import Query
from tests.support.broker_process import free_port
from tests.support.gateways import RunningGateway
from tests.support.pacs import Modality, Orthanc, Proxy, Tls, make_tls
from tests.support.pacs_desk import STUDY, desk, make_study, settings_of

pytestmark = [pytest.mark.peer("Orthanc"), pytest.mark.peer("nginx"), pytest.mark.long]


@dataclass
class Site:
    parties: dict[str, Tls]
    port: int
    orthanc: Orthanc
    files: list[Path]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("pacs")
    parties = make_tls(folder / "tls", "gateway", "pacs") | {
        f"other-{name}": tls for name, tls in make_tls(folder / "others", "gateway").items()
    }
    port, tls = free_port(), parties["pacs"]
    known = [Modality("MPACS", port)]
    files = make_study(folder / "files")
    with Orthanc(folder / "orthanc", known, tls) as orthanc:
        orthanc.put(files)
        yield Site(parties, port, orthanc, files)


def tls_of(party: Tls, **more: Any) -> dict[str, Any]:
    files = {"authority": party.authority, "certificate": party.certificate, "key": party.key}
    return {**{key: str(path) for key, path in files.items()}, **more}


def test_get_over_tls(tmp_path: Path, site: Site) -> None:
    settings = settings_of(site.orthanc, "get", tls=tls_of(site.parties["gateway"]))
    with desk(tmp_path / "state", settings) as at:
        at.service.echo("main")
        assert at.retrieve().from_pacs == 5
        assert at.here() == {path.stem for path in site.files}


@pytest.mark.parametrize("what", ["no TLS", "no certificate", "another authority's certificate", "untrusted PACS"])
def test_who_is_not_trusted_gets_nothing(tmp_path: Path, site: Site, what: str) -> None:
    ours, theirs = site.parties["gateway"], site.parties["other-gateway"]
    tls = {
        "no TLS": None,
        "no certificate": {"authority": str(ours.authority)},
        "another authority's certificate": tls_of(theirs, authority=str(ours.authority)),
        "untrusted PACS": tls_of(ours, authority=str(theirs.authority)),
    }[what]
    with desk(tmp_path / "state", settings_of(site.orthanc, "get", tls=tls, timeout_s=5.0)) as at:
        found = at.service.find(Query())
        assert not found.hits and [one.pacs for one in found.away] == ["main"]
        assert at.retrieve().outcome == "absent" and not at.here()


def test_move_over_tls_both_ways(tmp_path: Path, site: Site) -> None:
    peer, ours = site.orthanc, site.parties["gateway"]
    dicom = {"tls": {**tls_of(ours), "port": site.port}}
    with RunningGateway(tmp_path / "state", settings={"dicom": dicom}) as gateway:
        files = ("--authority", str(ours.authority), "--certificate", str(ours.certificate), "--key", str(ours.key))
        place = ("--aet", peer.aet, "--host", "127.0.0.1", "--port", str(peer.port))
        gateway.cli("pacs", "add", "main", *place, "--via", "move", "--tls", *files)
        gateway.restart()
        done = gateway.cli("pacs", "get", "main", "--study", STUDY, json=True)
        assert (done["outcome"], done["from_pacs"]) == ("complete", 5)


@pytest.mark.parametrize("kind", ["token", "basic"])
def test_dicomweb_over_tls_with_credentials(tmp_path: Path, site: Site, kind: str) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    basic = base64.b64encode(b"edge:s3cret").decode()
    sent = "Bearer s3cret" if kind == "token" else f"Basic {basic}"
    secret = str(tmp_path / "secret")
    keys = {"token_file": secret} if kind == "token" else {"user": "edge", "password_file": secret}
    with Proxy(tmp_path / "proxy", site.orthanc, site.parties["pacs"], sent) as proxy:
        settings = {"name": "main", "dicomweb": proxy.dicomweb, "tries": 1, "tls": tls_of(site.parties["gateway"])}
        with desk(tmp_path / "state", {**settings, **keys}) as at:
            assert at.retrieve().from_pacs == 5
            assert at.here() == {path.stem for path in site.files}
            (tmp_path / "secret").write_text("another")
            away = at.service.find(Query()).away[0]
            assert "refuses our credentials (HTTP 401)" in away.reason
            assert "s3cret" not in (tmp_path / "proxy" / "access.log").read_text()
        untrusted = {**settings, **keys, "tls": tls_of(site.parties["other-gateway"])}
        with desk(tmp_path / "other", untrusted) as at:
            assert "TLS" in at.service.find(Query()).away[0].reason
