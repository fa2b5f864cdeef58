"""The access file: who gets in, and that a change of it reaches live connections."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from broker.access import AccessFile, authenticate, load, parse
from broker.errors import AccessInvalid
from tests.broker.cast import ATTACKERS_DOCTOR, VICTIMS_DOCTOR, VICTIMS_HEAD
from tests.broker.raw import ACCEPTED, Raw
from tests.support.broker_process import wait_until
from tests.support.brokers import SITE, EmbeddedBroker, Login, can_log_in, login, write_access
from wire import topics

WITHIN_S = 2.0
"""The broker looks four times a second; the rest is for a busy machine."""
HALF_WRITTEN = b'{"version": 1, "site": "ward-7", "users": {'


def log_in(broker: EmbeddedBroker, one: Login, **options: object) -> Raw:
    client = Raw(broker)
    assert client.log_in(one, **options) == ACCEPTED
    return client


def document(**changes: object) -> bytes:
    user = {"sha256": "0" * 64, "role": "device", "recipients": [f"doctor/{VICTIMS_DOCTOR}"]}
    return json.dumps({"version": 1, "site": SITE, "users": {VICTIMS_DOCTOR: {**user, **changes}}}).encode()


def test_parse_gives_digest_and_principal() -> None:
    ((digest, principal),) = parse(document(), SITE).values()
    assert digest == bytes(32)
    assert principal == topics.Principal(SITE, "device", VICTIMS_DOCTOR, (("doctor", VICTIMS_DOCTOR),))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        HALF_WRITTEN,
        b"[]",
        b'{"version": 2, "site": "ward-7", "users": {}}',
        b'{"version": 1, "site": "ward-8", "users": {}}',
        b'{"version": 1, "site": "ward-7", "users": {"../../x": {"sha256": "' + b"0" * 64 + b'", "role": "device"}}}',
        document(role="admin"),
        document(sha256="0" * 63),
        document(sha256="G" * 64),
        document(recipients=["nurse/" + VICTIMS_DOCTOR]),
        document(recipients=["doctor/#"]),
        document(extra=1),
    ],
)
def test_what_is_not_of_its_form_is_refused_whole(raw: bytes) -> None:
    with pytest.raises(AccessInvalid) as raised:
        parse(raw, SITE)
    assert VICTIMS_DOCTOR not in str(raised.value)


def test_wrong_password_and_unknown_user_are_refused() -> None:
    one = login("device")
    users = parse(
        json.dumps({"version": 1, "site": SITE, "users": {one.name: {"sha256": "1" * 64, "role": "device"}}}).encode(),
        SITE,
    )
    assert authenticate(users, one.name, one.password) is None
    assert authenticate(users, login("device").name, one.password) is None
    # The digest of an unknown user is all zeros; that must not be a password.
    assert authenticate({}, one.name, "") is None


def test_a_file_that_turns_bad_or_vanishes_changes_nothing(tmp_path: Path) -> None:
    path, one = tmp_path / "access.json", login("device")
    access = AccessFile(path, SITE)
    assert not access.changed()
    assert not access.refresh() and access.users == {}
    write_access(path, [one])
    assert access.changed() and access.refresh() and not access.changed()
    path.write_bytes(HALF_WRITTEN)
    assert access.changed() and not access.refresh() and not access.changed()
    assert set(access.users) == {one.name}
    path.unlink()
    assert not access.changed() and set(access.users) == {one.name}
    with pytest.raises(AccessInvalid):
        load(path, SITE)


def test_nobody_gets_in_until_the_file_comes(tmp_path: Path) -> None:
    one = login("device")
    with EmbeddedBroker(tmp_path / "broker", [one]) as broker:
        broker.stop()
        content = broker.access.read_bytes()
        broker.access.write_bytes(HALF_WRITTEN)
        broker.start_with_access_as_it_is()
        assert not can_log_in(broker, one)
        assert "access file" in broker.process.log
        broker.access.write_bytes(content)
        wait_until(lambda: can_log_in(broker, one), WITHIN_S, "the file is followed")


def test_one_who_was_added_a_moment_ago_gets_in(embedded_broker: EmbeddedBroker) -> None:
    for _ in range(20):
        one = login("device")
        embedded_broker.set_logins([*embedded_broker.logins, one])
        assert can_log_in(embedded_broker, one)


def test_a_removed_user_is_disconnected_within_a_second(embedded_broker: EmbeddedBroker) -> None:
    one, other = embedded_broker.allow("device"), embedded_broker.allow("device")
    with log_in(embedded_broker, one) as client, log_in(embedded_broker, other) as bystander:
        embedded_broker.set_logins([other])
        assert client.closed(WITHIN_S)
        bystander.barrier()
    assert not can_log_in(embedded_broker, one)


def test_a_changed_password_ends_the_session(embedded_broker: EmbeddedBroker) -> None:
    one = embedded_broker.allow("device")
    with log_in(embedded_broker, one) as client:
        new = replace(one, password="another")
        embedded_broker.set_logins([new])
        assert client.closed(WITHIN_S)
    assert not can_log_in(embedded_broker, one)
    assert can_log_in(embedded_broker, new)


def test_a_changed_role_ends_the_session(embedded_broker: EmbeddedBroker) -> None:
    one = embedded_broker.allow("gateway")
    with log_in(embedded_broker, one) as client:
        embedded_broker.set_logins([replace(one, principal=replace(one.principal, role="device"))])
        assert client.closed(WITHIN_S)


def test_lost_recipients_end_subscriptions_and_spare_the_rest(embedded_broker: EmbeddedBroker) -> None:
    own = topics.head(SITE, "doctor", ATTACKERS_DOCTOR)
    gateway = embedded_broker.allow("gateway")
    one = embedded_broker.allow("device", [("doctor", VICTIMS_DOCTOR), ("doctor", ATTACKERS_DOCTOR)])
    with log_in(embedded_broker, one) as client, log_in(embedded_broker, gateway) as sender:
        assert client.subscribe(VICTIMS_HEAD, own) == [0, 0]
        less = replace(one, principal=replace(one.principal, recipients=(("doctor", ATTACKERS_DOCTOR),)))
        embedded_broker.set_logins([gateway, less])
        wait_until(lambda: "a subscription ended" in embedded_broker.process.log, WITHIN_S, "the change is followed")
        sender.publish(VICTIMS_HEAD, b"no longer")
        sender.publish(own, b"still")
        message = client.message()
        assert message is not None and message.payload == b"still"
        assert client.subscribe(VICTIMS_HEAD) == [0x80]


def test_what_a_removed_device_retained_goes_with_it(embedded_broker: EmbeddedBroker) -> None:
    gateway, one = embedded_broker.allow("gateway"), embedded_broker.allow("device")
    status = topics.device_status(SITE, one.name)
    with log_in(embedded_broker, one, will=(status, b"offline", 0, True)) as client:
        client.publish(status, b"online", retain=True)
        embedded_broker.set_logins([gateway])
        assert client.closed(WITHIN_S)
    with log_in(embedded_broker, gateway) as reader:
        assert reader.subscribe(status) == [0]
        reader.barrier()
        assert not reader.messages


def test_10000_users_are_followed_without_a_pause(embedded_broker: EmbeddedBroker) -> None:
    one = embedded_broker.allow("device")
    many = [login("device", [("doctor", VICTIMS_DOCTOR)]) for _ in range(10_000)]
    with log_in(embedded_broker, one) as client:
        embedded_broker.set_logins([one, *many])
        slowest_s, deadline = 0.0, time.monotonic() + 5
        while "10001 users" not in embedded_broker.process.log:
            before_s = time.monotonic()
            client.barrier()
            slowest_s = max(slowest_s, time.monotonic() - before_s)
            assert before_s < deadline
        assert slowest_s < 0.5
    assert can_log_in(embedded_broker, many[-1])
