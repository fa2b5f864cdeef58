"""The access file: who may log in, and that it follows people and time."""

import json
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config, Mqtt
from gateway.management import authority, broker_config
from gateway.management.broker_files import AccessFile
from gateway.management.index import people
from tests.support.gateway_office import Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "state") as made:
        yield made


@pytest.fixture
def access(office: Office) -> AccessFile:
    made = AccessFile(office.state.broker, "office", office.engine, office.vault)
    made.write()
    return made


def users(office: Office) -> dict[str, Any]:
    contents = json.loads((office.state.broker / "access.json").read_text())
    assert contents["version"] == 1 and contents["site"] == "office"
    found: dict[str, Any] = contents["users"]
    return found


def roles(office: Office) -> list[str]:
    return sorted(user["role"] for user in users(office).values())


def test_devices_come_and_go(office: Office, access: AccessFile) -> None:
    assert roles(office) == ["gateway"]
    ward = office.profile("ward", "W")
    device = office.device(ward)
    assert access.keep()
    assert users(office)[device.device] == {
        "sha256": device.password_sha256,
        "role": "device",
        "recipients": [f"ward/{ward.reference}"],
    }
    assert not access.keep()
    office.registry.revoke(device.device)
    assert access.keep() and roles(office) == ["gateway"]
    office.device(ward)
    access.keep()
    office.registry.remove_profile("ward", "W")
    assert access.keep() and roles(office) == ["gateway"]


def test_an_invitation_ends_by_itself(office: Office, access: AccessFile, monkeypatch: pytest.MonkeyPatch) -> None:
    office.profile("ward", "W")
    invitation = office.registry.invite("ward", "W")
    assert access.keep() and roles(office) == ["enrol", "gateway"]
    assert not access.keep()
    monkeypatch.setattr(time, "time", lambda: invitation.expires_at + 0.01)
    assert access.keep() and roles(office) == ["gateway"]


def test_three_failures_end_an_invitation(office: Office, access: AccessFile) -> None:
    office.profile("ward", "W")
    office.registry.invite("ward", "W")
    access.keep()
    (enrolment,) = [name for name, user in users(office).items() if user["role"] == "enrol"]
    for _ in range(people.MAX_FAILURES):
        assert office.registry.enrolments.enrol(enrolment, b"rubbish") is None
    assert access.keep() and roles(office) == ["gateway"]


def test_no_identity_and_no_secret_stands_in_it(office: Office, access: AccessFile) -> None:
    office.device(office.profile("patient", "P-SECRET", "Hong^Gildong"))
    access.keep()
    path = office.state.broker / "access.json"
    text = path.read_text()
    assert "SECRET" not in text and "Hong" not in text and office.vault.password not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_writers_and_a_reader_that_never_sees_half(office: Office, access: AccessFile) -> None:
    ward = office.profile("ward", "W")
    stop, seen = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            seen.append(len(users(office)))

    reader = threading.Thread(target=read)
    reader.start()
    other = AccessFile(office.state.broker, "office", office.engine, office.vault)
    for _ in range(20):
        office.device(ward)
        writers = [threading.Thread(target=one.write) for one in (access, other)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    stop.set()
    reader.join()
    assert len(users(office)) == 21 and seen == sorted(seen)
    assert [path.name for path in office.state.broker.iterdir() if "tmp" in path.name] == []


@pytest.mark.parametrize(
    ("host", "listen", "expected"),
    [
        ("127.0.0.1", "", {"tcp": ("127.0.0.1", 1883)}),
        ("::1", "", {"tcp": ("::1", 1883)}),
        ("192.0.2.7", "", {"tcp": ("127.0.0.1", 1884), "tls": ("192.0.2.7", 1883)}),
        ("gateway.example", "", {"tcp": ("127.0.0.1", 1884), "tls": ("0.0.0.0", 1883)}),
        ("gateway.example", "192.0.2.7", {"tcp": ("127.0.0.1", 1884), "tls": ("192.0.2.7", 1883)}),
    ],
)
def test_listeners_that_follow_from_the_configuration(
    tmp_path: Path, host: str, listen: str, expected: dict[str, tuple[str, int]]
) -> None:
    config = Config(site="a", host=host, mqtt=Mqtt(listen=listen))
    if config.tls:
        authority.ensure(tmp_path / "tls", host)
    path = broker_config.write_config(tmp_path / "broker", config, tmp_path / "tls")
    listeners = yaml.safe_load(path.read_text())["listeners"]
    assert {name: (one["host"], one["port"]) for name, one in listeners.items()} == expected
    from broker.config import load

    loaded = load(path)  # the broker itself takes it
    assert loaded.site == "a"
