"""What devices ask beyond what is announced to them, by a real gateway without a PACS: search, directory, shares."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.studies import HONG, LEE, Made, demo_studies
from tests.support.gateway_devices import WireDevice, attributes_of
from tests.support.gateways import RunningGateway
from wire import asks, objects
from wire.messages import Done, Gone, Order, Receipt, Refused
from wire.names import decode_reference

SETTINGS = {"delivery": {"settle_s": 0.5, "head_ward_s": 2.0, "head_s": 3.0}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    studies = demo_studies(tmp_path_factory.mktemp("studies"))
    return [replace(one, StudyInstanceUID=f"{one.StudyInstanceUID}") for one in studies]  # no UID of pydicom's


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, made: list[Made]) -> Iterator[RunningGateway]:
    """D-1 attends all, D-2 nobody; a ward where nobody lies, and a patient."""
    with RunningGateway(tmp_path_factory.mktemp("core") / "state", settings=SETTINGS) as running:
        running.cli("profile", "add", "doctor", "D-1", "--name", "이^의사", "--attends", "*")
        running.cli("profile", "add", "doctor", "D-2", "--name", "Park^Doctor")
        running.cli("profile", "add", "ward", "W3")
        running.cli("profile", "add", "patient", LEE.identifier)
        for study in made:
            running.store(study.files)
        running.wait_studies(len(made))
        yield running


def device_of(gateway: RunningGateway, recipient: str) -> WireDevice:
    device = WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", recipient, json=True)["uri"]).connect()
    device.sync()
    device.wait(device.is_current, "all announcements")
    return device


@pytest.fixture
def first(gateway: RunningGateway) -> Iterator[WireDevice]:
    device = device_of(gateway, "doctor:D-1")
    yield device
    device.stop()


@pytest.fixture
def second(gateway: RunningGateway) -> Iterator[WireDevice]:
    device = device_of(gateway, "doctor:D-2")
    yield device
    device.stop()


@pytest.fixture
def ward(gateway: RunningGateway) -> Iterator[WireDevice]:
    device = device_of(gateway, "ward:W3")
    yield device
    device.stop()


@pytest.fixture
def patient(gateway: RunningGateway) -> Iterator[WireDevice]:
    device = device_of(gateway, f"patient:{LEE.identifier}")
    yield device
    device.stop()


def by(device: WireDevice) -> dict[str, Any]:
    return {"kind": device.kind, "recipient": device.welcome.enrolled.recipients[0].recipient}


def search(device: WireDevice, **keys: Any) -> asks.Search:
    empty = {
        "PatientName": "",
        "PatientID": "",
        "AccessionNumber": "",
        "StudyDate": "",
        "ModalitiesInStudy": [],
        "BodyPartExamined": "",
        "StudyDescription": "",
        "page": 0,
    }
    return asks.Search(**by(device), **{**empty, **keys})


def found(device: WireDevice, **keys: Any) -> set[str]:
    answer = device.ask(search(device, **keys))
    assert isinstance(answer, asks.Found), answer
    lines = objects.inflate_json(answer.attributes)["studies"]
    assert [line["0020000D"]["Value"][0] for line in lines] == [place.study for place in answer.studies]
    assert all(place.own and not place.pacs for place in answer.studies)
    return {place.study for place in answer.studies}


def to(device: WireDevice) -> dict[str, Any]:
    return {"to_kind": device.kind, "to": device.welcome.enrolled.recipients[0].recipient}


def uids(device: WireDevice) -> set[str]:
    return {attributes_of(one)["study"]["0020000D"]["Value"][0] for one in device.current().values()}


def test_a_search_finds_by_each_key_and_only_what_the_asker_may_know_of(
    made: list[Made], first: WireDevice, second: WireDevice, patient: WireDevice
) -> None:
    """Names in Hangul and Latin letters, with and without wildcards; the patient finds her own alone."""
    everything = {study.StudyInstanceUID for study in made}
    hers = found(patient)
    assert found(first) == everything
    assert hers < everything
    assert hers
    assert found(second) == set()
    for name in ("이영희", "이^영희", "*영희", "lee^younghee", "LEE*", "李?姬", "Lee Younghee"):
        assert found(first, PatientName=name) == hers, name
    assert found(first, PatientName="영희") == set()
    assert found(first, PatientID=HONG.identifier) == everything - hers
    assert found(first, PatientID="DEMO-*") == everything
    assert found(first, ModalitiesInStudy=["CT"]) | found(first, ModalitiesInStudy=["XX"]) <= everything
    assert found(first, StudyDate="19000101-19000102") == set()
    assert found(first, StudyDescription="no such*") == set()
    assert found(patient, PatientID=HONG.identifier) == set()


def test_wards_ask_nothing(first: WireDevice, ward: WireDevice, made: list[Made]) -> None:
    """Whatever hangs on a wall neither searches nor shares; nor does anybody on another's behalf."""
    study = made[0].StudyInstanceUID
    for body in (
        search(ward),
        asks.Retrieve(**by(ward), study=study),
        asks.Directory(**by(ward), name="", page=0),
        asks.Share(**by(ward), study=study, **to(first), until=0),
        asks.Receipts(**by(ward), study=study),
        search(first),
    ):
        assert ward.ask(body) == Refused(reason="forbidden")


def test_the_directory_names_colleagues(first: WireDevice, second: WireDevice, patient: WireDevice) -> None:
    """Doctors and wards, never patients, nor oneself."""
    answer = first.ask(asks.Directory(**by(first), name="", page=0))
    assert {(one.kind, one.identifier) for one in answer.people} == {("doctor", "D-2"), ("ward", "W3")}
    answer = first.ask(asks.Directory(**by(first), name="park*", page=0))
    assert [one.identifier for one in answer.people] == ["D-2"]
    assert answer.people[0].recipient == second.welcome.enrolled.recipients[0].recipient
    answer = second.ask(asks.Directory(**by(second), name="이의사", page=0))
    assert [one.identifier for one in answer.people] == ["D-1"]
    assert first.ask(asks.Directory(**by(first), name="", page=7)) == asks.People(people=[], more=False)
    assert patient.ask(asks.Directory(**by(patient), name="", page=0)) == Refused(reason="forbidden")


def test_a_share_is_read_and_taken_back(
    gateway: RunningGateway, made: list[Made], first: WireDevice, second: WireDevice
) -> None:
    """Announced when the answer comes, opened, accounted for; gone from the head when it is taken back."""
    study = made[0].StudyInstanceUID
    assert uids(second) == set()
    assert first.ask(asks.Share(**by(first), study=study, **to(second), until=0)) == Done()
    second.wait(lambda: uids(second) == {study}, "the shared study")
    assert found(second) == {study}
    (listed,) = [one for one in gateway.cli("studies", json=True) if one["StudyInstanceUID"] == study]
    assert listed["shares"] == [{"with": "doctor:D-2", "by": "doctor:D-1", "until": None}]
    assert "doctor:D-2" in listed["recipients"]
    assert "doctor:D-2 (shared by doctor:D-1)" in gateway.cli("studies")
    reference, announcement = next(iter(second.current().items()))
    shared = attributes_of(announcement)["study"]
    assert (shared["00911001"]["Value"], shared["00911002"]["Value"]) == (["이^의사"], [None])
    assert not any("00911001" in attributes_of(one)["study"] for one in first.current().values()), "by its own right"
    entry = next(one for one in announcement.objects if one.layer == "display")
    assert len(second.fetch(entry)) == entry.size
    receipt = Receipt(
        **by(second),
        study=decode_reference(reference),
        sequence=announcement.sequence,
        layer="display",
        event="opened",
        at=1,
    )
    assert second.ask(receipt) == Done()
    account = first.ask(asks.Receipts(**by(first), study=study))
    assert [(one.kind, one.identifier, one.layer, one.event) for one in account.read] == [
        ("doctor", "D-2", "display", "opened")
    ]
    # Who has it by a share alone does not give it on, nor learns who read it.
    assert second.ask(asks.Share(**by(second), study=study, **to(first), until=0)) == Refused(reason="forbidden")
    assert second.ask(asks.Receipts(**by(second), study=study)) == Refused(reason="forbidden")

    assert first.ask(asks.Unshare(**by(first), study=study, **to(second))) == Done()
    second.wait(lambda: uids(second) == set(), "a head without it")
    assert found(second) == set()
    order = Order(**by(second), study=decode_reference(reference), layer="original", series=[])
    assert second.ask(order) == Refused(reason="forbidden")
    assert first.ask(asks.Unshare(**by(first), study=study, **to(second))) == Done()


def test_a_share_ends_by_itself(made: list[Made], first: WireDevice, second: WireDevice, ward: WireDevice) -> None:
    """At its time, without anybody asking; a ward that was shared with sees it masked."""
    study = made[1].StudyInstanceUID
    soon = int(time.time() * 1000) + 3000
    assert first.ask(asks.Share(**by(first), study=study, **to(ward), until=soon)) == Done()
    ward.wait(lambda: uids(ward) == {study}, "the shared study")
    (told,) = ward.current().values()
    assert "00100020" not in attributes_of(told)["study"]
    ward.wait(lambda: uids(ward) == set(), "a head without it")
    assert time.time() * 1000 >= soon
    past = int(time.time() * 1000) - 1
    assert first.ask(asks.Share(**by(first), study=study, **to(ward), until=past)) == Refused(reason="forbidden")


def test_what_is_unknown_and_what_is_forbidden_are_answered_alike(
    made: list[Made], second: WireDevice, first: WireDevice, patient: WireDevice
) -> None:
    """Of studies, people, and a stranger's share."""
    theirs, nobodys = made[0].StudyInstanceUID, "1.2.3.4.5"
    nobody = {"to_kind": "doctor", "to": bytes(16)}
    for study in (theirs, nobodys):
        for body in (
            asks.Retrieve(**by(second), study=study),
            asks.Share(**by(second), study=study, **to(first), until=0),
            asks.Unshare(**by(second), study=study, **nobody),
            asks.Receipts(**by(second), study=study),
        ):
            assert second.ask(body) == Refused(reason="forbidden"), body
    assert first.ask(asks.Share(**by(first), study=theirs, **nobody, until=0)) == Refused(reason="forbidden")
    # Patients get what is released to them, by nobody's share.
    assert first.ask(asks.Share(**by(first), study=theirs, **to(patient), until=0)) == Refused(reason="forbidden")


def test_a_retrieve_of_what_is_here_is_done(made: list[Made], first: WireDevice, patient: WireDevice) -> None:
    """Without a PACS the own store is all there is."""
    assert first.ask(asks.Retrieve(**by(first), study=made[0].StudyInstanceUID)) == Done()
    hers = min(found(patient))
    assert patient.ask(asks.Retrieve(**by(patient), study=hers)) == Done()


# ── release, emergency ────────────────────────────────────────────────────────────────────────────────────────────


def test_emergency_access_is_given_for_a_reason_and_recorded(gateway: RunningGateway, second: WireDevice) -> None:
    ask = asks.BreakGlass(**by(second), PatientID=LEE.identifier, IssuerOfPatientID="", reason="심정지, 보호자 없음")
    assert not uids(second)
    granted = second.ask(ask)
    assert isinstance(granted, asks.Granted)
    assert abs(granted.until / 1000 - time.time() - 8 * 3600) < 600
    second.wait(lambda: bool(uids(second)), "the patient's studies")
    (shown,) = [one for one in gateway.cli("profile", "list", json=True) if one["id"] == "D-2"]
    assert [(one["role"], one["patient"]) for one in shown["terms"]] == [("emergency", LEE.identifier)]
    (noted,) = gateway.cli("audit", "show", "--event", "break-glass", json=True)
    assert (noted["who"], noted["patient"], noted["reason"]) == ("doctor:D-2", LEE.identifier, "심정지, 보호자 없음")
    assert LEE.identifier not in gateway.log and "심정지" not in gateway.log
    entry = next(one for one in second.current().values() if one.objects).objects[0]
    gateway.cli("profile", "leave", "doctor", "D-2", LEE.identifier)
    assert second.ask(second.want(entry, [(0, 1)])) == Gone(object=entry.object), "at its next request"
    second.wait(lambda: not uids(second), "it has them no more")


@pytest.mark.parametrize("who", ["patient", "ward"])
def test_nobody_else_takes_emergency_access(gateway: RunningGateway, who: str, request: pytest.FixtureRequest) -> None:
    device: WireDevice = request.getfixturevalue(who)
    ask = asks.BreakGlass(**by(device), PatientID=HONG.identifier, IssuerOfPatientID="", reason="curious")
    assert device.ask(ask) == Refused(reason="forbidden")


def test_only_an_attending_doctor_releases(
    gateway: RunningGateway, first: WireDevice, second: WireDevice, patient: WireDevice
) -> None:
    study = sorted(uids(patient))[0]
    for device in (second, patient):
        assert device.ask(asks.Release(**by(device), study=study)) == Refused(reason="forbidden")
    assert first.ask(asks.Release(**by(first), study="1.2.3.4.5")) == Refused(reason="forbidden")
    assert first.ask(asks.Release(**by(first), study=study)) == Done()
    noted = gateway.cli("audit", "show", "--event", "released", "--study", study, json=True)
    assert [(one["who"], one["outcome"]) for one in noted if one["outcome"] == "success"] == [("doctor:D-1", "success")]
