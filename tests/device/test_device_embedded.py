"""The device behind the embedded broker, which lets it do no more than the access rule says."""

import pytest
from device_gateway import KIND, SITE, ScriptedGateway, make_study

from tests.support.brokers import EmbeddedBroker, Login, can_log_in, wait_until
from wire.topics import Principal

UID = "1.2.826.0.1.3680043.8.498.9"


@pytest.fixture
def embedded(tmp_path):
    """A gateway that provisions its broker as it enrols: codes, then devices with their recipients."""
    with EmbeddedBroker(tmp_path / "embedded", site=SITE) as broker:
        gateway = ScriptedGateway(broker.port)
        broker.set_logins([Login(Principal(SITE, "gateway", gateway.name, ()), "gateway password")])
        gateway.client.username_pw_set(gateway.name, "gateway password")
        gateway.broker = broker
        gateway.on_enrolled = lambda device, password: broker.set_logins(
            [*broker.logins, Login(Principal(SITE, "device", device, ((KIND, gateway.ref),)), password)]
        )
        wait_until(lambda: can_log_in(broker, broker.logins[0]), 5, "the broker knows the gateway")
        gateway.start()
        yield gateway
        gateway.stop()


def test_enrol_receive_and_export(embedded, device, tmp_path):
    uri = embedded.invite()
    ((name, (_, keys)),) = embedded.codes.items()
    embedded.broker.set_logins([*embedded.broker.logins, Login(Principal(SITE, "enrol", name), keys.password)])
    # Neither the code's credential nor the device's is known to the broker at once.
    device.call("enrol", uri)
    embedded.announce(make_study(embedded, UID, 2_000_000))
    device.call("run", "--once", "--timeout", "20")
    (listed,) = device.json("studies")
    assert listed["current"] and listed["series"][0]["layers"]["display"]["complete"]
    assert device.json("export", UID, "--to", str(tmp_path / "out"))["pictures"] == 4
    assert len(embedded.receipts) == 2


def test_revoked_at_the_broker(embedded, device):
    uri = embedded.invite()
    ((name, (_, keys)),) = embedded.codes.items()
    embedded.broker.set_logins([*embedded.broker.logins, Login(Principal(SITE, "enrol", name), keys.password)])
    device.call("enrol", uri)
    process = device.start("run")
    assert process.stdout.readline() == "connected\n"
    embedded.broker.set_logins(one for one in embedded.broker.logins if one.principal.role != "device")
    lines = []
    while not any("does not take this device's credentials" in line for line in lines):
        lines.append(process.stderr.readline())
        assert lines[-1]
    assert process.poll() is None
