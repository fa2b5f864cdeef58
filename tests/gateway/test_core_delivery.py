"""A whole gateway, seen from devices that speak the wire contract and nothing more."""

import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.studies import HONG, LEE, Made, demo_studies, long_ct
from tests.support.broker_process import wait_until
from tests.support.gateway_devices import WireDevice, attributes_of, header_of
from tests.support.gateways import RunningGateway
from wire import sign, topics
from wire.messages import Announcement, Done, Gone, ObjectEntry, Receipt, Refused, Sync, Synced, Want
from wire.names import decode_reference, encode_reference
from wire.objects import part_spans

SECRETS = ("DEMO-1001", "DEMO-1002", "Hong", "Gildong", "홍", "洪", "Lee^", "이^영희", "Minsu", "19710301", "1.2.826.0")
SETTINGS = {
    "delivery": {"settle_s": 0.5, "head_ward_s": 2.0, "head_s": 3.0},
    # A layer that comes after a study has settled would be announced in the middle of the tests.
    "rendering": {"diagnostic": False},
    # The demo's echocardiogram does not deny that a name is burned in.
    "wards": {"burned_in": "show"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    return demo_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, made: list[Made]) -> Iterator[RunningGateway]:
    """A gateway with a ward that attends all, and the demo's studies, worked off."""
    with RunningGateway(tmp_path_factory.mktemp("core") / "state", settings=SETTINGS) as running:
        running.cli("profile", "add", "ward", "W3", "--name", "Ward 3", "--attends", "*")
        for study in made:
            running.store(study.files)
        running.wait_studies(len(made))
        yield running


def enrol(gateway: RunningGateway, recipient: str) -> WireDevice:
    uri = gateway.cli("invite", recipient, json=True)["uri"]
    return WireDevice.enrol(gateway.mqtt_port, uri).connect()


@pytest.fixture
def ward(gateway: RunningGateway) -> Iterator[WireDevice]:
    device = enrol(gateway, "ward:W3")
    yield device
    device.stop()


def studies_of(device: WireDevice) -> dict[str, Announcement]:
    """What is current, by StudyInstanceUID."""
    return {attributes_of(one)["study"]["0020000D"]["Value"][0]: one for one in device.current().values()}


def entries(announcement: Announcement, layer: str) -> list[ObjectEntry]:
    return [entry for entry in announcement.objects if entry.layer == layer]


# ── what a device gets ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_enrolled_late_gets_everything(gateway: RunningGateway, ward: WireDevice, made: list[Made]) -> None:
    answer = ward.sync()
    assert isinstance(answer, Synced)
    ward.wait(lambda: ward.is_current() and all(one.settled for one in ward.current().values()), "all announcements")
    found = studies_of(ward)
    assert found.keys() == {study.StudyInstanceUID for study in made}
    for study in made:
        announcement = found[study.StudyInstanceUID]
        assert announcement.settled
        display = entries(announcement, "display")
        instances: set[str] = set()
        for entry in display:
            plaintext = ward.fetch(entry)
            header = header_of(entry, plaintext)
            start = int.from_bytes(plaintext[:4], "big") + 4
            for part, (first, end) in zip(header.parts, part_spans(header, start), strict=True):
                mark = {"image/jpeg": b"\xff\xd8", "image/png": b"\x89P"}[part.media]
                assert plaintext[first:end].startswith(mark)
            instances |= {one.SOPInstanceUID for one in header.instances}
            assert entry.frames == len(header.parts)
        assert len(instances) == len(study.files)
        assert len(entries(announcement, "thumbnail")) == 1
    # The answer's head is the head that was published.
    assert answer.heads[0] in [data for topic, data in ward.seen if topic.endswith("/head")]


def test_sync_sends_only_what_is_lacking(ward: WireDevice) -> None:
    ward.sync()
    ward.wait(ward.is_current, "all announcements")
    known = [(one.study, one.sequence) for one in ward.current().values()]
    before = len(ward.announcements())
    assert isinstance(ward.sync(known[1:]), Synced)
    again = ward.announcements()[before:]
    assert [encode_reference(known[0][0])] == [reference for reference, _, _ in again]


def test_heads_come_when_due_though_nothing_changes(ward: WireDevice) -> None:
    ward.wait(lambda: ward.heads(), "a first head")
    count, began = len(ward.heads()), time.monotonic()
    ward.wait(lambda: len(ward.heads()) >= count + 2, "two more heads", 8)
    assert time.monotonic() - began >= 1.5
    sequences = [head.sequence for head in ward.heads()]
    assert all(a < b for a, b in itertools.pairwise(sequences))
    assert all(head.next_due - head.issued == 2000 for head in ward.heads())


def test_an_unchanged_study_is_not_announced_again(ward: WireDevice) -> None:
    ward.sync()
    ward.wait(ward.is_current, "all announcements")
    known = [(one.study, one.sequence) for one in ward.current().values()]
    before, heads = len(ward.announcements()), len(ward.heads())
    for _ in range(3):
        ward.sync(known)
    ward.wait(lambda: len(ward.heads()) >= heads + 4, "more heads")
    assert len(ward.announcements()) == before


# ── what a device may not ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def patient(gateway: RunningGateway) -> Iterator[WireDevice]:
    gateway.cli("profile", "add", "patient", LEE.identifier, "--name", LEE.name)
    device = enrol(gateway, f"patient:{LEE.identifier}")
    yield device
    device.stop()


def test_a_patient_sees_its_own_studies_alone(ward: WireDevice, patient: WireDevice, made: list[Made]) -> None:
    patient.sync()
    patient.wait(lambda: patient.is_current() and len(patient.current()) == 2, "both studies")
    ids = {attributes_of(one)["study"]["00100020"]["Value"][0] for one in patient.current().values()}
    assert ids == {LEE.identifier}
    ward.sync()
    ward.wait(ward.is_current, "all announcements")
    others = [one for uid, one in studies_of(ward).items() if uid not in studies_of(patient)]
    assert others
    for one in others:
        # The object exists, but not for this recipient: the same answer as to what never was.
        answer = patient.ask(patient.want(one.objects[0], [(0, 0)]))
        assert answer == Gone(object=one.objects[0].object)
    assert isinstance(patient.ask(Want(patient.kind, os.urandom(16), os.urandom(16), [], [(0, 0)], 1, False)), Gone)


def test_receipts_are_for_announced_studies_alone(ward: WireDevice) -> None:
    ward.sync()
    ward.wait(ward.is_current, "all announcements")
    one = next(iter(ward.current().values()))
    recipient = decode_reference(ward.recipient)
    good = Receipt(ward.kind, recipient, one.study, one.sequence, "display", "received", 1)
    assert isinstance(ward.ask(good), Done)
    assert isinstance(ward.ask(good), Done)  # twice is once
    for bad in (
        Receipt(ward.kind, recipient, os.urandom(16), 1, "display", "received", 1),
        Receipt(ward.kind, os.urandom(16), one.study, 1, "display", "received", 1),
    ):
        assert ward.ask(bad) == Refused(reason="forbidden")


def test_ranges_beyond_the_object_are_refused(ward: WireDevice) -> None:
    ward.sync()
    ward.wait(ward.is_current, "all announcements")
    entry = next(iter(ward.current().values())).objects[0]
    assert ward.ask(ward.want(entry, [(200_000, 200_001)])) == Refused(reason="malformed")
    assert ward.ask(ward.want(entry, [], [7])) == Refused(reason="malformed")


def test_a_replayed_request_is_not_answered_twice(ward: WireDevice) -> None:
    payload = ward.pack(Sync(known=[]))
    counter = ward.counter
    for _ in range(3):
        ward.send(payload)
    ward.sync()  # requests of a device are answered in order: what came before was answered by now
    assert [answer.counter for answer in ward.answers()].count(counter) == 1


def test_rubbish_on_every_topic_changes_nothing(gateway: RunningGateway, ward: WireDevice) -> None:
    assert ward.mqtt is not None
    site = gateway.site
    good = ward.pack(Sync(known=[]))
    payloads = [b"", b"\x00", os.urandom(200), good[:-1], good + b"\x00", os.urandom(300_000), b"\xff" * 1000]
    for payload in payloads:
        ward.mqtt.publish(topics.device_request(site, ward.device), payload)
        ward.mqtt.publish(topics.device_status(site, ward.device), payload[:4000])
        ward.mqtt.publish(f"{topics.device_root(site, ward.device)}/object/{'a' * 26}/0", payload)
    assert isinstance(ward.sync(), Synced)
    uri = gateway.cli("invite", "ward:W3", json=True)["uri"]
    late = WireDevice.enrol(gateway.mqtt_port, uri)
    # Its code is used up: a second device gets no answer.
    with pytest.raises(AssertionError, match="the answer to the enrolment"):
        WireDevice.enrol(gateway.mqtt_port, uri, timeout_s=2)
    assert late.device != ward.device
    status = gateway.cli("status", json=True)
    assert all(part["healthy"] for part in status), status


def test_a_flood_does_not_starve_another_device(gateway: RunningGateway, ward: WireDevice) -> None:
    assert ward.mqtt is not None
    flooder = enrol(gateway, "ward:W3")
    assert flooder.mqtt is not None
    before = gateway.pss_bytes()
    quiet_s = min(_sync_s(ward) for _ in range(3))
    topic = topics.device_request(gateway.site, flooder.device)
    payload = os.urandom(100_000)
    infos = [flooder.mqtt.client.publish(topic, payload, qos=0) for _ in range(300)]
    infos += [flooder.mqtt.client.publish(topic, flooder.pack(Sync(known=[])), qos=0) for _ in range(300)]
    during_s = [_sync_s(ward) for _ in range(3)]
    assert max(during_s) < 5, f"{during_s} instead of {quiet_s}"
    for info in infos:
        info.wait_for_publish(20)
    assert gateway.pss_bytes() - before < 80 * 1024 * 1024
    assert isinstance(flooder.sync(), Synced)
    flooder.stop()


def _sync_s(device: WireDevice) -> float:
    began = time.monotonic()
    device.sync()
    return time.monotonic() - began


# ── changes of people ─────────────────────────────────────────────────────────────────────────────────────────────


def test_routing_follows_the_profile(gateway: RunningGateway, made: list[Made]) -> None:
    gateway.cli("profile", "add", "doctor", "D-9", "--name", "Park^Jisoo", "--attends", LEE.identifier)
    doctor = enrol(gateway, "doctor:D-9")
    doctor.sync()
    doctor.wait(lambda: doctor.is_current() and len(doctor.current()) == 2, "the patient's two studies")
    objects = [one.objects[0] for one in doctor.current().values()]
    sequences = {reference: one.sequence for reference, one in doctor.current().items()}
    assert doctor.fetch(objects[0])

    gateway.cli("profile", "add", "doctor", "D-9", "--attends-nobody")
    doctor.wait(lambda: doctor.heads() and not doctor.heads()[-1].studies, "a head without studies")
    for entry in objects:
        assert doctor.ask(doctor.want(entry, [(0, 0)])) == Gone(object=entry.object)

    gateway.cli("profile", "add", "doctor", "D-9", "--attends", "*")
    doctor.wait(lambda: doctor.is_current() and len(doctor.current()) == len(made), "all studies")
    for reference, sequence in sequences.items():
        assert doctor.current()[reference].sequence > sequence  # it only grows, also over a withdrawal
    # Named by the header as Kim^Minsu, another doctor gets them without attending anybody.
    gateway.cli("profile", "add", "doctor", "D-17", "--name", "KIM^MINSU")
    named = enrol(gateway, "doctor:D-17")
    named.sync()
    named.wait(lambda: named.is_current() and len(named.current()) == len(made), "what the header names")
    doctor.stop()
    named.stop()


def test_revoking_shuts_out_one_device_and_seals_anew_for_the_others(gateway: RunningGateway, ward: WireDevice) -> None:
    revoked = enrol(gateway, "ward:W3")
    for device in (ward, revoked):
        device.sync()
        device.wait(device.is_current, "all announcements")
    old_epoch = max(ward.epochs())
    assert max(revoked.epochs()) == old_epoch
    count = len(ward.current())

    gateway.cli("revoke", revoked.device)
    assert revoked.mqtt is not None
    connection = revoked.mqtt
    connection.wait(lambda: not connection.is_connected, "its session is ended")
    ward.wait(lambda: max(ward.epochs()) > old_epoch, "a new epoch")

    def sealed_anew() -> bool:
        # Study by study: heads in between still name some that are sealed for the epoch before.
        latest, sealed = max(ward.heads_with_bytes(), key=lambda pair: pair[0].sequence)
        by_digest = {hashlib.sha256(data).digest(): data for _, _, data in ward.announcements()}
        named = [by_digest.get(entry.digest) for entry in latest.studies]
        return len(named) == count and all(one is not None and _epoch_of(one) > old_epoch for one in [sealed, *named])

    ward.wait(sealed_anew, "all under the new epoch")
    connection.wait(lambda: connection.refused, "its login is refused")
    # Nothing that the revoked device holds opens the new epoch.
    for topic, data in ward.seen:
        if topic.endswith("/keys"):
            revoked.seen.append((topic, data))
    assert max(revoked.epochs()) == old_epoch
    assert gateway.cli("revoke", revoked.device)  # once more is no error
    assert [d["revoked"] for d in gateway.cli("devices", json=True) if d["device"] == revoked.device] != [None]
    revoked.stop()


def _epoch_of(sealed: bytes) -> int:
    """What stands in the clear at the beginning of a head's or an announcement's signed body."""
    overhead = len(sign.sign(Ed25519PrivateKey.generate(), "head", "t", b""))
    return int.from_bytes(sealed[overhead : overhead + 4], "big")


def test_a_removed_profile_leaves_nothing_behind(gateway: RunningGateway) -> None:
    gateway.cli("profile", "add", "ward", "W9", "--attends", HONG.identifier)
    device = enrol(gateway, "ward:W9")
    device.sync()
    device.wait(lambda: device.is_current() and device.current(), "its studies")
    watcher = enrol(gateway, "ward:W3")
    gateway.cli("profile", "remove", "ward", "W9", "--yes")
    assert device.mqtt is not None
    connection = device.mqtt
    connection.wait(lambda: connection.refused, "its login is refused")
    device.stop()
    # It comes again with the same reference, a new key and a head that goes on counting.
    gateway.cli("profile", "add", "ward", "W9")
    again = enrol(gateway, "ward:W9")
    assert again.recipient == device.recipient
    again.wait(lambda: again.heads(), "a head")
    assert min(again.epochs()) > max(device.epochs())
    assert again.heads()[-1].sequence > device.heads()[-1].sequence
    assert again.heads()[-1].studies == []
    again.stop()
    watcher.stop()


def test_growing_study_is_announced_before_it_settles(
    gateway: RunningGateway, ward: WireDevice, tmp_path: Path
) -> None:
    study = long_ct(tmp_path, 4, LEE, "growing")
    ward.sync()
    gateway.store(study.files[:2])

    def announced() -> Any:
        return next(
            (
                one
                for _, one, _ in ward.announcements()
                if attributes_of(one)["study"]["0020000D"]["Value"][0] == study.StudyInstanceUID
            ),
            None,
        )

    ward.wait(announced, "the study from its first instance on")
    gateway.store(study.files[2:])
    ward.wait(
        lambda: (
            (one := studies_of(ward).get(study.StudyInstanceUID)) is not None
            and one.settled
            and sum(entry.frames for entry in entries(one, "display")) == 4
        ),
        "all four slices",
    )
    references = {
        reference
        for reference, one, _ in ward.announcements()
        if attributes_of(one)["study"]["0020000D"]["Value"][0] == study.StudyInstanceUID
    }
    assert len(references) == 1  # however often it was announced


def test_a_lost_object_is_gone_and_made_again(gateway: RunningGateway, ward: WireDevice) -> None:
    ward.sync()
    ward.wait(ward.is_current, "all announcements")
    uid, one = next((uid, one) for uid, one in studies_of(ward).items() if entries(one, "display"))
    entry = entries(one, "display")[0]
    name = encode_reference(entry.object)
    (gateway.folder / "objects" / name[:2] / f"{name}.sealed").unlink()
    ward.send(ward.pack(ward.want(entry, [(0, 0)])))
    ward.wait(
        lambda: (
            (now := studies_of(ward).get(uid)) is not None
            and sum(e.frames for e in entries(now, "display")) == sum(e.frames for e in entries(one, "display"))
            and entry.object not in [e.object for e in now.objects]
        ),
        "the same pictures in another object",
    )
    assert ward.ask(ward.want(entry, [(0, 0)])) == Gone(object=entry.object)
    fresh = list(entries(studies_of(ward)[uid], "display"))
    assert all(ward.fetch(e) for e in fresh)


def test_no_identity_in_any_log_line(gateway: RunningGateway) -> None:
    """Last in this module: all that the gateway logged until now."""
    wait_until(lambda: "connected to the broker" in gateway.log, 5, "the log")
    found = [secret for secret in SECRETS if secret in gateway.log]
    assert not found, gateway.log
    assert "Traceback" not in gateway.log
    assert "unforeseen" not in gateway.log
