"""Orders: what is made on request, for whom, and that it is the file as received."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.studies import LEE, Made, demo_studies
from gateway.management.studio import originals
from tests.support.gateway_devices import WireDevice, attributes_of, header_of
from tests.support.gateways import RunningGateway
from wire.messages import Announcement, Done, Gone, ObjectEntry, Order, Refused
from wire.objects import part_spans

SETTINGS = {"delivery": {"settle_s": 0.5, "head_ward_s": 2.0, "head_s": 3.0}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    return demo_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, made: list[Made]) -> Iterator[RunningGateway]:
    """A gateway with a ward, a doctor who attends all and a patient."""
    with RunningGateway(tmp_path_factory.mktemp("core") / "state", settings=SETTINGS) as running:
        running.cli("profile", "add", "ward", "W3", "--attends", "*")
        running.cli("profile", "add", "doctor", "D-1", "--attends", "*")
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
def doctor(gateway: RunningGateway) -> Iterator[WireDevice]:
    device = device_of(gateway, "doctor:D-1")
    yield device
    device.stop()


def uid_of(announcement: Announcement) -> str:
    uid: str = attributes_of(announcement)["study"]["0020000D"]["Value"][0]
    return uid


def current(device: WireDevice, study: Made) -> Announcement:
    return next(one for one in device.current().values() if uid_of(one) == study.StudyInstanceUID)


def is_offered(device: WireDevice, study: Made) -> bool:
    return any(uid_of(one) == study.StudyInstanceUID and originals_of(one) for one in device.current().values())


def originals_of(announcement: Announcement) -> list[ObjectEntry]:
    return [entry for entry in announcement.objects if entry.layer == "original"]


def order(device: WireDevice, announcement: Announcement, layer: Any = "original", series: Any = ()) -> Order:
    recipient = device.welcome.enrolled.recipients[0].recipient
    return Order(kind=device.kind, recipient=recipient, study=announcement.study, layer=layer, series=list(series))


def files_in(device: WireDevice, entry: ObjectEntry) -> dict[str, bytes]:
    """The parts of an object, by SOPInstanceUID."""
    plaintext = device.fetch(entry)
    header = header_of(entry, plaintext)
    assert {part.media for part in header.parts} == {"application/dicom"}
    start = int.from_bytes(plaintext[:4], "big") + 4
    spans = part_spans(header, start)
    return {
        header.instances[part.instance].SOPInstanceUID: plaintext[first:end]
        for part, (first, end) in zip(header.parts, spans, strict=True)
    }


def test_an_ordered_series_comes_byte_for_byte(gateway: RunningGateway, doctor: WireDevice, made: list[Made]) -> None:
    study = min(made, key=lambda one: len(one.files))
    announcement = current(doctor, study)
    assert not originals_of(announcement)
    assert isinstance(doctor.ask(order(doctor, announcement)), Done)
    doctor.wait(lambda: is_offered(doctor, study), "an announcement that offers it")
    doctor.wait(doctor.is_current, "all announcements")
    archived = {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (gateway.folder / "archive/archive").glob("*/*.dcm")
    }
    found: dict[str, bytes] = {}
    for entry in originals_of(current(doctor, study)):
        parts = files_in(doctor, entry)
        assert entry.frames == len(parts) and not parts.keys() & found.keys()
        found |= parts
    assert len(found) == len(study.files)
    assert {hashlib.sha256(data).hexdigest() for data in found.values()} <= archived
    # Once more, and for a part of it: it is there already.
    before = current(doctor, study).sequence
    assert isinstance(doctor.ask(order(doctor, announcement)), Done)
    series = attributes_of(announcement)["series"][0]["0020000E"]["Value"]
    assert isinstance(doctor.ask(order(doctor, announcement, series=series)), Done)
    doctor.sync()
    assert current(doctor, study).sequence == before


def test_a_ward_gets_no_original_however_it_asks(gateway: RunningGateway, doctor: WireDevice, made: list[Made]) -> None:
    study = max(made, key=lambda one: len(one.files))
    ward = device_of(gateway, "ward:W3")
    try:
        announcement = current(ward, study)
        for layer in ("original", "report"):
            assert ward.ask(order(ward, announcement, layer)) == Refused(reason="forbidden")
        assert isinstance(doctor.ask(order(doctor, current(doctor, study))), Done)
        doctor.wait(lambda: is_offered(doctor, study), "an announcement that offers it")
        ward.sync()
        ward.wait(ward.is_current, "all announcements")
        assert not originals_of(current(ward, study))
        # Not even with its id and key, which a doctor's device could have told.
        entry = originals_of(current(doctor, study))[0]
        assert ward.ask(ward.want(entry, [(0, 0)])) == Gone(object=entry.object)
        assert files_in(doctor, entry)
    finally:
        ward.stop()


def test_what_is_not_the_recipients_cannot_be_ordered(
    gateway: RunningGateway, doctor: WireDevice, made: list[Made]
) -> None:
    patient = device_of(gateway, f"patient:{LEE.identifier}")
    try:
        own = {uid_of(one) for one in patient.current().values()}
        other = next(one for one in doctor.current().values() if uid_of(one) not in own)
        assert patient.ask(order(patient, other)) == Refused(reason="forbidden")
        mine = next(iter(patient.current().values()))
        as_doctor = Order(
            kind="doctor", recipient=doctor.welcome.enrolled.recipients[0].recipient, study=mine.study,
            layer="original", series=[],
        )  # fmt: skip
        assert patient.ask(as_doctor) == Refused(reason="forbidden")
        assert patient.ask(order(patient, mine, series=["1.2.3"])) == Refused(reason="gone")
        assert patient.ask(order(patient, mine, "video")) == Refused(reason="gone")
        assert isinstance(patient.ask(order(patient, mine, "display")), Done)
    finally:
        patient.stop()


def test_no_identity_in_any_log_line(gateway: RunningGateway, made: list[Made]) -> None:
    assert "an order of a study in layer original" in gateway.log
    for secret in (LEE.identifier, *(study.StudyInstanceUID for study in made)):
        assert secret not in gateway.log


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Row:
    """As much of an instance as the grouping looks at."""

    def __init__(self, series_id: int, size_bytes: int) -> None:
        self.series_id = series_id
        self.size_bytes = size_bytes


def test_a_large_series_is_several_objects() -> None:
    third = originals.OBJECT_BYTES // 3 + 1
    rows: Any = [_Row(1, third) for _ in range(5)] + [_Row(2, 1), _Row(3, originals.OBJECT_BYTES * 2), _Row(3, 1)]
    groups = [[(row.series_id, row.size_bytes) for row in group] for group in originals._groups(rows)]
    assert [len(group) for group in groups] == [2, 2, 1, 1, 1, 1]
    assert groups[4] == [(3, originals.OBJECT_BYTES * 2)]
    many: Any = [_Row(1, 1) for _ in range(originals.OBJECT_FILES + 1)]
    assert [len(group) for group in originals._groups(many)] == [originals.OBJECT_FILES, 1]
