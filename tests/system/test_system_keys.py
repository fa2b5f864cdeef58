"""New keys: no device is enrolled anew, whatever it slept through."""

from pathlib import Path

from benchmarks.studies import long_ct
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway


def test_devices_follow_new_keys(gateway: RunningGateway, tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    ct = long_ct(tmp_path / "dicom", 5, title="before")
    sleeper = RunningDevice(tmp_path / "sleeper", gateway, "doctor:D1")
    gateway.store(ct.files)
    gateway.wait_studies(1)
    sleeper.call("run", "--once")
    before = gateway.cli("keys", "show", json=True)
    with RunningDevice(tmp_path / "awake", gateway, "doctor:D1") as awake:
        awake.wait_complete(len(ct.files))
        for options in (["--root"], ["--root"]):
            pid = gateway.pids()["core"]
            gateway.cli("keys", "renew", "--yes", *options)
            gateway.wait_part("core", pid)
            gateway.wait_healthy()  # it has read its keys
        after = gateway.cli("keys", "show", json=True)
        assert after["roots"] == 3 and before["roots"] == 1
        assert {before[key] for key in ("root", "online", "exchange")}.isdisjoint(after.values())
        more = long_ct(tmp_path / "dicom", 3, title="after")
        gateway.store(more.files)
        late = RunningDevice(tmp_path / "late", gateway, "doctor:D1")
        late.call("run", "--once")
        sleeper.call("run", "--once")
        awake.wait_complete(3)
    for device in (sleeper, late, awake):
        found = {study["StudyInstanceUID"]: study for study in device.studies()}
        assert set(found) == {ct.StudyInstanceUID, more.StudyInstanceUID}
        assert all(study["current"] for study in found.values()), device.folder.name
    assert gateway.cli("audit", "verify", json=True)["whole"]
    noted = gateway.cli("audit", "show", "--event", "keys-renewed", json=True)
    assert [one["what"] for one in noted] == ["root", "root"]
