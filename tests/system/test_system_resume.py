"""kill -9 of each part in the middle of a delivery: it is completed, and what was kept is not published again.

A separate subscriber counts what the gateway publishes. The device's link is slow, so that there is a middle.
"""

from pathlib import Path

import pytest

from benchmarks.slow_link import SlowLink
from benchmarks.studies import Made
from tests.support.brokers import wait_until
from tests.support.devices import PublishCounter, RunningDevice
from tests.support.gateways import RunningGateway
from wire.limits import MAX_CREDIT

_BYTES_PER_S = 1_500_000
_WINDOW = MAX_CREDIT


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "victim",  # with the supervisor go all parts of the gateway
    ["device", "supervisor", *(pytest.param(part, marks=pytest.mark.long) for part in ("core", "broker"))],
)
def test_a_killed_part_costs_little(gateway: RunningGateway, ct: Made, tmp_path: Path, victim: str) -> None:
    gateway.store(ct.files)
    gateway.wait_studies(1, timeout_s=120)
    watcher = RunningDevice(tmp_path / "watcher", gateway, "doctor:D1")
    with SlowLink(gateway.mqtt_port, _BYTES_PER_S) as link:
        device = RunningDevice(tmp_path / "device", gateway, "doctor:D1", through_port=link.port)
        counter = PublishCounter(watcher, gateway.mqtt_port)
        total_bytes = gateway.studies()[0]["layers"]["display"]["bytes"]
        device.start()
        for share in (0.1, 0.5, 0.9):
            wait_until(lambda share=share: link.down_bytes > share * total_bytes, 60, f"{share:.0%} have come")
            if victim == "device":
                device.kill()
                device.start()
            else:
                gateway.kill(victim)
                if victim == "supervisor":
                    gateway.start()
        study = device.wait_complete(len(ct.files))
        device.stop()
    counter.close()
    wanted = [series["layers"][name] for series in study["series"] for name in ("display", "thumbnail")]
    segments = sum(layer["segments"] for layer in wanted)
    # Each cut may lose what was in flight and not yet kept, and nothing more.
    assert segments <= len(counter.segments) + (3 * _WINDOW if victim in {"broker", "supervisor"} else 0)
    assert counter.published <= segments + 3 * _WINDOW
    assert study["current"]
