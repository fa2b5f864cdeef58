"""The audit trail of a whole gateway at work."""

import json
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.studies import Made
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway


def test_a_whole_gateway_keeps_its_trail(gateway: RunningGateway, tmp_path: Path, ct: Made) -> None:
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
        gateway.store(ct.files)
        study = device.wait_complete(len(ct.files))
        device.call("export", study["StudyInstanceUID"], "--to", str(tmp_path / "out"))
        device.wait_line("complete")
    gateway.cli("revoke", device.credentials()[1], "--yes")
    entries = gateway.cli("audit", "show", "--limit", "1000", json=True)
    kinds = [entry["event"] for entry in entries]
    assert {"application-started", "profile-changed", "invited", "enrolled", "lease-renewed", "retrieve"} <= set(kinds)
    assert kinds[0] == "revoked", "the latest first"
    (taken,) = [one for one in entries if one["event"] == "retrieve" and one["what"] == "display"]
    assert taken["who"] == "doctor:D1" and taken["study"] == ct.StudyInstanceUID and taken["outcome"] == "success"
    assert gateway.cli("audit", "verify", json=True)["whole"]
    gateway.cli("audit", "export", "--to", str(tmp_path / "trail.xml"))
    lines = (tmp_path / "trail.xml").read_text().splitlines()
    assert len(lines) == len(entries) + 1 and all(ElementTree.fromstring(line).tag == "AuditMessage" for line in lines)
    # What is in the trail is in no log.
    assert ct.StudyInstanceUID not in gateway.log
    anchored = json.loads((gateway.folder / "audit" / "head").read_text())
    assert anchored["sequence"] >= len(entries)
