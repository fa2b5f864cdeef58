"""Streams of moving pictures through real processes: to a doctor byte for byte, to a ward where it may."""

import json
from pathlib import Path

from tests.support import videos
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway

ROOT = "1.2.826.0.1.3680043.8.498.9"


def test_streams_reach_devices_as_files(gateway: RunningGateway, tmp_path: Path) -> None:
    gateway.cli("profile", "add", "ward", "W1", "--attends", videos.HONG.identifier)
    doctor = RunningDevice(tmp_path / "doctor", gateway, "doctor:D1")
    ward = RunningDevice(tmp_path / "ward", gateway, "ward:W1")
    data = {name: videos.stream(name) for name in ("mp4", "h265", "program")}
    files = []
    for number, name in enumerate(data):
        # the last one is an ultrasound, which does not deny that a name is burned in
        modality = "US" if name == "program" else "ES"
        uids = {"SeriesInstanceUID": f"{ROOT}.{number}", "SOPInstanceUID": f"{ROOT}.{number}.1"}
        made = videos.dataset(data[name], videos.STREAMS[name][2], Modality=modality, **uids)
        files.append(videos.save(made, tmp_path / f"{number}.dcm"))
    gateway.store(files)
    (study,) = gateway.wait_studies(lambda found: bool(found) and found[0]["instances"] == {"rendered": 3})
    assert study["layers"]["video"]["objects"] == 3 and "display" not in study["layers"]

    for device in (doctor, ward):
        device.call("run", "--once", "--layer", "video", "--layer", "thumbnail")
    to = tmp_path / "out"
    doctor.call("export", ROOT, "--to", str(to), "--layer", "video")
    for number, (name, extension) in enumerate(zip(data, ("mp4", "h265", "mpg"), strict=True)):
        content = (to / f"{ROOT}.{number}" / f"{ROOT}.{number}.1.{extension}").read_bytes()
        assert content == videos.padded(data[name])
        assert videos.frames_in(content) == videos.FRAMES
    (record,) = json.loads((to / f"{ROOT}.0" / "series.video.json").read_text())
    assert record["media"] == "video/mp4" and record["attributes"]["00181063"]["Value"] == [40.0]
    assert "video" in doctor.call("show", ROOT)
    listed = json.loads(doctor.call("show", ROOT, "--json"))["series"]
    media = {one["media"] for series in listed for one in series["pictures"] if one["layer"] == "video"}
    assert media == {"video/mp4", "video/h265", "video/mpeg"}

    (seen,) = ward.studies()
    assert {one["Modality"] for one in seen["series"]} == {"ES"}
    assert all(one["layers"]["video"]["complete"] for one in seen["series"])
    secrets = (videos.HONG.identifier, "Gildong", ROOT)
    assert not [secret for secret in secrets if secret in gateway.log + doctor.log + ward.log]
