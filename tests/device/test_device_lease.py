"""The store opens while the lease runs, and only then."""

import msgspec
import pytest
from device_broker import wait_until
from device_gateway import make_study, now_ms

UID = "1.2.826.0.1.3680043.8.498.4"
ENDED = "the lease of this device has ended"


@pytest.fixture
def received(gateway, enrolled):
    gateway.announce(make_study(gateway, UID))
    enrolled.call("run", "--once", "--timeout", "10")
    return enrolled


def renew(gateway, seconds: float) -> None:
    gateway.lease = msgspec.structs.replace(gateway.lease, expires=now_ms() + int(seconds * 1000))


def lease_bytes(device) -> bytes:
    path = device.folder / "lease"
    return path.read_bytes() if path.exists() else b""


def test_each_sync_renews(gateway, received):
    renew(gateway, 7200)
    received.call("run", "--once", "--timeout", "10")
    assert int.from_bytes(lease_bytes(received)[32:], "big") == gateway.lease.expires


def test_after_its_end_nothing_is_shown_until_it_is_renewed(gateway, received, tmp_path):
    renew(gateway, 2)
    received.call("run", "--once", "--timeout", "10")
    wait_until(lambda: now_ms() > gateway.lease.expires, what="the end of the lease")
    for arguments in (("studies",), ("studies", "--json"), ("show", UID), ("export", UID, "--to", str(tmp_path / "o"))):
        done = received.call(*arguments, code=1)
        assert ENDED in done.stderr and "run" in done.stderr
        assert UID not in done.stdout and "Kim" not in done.stdout
    assert not (tmp_path / "o").exists()
    assert lease_bytes(received) == b""
    assert not any(gateway.lease.secret in path.read_bytes() for path in received.folder.rglob("*") if path.is_file())
    renew(gateway, 3600)
    asked = len(gateway.asked)
    received.call("run", "--once", "--timeout", "10")
    assert received.json("studies")[0]["series"][0]["layers"]["display"]["complete"]
    # What had been received needed only its key again.
    assert len(gateway.asked) == asked


def test_it_ends_in_the_running_process_as_well(gateway, received):
    renew(gateway, 3)
    process = received.start("run")
    assert process.stdout.readline() == "connected\n"
    wait_until(
        lambda: int.from_bytes(lease_bytes(received)[32:], "big") == gateway.lease.expires, what="the short lease"
    )
    gateway.answers = False
    assert "lease-ended" in process.stderr.readline()
    assert lease_bytes(received) == b""
    assert ENDED in received.call("studies", code=1).stderr
    renew(gateway, 3600)
    gateway.answers = True
    wait_until(lambda: lease_bytes(received), what="the renewed lease")
    wait_until(lambda: received.json("studies")[0]["current"], what="the study is back")


def test_it_ends_without_a_link(gateway, broker, received):
    renew(gateway, 3)
    process = received.start("run")
    assert process.stdout.readline() == "connected\n"
    wait_until(
        lambda: int.from_bytes(lease_bytes(received)[32:], "big") == gateway.lease.expires, what="the short lease"
    )
    broker.kill()
    lines = []
    while not lines or "lease-ended" not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1]
    assert lease_bytes(received) == b""
    broker.start()


def test_a_clock_turned_back_does_not_lengthen_it(gateway, received):
    """The last signed time was kept, so a lease that had ended by it has ended."""
    (received.folder / "clock").write_bytes((gateway.lease.expires + 1).to_bytes(8, "big"))
    assert ENDED in received.call("studies", code=1).stderr
