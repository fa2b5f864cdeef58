"""No request is carried out twice: not after a restart, not after a week, and with bounded rows."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.management import replay
from gateway.management.index import seen
from gateway.management.replay import Replay
from tests.support.gateway_devices import WireDevice, now_ms
from tests.support.gateway_office import Office
from tests.support.gateways import RunningGateway
from wire import envelope
from wire.messages import Answer, Done, Order, Refused, Request, Sync, Synced, Want

DAY_MS = 86_400_000
DEVICE = "a" * 26


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "state") as made:
        yield made


def order(boot: bytes, counter: int, issued: int | None = None) -> Request:
    body = Order(kind="doctor", recipient=bytes(16), study=bytes(16), layer="original", series=[])
    return Request(boot=boot, counter=counter, issued=now_ms() if issued is None else issued, body=body)


def test_a_restart_forgets_nothing(office: Office) -> None:
    boot, first = os.urandom(16), Replay(office.engine)
    assert [first.enter(DEVICE, order(boot, counter)) for counter in (1, 2, 2, 1)] == ["new", "new", "seen", "seen"]
    again = Replay(office.engine)
    assert [again.enter(DEVICE, order(boot, counter)) for counter in (1, 2, 3)] == ["seen", "seen", "new"]
    assert again.enter("b" * 26, order(boot, 1)) == "new", "another device's boots are its own"


def test_the_last_answer_is_kept(office: Office) -> None:
    boot, first = os.urandom(16), Replay(office.engine)
    request = order(boot, 1)
    answer = Answer(boot=boot, counter=1, issued=now_ms(), body=Done())
    assert first.enter(DEVICE, request) == "new"
    first.keep(DEVICE, request, answer)
    assert Replay(office.engine).enter(DEVICE, request) == answer
    assert first.enter(DEVICE, order(boot, 2)) == "new"
    assert first.enter(DEVICE, request) == "seen"


def test_boots_are_bounded_and_none_of_the_forgotten_is_taken(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MOST_BOOTS", 4)
    judge, now = Replay(office.engine), now_ms()
    requests = [order(os.urandom(16), 1, now + number) for number in range(10)]
    assert [judge.enter(DEVICE, one) for one in requests] == ["new"] * 10
    with office.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(seen.requests_seen)).scalar() == 4
    assert [judge.enter(DEVICE, one) for one in requests] == ["stale"] * 6 + ["seen"] * 4
    assert judge.enter(DEVICE, order(os.urandom(16), 1, now + 5)) == "stale"
    assert judge.enter(DEVICE, order(os.urandom(16), 1, now + 10)) == "new"


def test_rows_go_when_no_request_of_theirs_could_be_taken(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    judge, now = Replay(office.engine), now_ms()
    old, ahead = order(os.urandom(16), 1, now), order(os.urandom(16), 1, now + 6 * DAY_MS)
    assert judge.enter(DEVICE, old) == judge.enter(DEVICE, ahead) == "new"
    monkeypatch.setattr(replay, "_now_ms", lambda: now + 8 * DAY_MS)
    judge.sweep()
    assert not judge.is_fresh(old) and judge.is_fresh(ahead)
    assert judge.enter(DEVICE, ahead) == "seen"
    with office.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(seen.requests_seen)).scalar() == 1


def test_wants_are_kept_in_memory_in_bounds(office: Office) -> None:
    want = Want(kind="ward", recipient=bytes(16), object=bytes(16), pages=[], ranges=[], credit=1, again=False)
    judge, boot = Replay(office.engine), os.urandom(16)

    def asked(counter: int, of: bytes = boot) -> bool:
        return judge.is_new_want(DEVICE, Request(boot=of, counter=counter, issued=now_ms(), body=want))

    assert asked(1) and not asked(1) and asked(3) and not asked(2)
    for _ in range(100):
        assert asked(1, os.urandom(16))
    assert len(judge._wants[DEVICE]) == replay._BOOTS
    with office.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(seen.requests_seen)).scalar() == 0


def answers_to(device: WireDevice, counter: int) -> list[Answer]:
    return [answer for answer in device.answers() if answer.counter == counter and answer.boot == device.boot]


def test_recorded_requests_after_a_restart_of_the_core(tmp_path: Path) -> None:
    with RunningGateway(tmp_path / "state") as gateway:
        gateway.cli("profile", "add", "doctor", "D-1", "--attends", "*")
        uri = gateway.cli("invite", "doctor:D-1", json=True)["uri"]
        device = WireDevice.enrol(gateway.mqtt_port, uri).connect()
        try:
            recipient = device.welcome.enrolled.recipients[0].recipient
            ordered = device.pack(
                Order(kind="doctor", recipient=recipient, study=bytes(16), layer="original", series=[])
            )
            device.send(ordered)
            device.wait(lambda: answers_to(device, 1), "an answer to the order")
            synced = device.pack(Sync(known=[]))
            device.send(synced)
            device.wait(lambda: answers_to(device, 2), "an answer to the sync")
            pid = gateway.kill("core")
            gateway.wait_part("core", pid)
            gateway.wait_healthy()
            for recorded in (synced, ordered):
                device.send(recorded)
            # What comes later is answered later: by then the others would have been.
            assert isinstance(device.ask(Sync(known=[])), Synced)
            assert len(answers_to(device, 2)) == 1, "a sync that was seen is not answered"
            assert all(one.body == Refused(reason="forbidden") for one in answers_to(device, 1))
            stale = Request(boot=device.boot, counter=99, issued=now_ms() - 8 * DAY_MS, body=Sync(known=[]))
            device.send(packed(device, stale))
            (refused,) = device.wait(lambda: answers_to(device, 99), "a refusal")
            assert refused.body == Refused(reason="stale")
        finally:
            device.stop()


def packed(device: WireDevice, request: Request) -> Any:
    return envelope.pack_request(device.signer, device.keys.exchange, device.link.site, device.device, request)
