"""What a device is told while a study grows."""

import json
import subprocess
from pathlib import Path

from benchmarks.studies import Made
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway, program


def test_a_study_is_settled_only_when_every_picture_is_announced(
    gateway: RunningGateway, ct: Made, tmp_path: Path
) -> None:
    """``run --once`` right behind the last C-STORE response must not end before the pictures are there."""
    device = RunningDevice(tmp_path / "device", gateway, "doctor:D1")
    gateway.store(ct.files[:100])
    done = subprocess.run(
        [program("mpacs-device"), "--state", str(device.folder), "run", "--once"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    (study,) = json.loads(device.call("studies", "--json"))
    layers = [series["layers"] for series in study["series"]]
    assert study["settled"] and study["current"]
    assert sum(one["display"]["frames"] for one in layers) == 100
    assert all(one["display"]["complete"] and one["thumbnail"]["complete"] for one in layers)
