"""Against the real gateway, with a real CT series."""

import os
from pathlib import Path

import pytest

from tests.support.gateways import RunningGateway

SERIES = Path(os.environ.get("MPACS_CORPUS", "/nonexistent")) / "series_ct_head_philips"


@pytest.mark.corpus
@pytest.mark.peer("dcmtk")
def test_a_series_from_the_modality_to_files(tmp_path, device):
    files = sorted(SERIES.glob("*.dcm"))[:12]
    with RunningGateway(tmp_path / "gateway") as gateway:
        gateway.cli("profile", "add", "doctor", "D-1", "--attends", "*")
        gateway.store(files)
        gateway.wait_studies(1)
        device.call("enrol", gateway.cli("invite", "doctor:D-1", json=True)["uri"])
        device.call("run", "--once", "--timeout", "30")
        (study,) = device.json("studies")
        assert study["current"] and study["settled"] and study["frames"] == len(files)
        written = device.json("export", study["StudyInstanceUID"], "--to", str(tmp_path / "out"))
        assert written["pictures"] == len(files) and written["missing"] == 0
        starts = {path.read_bytes()[:2] for path in (tmp_path / "out").rglob("*.[jp][pn]g")}
        assert starts <= {b"\xff\xd8", b"\x89P"} and starts
        process = device.start("run")
        assert process.stdout.readline() == "connected\n"
        (known,) = gateway.cli("devices", json=True)
        gateway.cli("revoke", known["device"])
        said = ""
        while "does not take this device's credentials" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        assert "revoked" in said
