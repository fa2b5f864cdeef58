"""A presentation state that comes before its images, with real processes: a series of its own, and not for wards."""

import json
from pathlib import Path

import pydicom

from benchmarks.studies import HONG, long_ct
from tests.support import states
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway


def test_what_a_state_presents_is_a_series_of_its_own(gateway: RunningGateway, tmp_path: Path) -> None:
    ct = long_ct(tmp_path, 3)
    gateway.cli("profile", "add", "ward", "W1", "--attends", HONG.identifier)
    doctor = RunningDevice(tmp_path / "doctor", gateway, "doctor:D1")
    ward = RunningDevice(tmp_path / "ward", gateway, "ward:W1")
    uids = [str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in ct.files]
    made = states.of(ct.files[0], states.state([(uids[2], ()), (uids[1], ())]))
    gateway.store([states.save(made, tmp_path / "state.dcm")])
    gateway.wait_studies(lambda found: bool(found) and found[0]["settled"])
    gateway.store(ct.files)

    def is_made(found: list[dict[str, object]]) -> bool:
        layers = found[0]["layers"]
        assert isinstance(layers, dict)
        return layers.get("display", {}).get("frames") == 5 and layers.get("thumbnail", {}).get("frames") == 2

    gateway.wait_studies(is_made)  # type: ignore[arg-type]  # a study is a mapping of whatever JSON holds
    for device in (doctor, ward):
        device.call("run", "--once")
    (study,) = doctor.studies()
    assert study["settled"] and [one["Modality"] for one in study["series"]] == ["PR", "CT"]
    assert all(one["layers"]["thumbnail"]["complete"] for one in study["series"])
    to = tmp_path / "out"
    doctor.call("export", ct.StudyInstanceUID, "--to", str(to))
    records = json.loads((to / states.SERIES / "series.json").read_text())
    about = [one["attributes"]["00081140"]["Value"][0]["00081155"]["Value"][0] for one in records]
    assert about == [uids[2], uids[1]]
    assert [one["attributes"]["00700080"]["Value"] for one in records] == [["KEY_IMAGE"]] * 2
    assert all((to / states.SERIES / one["file"]).stat().st_size > 1000 for one in records)
    assert len(list(to.glob("*/*.jpg"))) + len(list(to.glob("*/*.png"))) == 5

    (seen,) = ward.studies()
    assert [one["Modality"] for one in seen["series"]] == ["CT"] and seen["settled"]
    assert seen["series"][0]["layers"]["thumbnail"]["complete"] and seen["series"][0]["layers"]["display"]["complete"]
    secrets = (HONG.identifier, "Gildong", "KEY_IMAGE", *uids, states.SERIES)
    assert not [secret for secret in secrets if secret in gateway.log + doctor.log + ward.log]
