"""Announcements and heads as the index keeps them: who is told what, how often, and within which bounds."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.management.announcer import Changes
from gateway.management.index import told
from gateway.management.index.people import Profile
from tests.support.gateway_office import Office
from wire import objects
from wire.limits import MAX_ANNOUNCEMENT_BYTES, MAX_MESSAGE_BYTES, MAX_STUDIES
from wire.messages import Announcement
from wire.names import decode_reference, encode_reference

DAY_S = 86400


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "state") as made:
        yield made


def opened(office: Office, profile: Profile, changes: Changes) -> list[Announcement]:
    mine = [one for one in changes.outgoing if f"/{profile.reference}/" in one.topic]
    assert all(len(one.payload) <= MAX_ANNOUNCEMENT_BYTES for one in changes.outgoing)
    return [office.open_announcement(profile, one.topic, one.payload) for one in mine]


def series_uids(volume: Announcement) -> list[str]:
    return [one["0020000E"]["Value"][0] for one in objects.inflate_json(volume.attributes)["series"]]


# ── once, and again only when something changed ───────────────────────────────────────────────────────────────────


def test_unchanged_is_not_announced_again(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    study, _ = office.arrive()
    (first,) = opened(office, ward, office.announcer.refresh(study))
    again = office.announcer.refresh(study)
    assert not again.outgoing and not again.heads
    office.add_object(study, (1,))
    (second,) = opened(office, ward, office.announcer.refresh(study))
    assert second.study == first.study and second.sequence > first.sequence
    assert [entry.layer for entry in second.objects] == ["display"]


def test_each_recipient_is_told_once_for_its_own_change(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    study, _ = office.arrive()
    office.announcer.refresh(study)
    patient = office.profile("patient", "P-1")
    assert office.announcer.misrouted() == [study]
    changes = office.announcer.refresh(study)
    assert list(changes.heads) == [patient.reference]
    assert len(opened(office, patient, changes)) == 1 and not opened(office, ward, changes)
    assert office.announcer.misrouted() == []


def test_withdrawn_and_told_again_the_sequence_grows(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("P-1",))
    study, _ = office.arrive()
    (first,) = opened(office, ward, office.announcer.refresh(study))
    office.profile("ward", "W")
    changes = office.announcer.refresh(study)
    assert not changes.outgoing and list(changes.heads) == [ward.reference]
    assert office.head(ward).studies == []
    office.profile("ward", "W", attends=("P-1",))
    (again,) = opened(office, ward, office.announcer.refresh(study))
    assert again.study == first.study and again.sequence > first.sequence


def test_heads_name_what_was_published(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    published = {}
    for number in range(5):
        study, _ = office.arrive(study=f"1.2.{number}", series=f"1.2.{number}.1")
        for one in office.announcer.refresh(study).outgoing:
            published[decode_reference(one.topic.rpartition("/")[2])] = hashlib.sha256(one.payload).digest()
    head = office.head(ward)
    assert {entry.study: entry.digest for entry in head.studies} == published
    assert office.head(ward).sequence == head.sequence + 1


def test_only_what_changed_is_looked_at(office: Office) -> None:
    office.profile("ward", "W", attends=("*",))
    first, _ = office.arrive(study="1.2.1", series="1.2.1.1")
    second, _ = office.arrive(study="1.2.2", series="1.2.2.1")
    stale = office.announcer.stale(0)
    assert [study for study, _ in stale] == [first, second]
    office.announcer.refresh(first)
    assert [study for study, _ in office.announcer.stale(0)] == [second]
    office.announcer.refresh(second)
    assert office.announcer.stale(0) == []
    assert office.announcer.stale(stale[-1][1]) == []
    office.add_object(first, (1,))
    assert [study for study, _ in office.announcer.stale(stale[-1][1])] == [first]


# ── what a kind of recipient may have ─────────────────────────────────────────────────────────────────────────────


def test_a_ward_is_told_of_no_report_and_no_original(office: Office) -> None:
    ward, doctor = office.profile("ward", "W", attends=("*",)), office.profile("doctor", "D", attends=("*",))
    study, _ = office.arrive()
    for layer in ("display", "report", "original"):
        office.add_object(study, (1,), layer)
    changes = office.announcer.refresh(study)
    (to_ward,), (to_doctor,) = opened(office, ward, changes), opened(office, doctor, changes)
    assert {one.layer for one in to_ward.objects} == {"display"}
    assert {one.layer for one in to_doctor.objects} == {"display", "report", "original"}
    office.add_object(study, (1,), "original")
    changes = office.announcer.refresh(study)
    assert not opened(office, ward, changes), "what is not for a ward is no news to it"
    assert len(opened(office, doctor, changes)) == 1


def _say(stated: str) -> dict[str, object]:
    return {"00280301": {"vr": "CS", "Value": [stated]}}


def test_a_ward_is_told_of_no_series_with_names_in_its_pixels(office: Office) -> None:
    ward, doctor = office.profile("ward", "W", attends=("*",)), office.profile("doctor", "D", attends=("*",))
    study, _ = office.arrive(series="1.2.3.1")
    office.arrive(series="1.2.3.2", modality="US")
    office.arrive(series="1.2.3.3", modality="US", series_attributes=_say("NO"))
    office.arrive(series="1.2.3.4", series_attributes=_say("YES"))
    for series_ids in ((1,), (2,), (3,), (4,)):
        office.add_object(study, series_ids)
    office.add_object(study, (1, 2, 3, 4), "thumbnail")
    changes = office.announcer.refresh(study)
    (to_ward,), (to_doctor,) = opened(office, ward, changes), opened(office, doctor, changes)
    assert series_uids(to_ward) == ["1.2.3.1", "1.2.3.3"]
    assert [(one.layer, one.series) for one in to_ward.objects] == [("display", [0]), ("display", [1])]
    assert len(series_uids(to_doctor)) == 4 and len(to_doctor.objects) == 5


def test_one_picture_that_may_have_a_name_takes_its_series_from_the_ward(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    study, _ = office.arrive(modality="US", series_attributes=_say("NO"))
    office.add_object(study, (1,))
    assert len(opened(office, ward, office.announcer.refresh(study))) == 1
    office.arrive(modality="US")
    changes = office.announcer.refresh(study)
    assert not opened(office, ward, changes)
    assert list(changes.heads) == [ward.reference] and office.head(ward).studies == []


# ── window ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_studies_leave_the_window_without_anything_coming(tmp_path: Path) -> None:
    now = time.time()
    with Office(tmp_path / "state", window_days=7) as office:
        ward = office.profile("ward", "W", attends=("*",))
        old, _ = office.arrive(study="1.2.1", series="1.2.1.1", at=now - 8 * DAY_S)
        young, _ = office.arrive(study="1.2.2", series="1.2.2.1", at=now - 6 * DAY_S)
        assert not office.announcer.refresh(old).outgoing
        office.announcer.refresh(young)
        assert office.announcer.outdated() == [] and office.announcer.misrouted() == []
        with office.engine.begin() as connection:
            connection.execute(sa.text("update studies set last_arrival_at = last_arrival_at - 172800"))
        assert office.announcer.outdated() == [young]
        changes = office.announcer.refresh(young)
        assert list(changes.heads) == [ward.reference] and office.head(ward).studies == []
        assert office.announcer.outdated() == []


# ── epochs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_revoking_seals_anew_whoever_is_running(office: Office) -> None:
    ward, patient = office.profile("ward", "W", attends=("*",)), office.profile("patient", "P-1")
    device, other = office.device(ward), office.device(ward)
    study, _ = office.arrive()
    changes = office.announcer.refresh(study)
    (before,) = opened(office, ward, changes)
    old = office.epochs(ward)
    office.registry.revoke(device.device)
    assert max(office.epochs(ward)) == max(old) + 1 and office.epochs(ward)[max(old) + 1] not in old.values()
    assert office.announcer.outdated() == [study]
    changes = office.announcer.refresh(study)
    (after,) = opened(office, ward, changes)  # opens under the new key alone
    assert after.sequence > before.sequence and not opened(office, patient, changes)
    assert office.announcer.outdated() == []
    keys = office.announcer.keys(ward)
    assert decode_reference(other.device) in keys.payload and decode_reference(device.device) not in keys.payload
    office.registry.revoke(device.device)
    assert max(office.epochs(ward)) == max(old) + 1  # once is enough


def test_a_removed_recipient_is_forgotten_but_its_numbers_grow(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    office.device(ward)
    study, _ = office.arrive()
    office.announcer.refresh(study)
    sequence, epoch = office.head(ward).sequence, max(office.epochs(ward))
    office.registry.remove_profile("ward", "W")
    with office.engine.connect() as connection:
        assert told.announced_of(connection, study) == []
    assert office.announcer.misrouted() == []
    assert not office.announcer.refresh(study).heads
    again = office.profile("ward", "W", attends=("*",))
    assert again.reference == ward.reference
    assert office.announcer.misrouted() == [study]
    office.announcer.refresh(study)
    assert office.head(again).sequence > sequence and max(office.epochs(again)) > epoch


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _many_objects(office: Office, count: int) -> int:
    study, _ = office.arrive(study="1.2.9", series="1.2.9.1")
    with office.engine.connect() as connection:
        series = connection.execute(sa.text("select id from series where study_id = :s"), {"s": study}).scalar_one()
    for _ in range(count):
        office.add_object(study, (int(series),))
    return study


def test_hundreds_of_objects_in_volumes_with_stable_references(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    study = _many_objects(office, 300)
    volumes = opened(office, ward, office.announcer.refresh(study))
    assert len(volumes) > 1
    assert sum(len(volume.objects) for volume in volumes) == 300
    assert len({entry.object for volume in volumes for entry in volume.objects}) == 300
    assert all(series_uids(volume) == ["1.2.9.1"] for volume in volumes)
    office.add_object(study, (1,))
    again = opened(office, ward, office.announcer.refresh(study))
    assert len(again) == 1  # the last volume alone
    heads = {entry.study: entry.sequence for entry in office.head(ward).studies}
    assert heads == {one.study: one.sequence for one in [*volumes, *again]}


@pytest.mark.parametrize("with_objects", [False, True])
def test_hundreds_of_series(office: Office, with_objects: bool) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    ids = set()
    for number in range(400):
        description = {"0008103E": {"vr": "LO", "Value": [os.urandom(24).hex()]}}
        study, _ = office.arrive(series=f"1.2.3.{number + 1}", series_attributes=description)
        ids.add(study)
    (study,) = ids
    if with_objects:
        with office.engine.connect() as connection:
            rows = connection.execute(sa.text("select id from series order by id")).all()
        for row in rows[:200]:
            office.add_object(study, (int(row.id),))
        for start in (0, 100):
            office.add_object(study, tuple(int(row.id) for row in rows[start : start + 100]), "thumbnail", batch=0)
    volumes = opened(office, ward, office.announcer.refresh(study))
    assert {uid for volume in volumes for uid in series_uids(volume)} == {f"1.2.3.{n + 1}" for n in range(400)}
    assert sum(len(volume.objects) for volume in volumes) == (202 if with_objects else 0)
    assert not office.announcer.refresh(study).outgoing


def test_a_small_study_is_one_volume_with_its_bare_series(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    study, _ = office.arrive(series="1.2.3.1")
    office.arrive(series="1.2.3.2")
    office.add_object(study, (1,))
    (volume,) = opened(office, ward, office.announcer.refresh(study))
    assert series_uids(volume) == ["1.2.3.1", "1.2.3.2"]


def test_a_header_full_of_text_is_cut_to_what_identifies(office: Office) -> None:
    doctor = office.profile("doctor", "D", attends=("*",))
    noise: dict[str, Any] = {f"{0x00081030 + n:08X}": {"vr": "LT", "Value": [os.urandom(500).hex()]} for n in range(40)}
    study, _ = office.arrive(study_attributes=noise, series_attributes=noise)
    office.add_object(study, (1,))
    (volume,) = opened(office, doctor, office.announcer.refresh(study))
    attributes = objects.inflate_json(volume.attributes)
    assert attributes["study"]["0020000D"]["Value"] == ["1.2.3"] and attributes["study"]["00100020"]["Value"] == ["P-1"]
    assert series_uids(volume) == ["1.2.3.1"] and len(volume.objects) == 1


def test_a_head_holds_the_latest_studies_and_fits_a_message(office: Office) -> None:
    ward = office.profile("ward", "W", attends=("*",))
    study, _ = office.arrive(at=time.time() - 100)
    office.announcer.refresh(study)
    with office.engine.begin() as connection:
        (one,) = told.announced_of(connection, study)
        row = {name: getattr(one, name) for name in type(one).__slots__}
        rows = [{**row, "study_ref": encode_reference(os.urandom(16)), "sequence": 2**40} for _ in range(MAX_STUDIES)]
        connection.execute(sa.insert(told.announcements), rows)
    young, _ = office.arrive(study="1.2.4", series="1.2.4.1")
    (latest,) = opened(office, ward, office.announcer.refresh(young))
    with statements(office) as asked:
        outgoing = office.announcer.head(ward)
    assert len(outgoing.payload) <= MAX_MESSAGE_BYTES
    head = office.head(ward)
    assert len(head.studies) == MAX_STUDIES and latest.study in {entry.study for entry in head.studies}
    assert len(asked) < 20, "however many studies there are"
    known = {encode_reference(entry.study): entry.sequence for entry in head.studies[:-3]}
    assert len(office.announcer.missing(ward, known)) == 3


@contextmanager
def statements(office: Office) -> Iterator[list[str]]:
    """What is asked of the index meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(office.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(office.engine, "before_cursor_execute", note)


def test_profiles_without_devices_or_studies_cost_a_refresh_nothing(office: Office) -> None:
    from gateway.management.index import people

    office.profile("patient", "P-1")
    study, _ = office.arrive()
    office.announcer.refresh(study)
    with statements(office) as few:
        office.announcer.refresh(study)
    with office.engine.begin() as connection:
        for number in range(2000):
            reference = office.registry.reference("patient", f"X-{number}")
            values = {"kind": "patient", "identifier": f"X-{number}", "name": "", "attends": "[]"}
            connection.execute(sa.insert(people.profiles).values(reference=reference, **values))
        people.bump(connection, "profiles")
    office.announcer.refresh(study)  # reads the profiles that are new, once
    with statements(office) as many:
        office.announcer.refresh(study)
    assert few and many == few
