"""From the link to exported pictures, over a real broker."""

import json
import stat

from device_gateway import make_study

UID = "1.2.826.0.1.3680043.8.498.1"


def test_enrol_run_studies_export(gateway, enrolled, tmp_path):
    study = make_study(gateway, UID)
    gateway.announce(study)
    enrolled.call("run", "--once", "--timeout", "10")
    (listed,) = enrolled.json("studies")
    assert listed["StudyInstanceUID"] == UID
    assert listed["PatientID"] == "P-4711"
    assert listed["PatientName"] == "Kim^Sora"
    assert listed["PatientNameIdeographic"] == "金^소라"
    assert listed["current"] and listed["settled"]
    layers = listed["series"][0]["layers"]
    assert layers["display"]["complete"] and layers["thumbnail"]["complete"]
    assert layers["display"]["segments"] == layers["display"]["received"] == 7
    assert layers["display"]["refetched"] == 0
    to = tmp_path / "out"
    written = enrolled.json("export", UID, "--to", str(to))
    assert written["pictures"] == 4
    plain = [(to / f"{UID}.1" / f"{UID}.1.{n + 1}.jpg").read_bytes() for n in range(4)]
    assert all(len(one) == 100_000 for one in plain)
    assert json.loads((to / "patient.json").read_text())["00100020"]["Value"] == ["P-4711"]
    assert {(one.layer, one.event) for one in gateway.receipts} == {("display", "received"), ("thumbnail", "received")}


def test_state_folder_is_for_its_owner_alone(enrolled):
    assert stat.S_IMODE(enrolled.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in enrolled.folder.iterdir() if path.is_file()} == {0o600}
