"""The census in the index: who hears of a study because of where its patient lies, and when."""

import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.management.index import movements, trail
from gateway.management.occupancy import Moved, Occupancy
from gateway.management.registry import NotTaken
from gateway.management.stays import Place, stays
from gateway.middleware.movement import Change, Movement
from tests.support.gateway_office import Office
from wire import objects


class Desk(Office):
    """An office with a census whose clock stands where it is put."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now = time.time()
        self.woken = 0
        self.occupancy = Occupancy(self.engine, self._wake, lambda: self.now)

    def _wake(self) -> None:
        self.woken += 1

    def say(self, change: str, ward: str = "", patient: str = "P-1", ago_s: float = 0.0, **more: Any) -> Moved:
        is_told = more.pop("is_told", False)
        said = {"bed": "", "IssuerOfPatientID": "", "source": "hl7", **more}
        movement = Movement(Change(change), patient, at=self.now - ago_s, ward=ward, **said)
        return self.occupancy.take(movement, is_told)

    def told(self, study: int) -> list[str]:
        """Which profiles the index says the study is announced to, after the announcer looked."""
        self.announcer.refresh(study)
        with self.engine.connect() as connection:
            names = {one.reference: one.identifier for one in self.census.look_within(connection).profiles}
            found = movements.sa.text("SELECT recipient FROM announcements WHERE study_id = :study")
            return sorted(names[row.recipient] for row in connection.execute(found, {"study": study}))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path / "state") as made:
        for ward in ("W3", "W5"):
            made.profile("ward", ward, name=f"Ward {ward[1]}")
        yield made


def location(text: str) -> dict[str, Any]:
    return {"00380300": {"vr": "LO", "Value": [text]}}


# ── routing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_day_of_a_patient_as_the_wards_hear_of_it(desk: Desk) -> None:
    study, _ = desk.arrive()
    assert desk.told(study) == []
    desk.say("admit", "W3", bed="301-2")
    assert [one for one, _ in desk.announcer.stale(0)] == [study] and desk.woken == 1
    assert desk.told(study) == ["W3"]
    desk.say("transfer", "W5")
    assert [one for one, _ in desk.announcer.stale(0)] == [study]
    changes = desk.announcer.refresh(study)
    assert {one.identifier for one in changes.heads.values()} == {"W3", "W5"}
    assert desk.told(study) == ["W5"]
    late, _ = desk.arrive(study="1.2.4", series="1.2.4.1")
    assert desk.told(late) == ["W5"]
    desk.say("discharge")
    assert desk.told(study) == [] == desk.told(late)
    assert desk.announcer.misrouted() == []


def test_the_ward_by_its_name_and_the_header_gives_way_to_the_census(desk: Desk) -> None:
    study, _ = desk.arrive(study_attributes=location("W3"))
    assert desk.told(study) == ["W3"]
    desk.say("admit", "ward 5")
    assert desk.told(study) == ["W5"]
    desk.say("discharge")
    assert desk.told(study) == []


def test_a_discharge_is_the_first_that_is_heard_of_somebody(desk: Desk) -> None:
    study, _ = desk.arrive(study_attributes=location("W3"))
    assert desk.told(study) == ["W3"]
    desk.say("discharge")
    assert [one for one, _ in desk.announcer.stale(0)] == [study]
    assert desk.told(study) == []


def test_an_update_makes_nobody_known(desk: Desk) -> None:
    study, _ = desk.arrive(study_attributes=location("W3"))
    assert not desk.say("update", "W5", PatientName="Hong^Gildong").is_new
    assert desk.told(study) == ["W3"]


def test_a_ward_that_attends_keeps_what_it_attends(desk: Desk) -> None:
    desk.profile("ward", "W3", attends=("P-1",))
    study, _ = desk.arrive()
    desk.say("admit", "W5")
    assert desk.told(study) == ["W3", "W5"]
    desk.say("discharge")
    assert desk.told(study) == ["W3"]


def test_only_the_patients_own_studies_move(desk: Desk) -> None:
    mine, _ = desk.arrive()
    other, _ = desk.arrive(study="1.2.4", patient="P-2", series="1.2.4.1")
    for study in (mine, other):
        desk.announcer.refresh(study)
    desk.say("admit", "W3")
    assert [one for one, _ in desk.announcer.stale(0)] == [mine]
    assert desk.told(other) == []


def test_a_hangul_identifier_in_letters_is_the_same_patient(desk: Desk) -> None:
    study, _ = desk.arrive(patient=unicodedata.normalize("NFD", "홍-1"))
    desk.announcer.refresh(study)
    desk.say("admit", "W3", patient=" 홍-1 ")
    assert [one for one, _ in desk.announcer.stale(0)] == [study]
    assert desk.told(study) == ["W3"]


def test_issuers_keep_two_patients_apart(desk: Desk) -> None:
    study, _ = desk.arrive()
    desk.say("admit", "W3", IssuerOfPatientID="B")
    assert desk.told(study) == []  # the study states none, and is not guessed to be B's
    desk.say("admit", "W5")
    assert desk.told(study) == ["W5"]


def test_the_announcement_says_where_the_patient_lies_now(desk: Desk) -> None:
    doctor = desk.profile("doctor", "D", attends=("*",))
    study, _ = desk.arrive(study_attributes=location("W3"))

    def said() -> Any:
        (one,) = desk.announcer.refresh(study).outgoing
        volume = desk.open_announcement(doctor, one.topic, one.payload)
        return objects.inflate_json(volume.attributes)["study"].get("00380300", {}).get("Value")

    desk.profile("ward", "W3", name="another")
    desk.say("admit", "X", bed="301-2")
    assert said() == ["X^301-2"]
    desk.say("transfer", "X", bed="301-3")
    assert said() == ["X^301-3"]
    desk.say("discharge")
    assert said() is None


def test_a_merge_ends_the_old_identifier_s_stay_and_begins_the_new_one_s(desk: Desk) -> None:
    old, _ = desk.arrive(patient="E-77")
    new, _ = desk.arrive(study="1.2.4", patient="P-1", series="1.2.4.1")
    desk.say("admit", "W3", bed="2", patient="E-77", ago_s=10)
    assert desk.told(old) == ["W3"]
    merge = {"patient": "E-77", "into": ("P-1", ""), "message": "c" * 64}
    desk.say("merge", **merge)
    assert (desk.told(old), desk.told(new)) == ([], ["W3"])
    assert [(one.PatientID, one.stay.ward, one.stay.bed) for one in desk.occupancy.inpatients()] == [("P-1", "W3", "2")]
    assert not desk.say("merge", **merge).is_new
    desk.say("discharge", ago_s=-1)
    assert desk.told(new) == []


def test_a_merge_into_somebody_who_lies_elsewhere_moves_nobody(desk: Desk) -> None:
    desk.say("admit", "W3", patient="E-77", ago_s=10)
    desk.say("admit", "W5", ago_s=10)
    desk.say("merge", patient="E-77", into=("P-1", ""))
    assert [(one.PatientID, one.stay.ward) for one in desk.occupancy.inpatients()] == [("P-1", "W5")]
    assert not desk.say("merge", patient="E-99", into=("P-1", "")).is_new
    with pytest.raises(NotTaken, match="empty"):
        desk.say("merge", patient="E-77", into=("", ""))


def test_a_merge_that_was_cut_in_the_middle_is_whole_at_the_next_try(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.say("admit", "W3", patient="E-77", ago_s=10)
    add = movements.add
    with monkeypatch.context() as patched, pytest.raises(OSError, match="cut"):

        def cut(connection: Any, movement: Movement, now: float) -> Any:
            if movement.change is Change.DISCHARGE:
                raise OSError("cut")
            return add(connection, movement, now)

        patched.setattr(movements, "add", cut)
        desk.say("merge", patient="E-77", into=("P-1", ""))
    desk.say("merge", patient="E-77", into=("P-1", ""))
    assert [(one.PatientID, one.stay.ward) for one in desk.occupancy.inpatients()] == [("P-1", "W3")]


# ── what is said twice, late, or wrongly ──────────────────────────────────────────────────────────────────────────


def test_the_same_twice_is_once(desk: Desk) -> None:
    assert desk.say("admit", "W3", message="a" * 64).is_new
    again = desk.say("admit", "W3", message="a" * 64, ago_s=-5)  # an engine that stamps anew what it sends again
    assert not again.is_new and again.after == Place("W3")
    assert not desk.say("admit", "W3").is_new  # the same moment under another name
    desk.say("transfer", "W5", ago_s=-1)
    desk.now += 10
    assert desk.say("admit", "W3", message="a" * 64).after == Place("W5")


def test_late_messages_do_not_move_anybody_back(desk: Desk) -> None:
    desk.say("admit", "W5", ago_s=10)
    moved = desk.say("admit", "W3", ago_s=100)
    assert moved.after == Place("W5") and "before" in moved.note
    (past, present) = desk.occupancy.history("P-1")
    assert (past.stay.ward, present.stay.ward, past.stay.ends) == ("W3", "W5", present.stay.begins)
    lay = {ago_s: [one.stay.ward for one in desk.occupancy.inpatients(desk.now - ago_s)] for ago_s in (200, 50, 10, 0)}
    assert lay == {200: [], 50: ["W3"], 10: ["W5"], 0: ["W5"]}


def test_a_clock_that_is_ahead_does_not_shadow_what_comes_next(desk: Desk) -> None:
    desk.say("admit", "W3", ago_s=-9 * 3600)
    desk.now += 60
    assert desk.say("transfer", "W5").after == Place("W5")


@pytest.mark.parametrize(
    ("change", "more", "reason"),
    [
        ("admit", {"ago_s": -2 * 86400.0}, "more than a day"),
        ("admit", {"ago_s": 1e12}, "1970"),
        ("admit", {"ward": ""}, "name it"),
        ("transfer", {"ward": " "}, "name it"),
        ("admit", {"patient": ""}, "empty"),
        ("admit", {"patient": "P\x00"}, "control"),
        ("admit", {"ward": "W" * 300}, "longer"),
        ("admit", {"bed": "a\nb"}, "control"),
        ("admit", {"PatientName": "a\x1bb"}, "control"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    desk: Desk, change: str, more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotTaken, match=reason):
        desk.say(change, **{"ward": "W3", **more})
    assert desk.occupancy.inpatients() == [] and desk.woken == 0


def test_two_authorities_with_one_identifier_are_not_made_one_patient(desk: Desk) -> None:
    desk.say("admit", "W3", authority="A")
    with pytest.raises(NotTaken, match=r"hl7\.authority"):
        desk.say("transfer", "W5", authority="B", ago_s=-1)
    assert desk.say("transfer", "W5", ago_s=-1).after == Place("W5")


@pytest.mark.parametrize(
    ("before", "change", "ward", "reason"),
    [
        ([], "transfer", "W3", "admit"),
        ([], "discharge", "", "census list"),
        (["W5"], "admit", "W3", "transfer"),
    ],
)
def test_a_person_is_asked_back(desk: Desk, before: list[str], change: str, ward: str, reason: str) -> None:
    for one in before:
        desk.say("admit", one, ago_s=10)
    with pytest.raises(NotTaken, match=reason):
        desk.say(change, ward, is_told=True)
    assert desk.say(change, ward).is_new  # a message is not


def test_who_is_not_in_a_complete_list_has_left(desk: Desk) -> None:
    study, _ = desk.arrive()
    desk.say("admit", "W3", ago_s=5)
    desk.say("admit", "W5", patient="P-2", ago_s=5)
    (left,) = desk.occupancy.complete({("P-2", "")}, desk.now, "csv")
    assert left.PatientID == "P-1"
    assert [one.PatientID for one in desk.occupancy.inpatients()] == ["P-2"]
    assert desk.told(study) == []


def test_names_and_beds_are_listed_as_they_were_said_last(desk: Desk) -> None:
    desk.say("admit", "W3", bed="2", PatientName="Hong^Gildong", ago_s=20)
    desk.say("update", "W3", bed="2", PatientName="Hong^Gildong=洪^吉童=홍^길동", ago_s=10)
    desk.say("admit", "W3", bed="1", patient="P-2")
    assert [(one.PatientID, one.stay.bed, one.PatientName) for one in desk.occupancy.inpatients()] == [
        ("P-2", "1", ""),
        ("P-1", "2", "Hong^Gildong=洪^吉童=홍^길동"),
    ]


def test_whoever_says_what_at_the_same_time_the_stays_follow_from_all_of_it(desk: Desk) -> None:
    def tell(number: int) -> None:
        for step in range(8):
            desk.say("transfer", f"W{(number + step) % 3}", bed=str(number), ago_s=1.0 + number + step * 10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tell, range(4)))
    with desk.engine.connect() as connection:
        said = movements.movements_of(connection, "P-1", "")
        kept = [one.stay for one in movements.history(connection, "P-1", "")]
    assert len(said) == 32 and kept == stays(said)


def test_each_change_stands_in_the_audit_trail_once(desk: Desk) -> None:
    desk.say("admit", "W3", bed="2")
    desk.say("admit", "W3", bed="2")
    desk.say("transfer", "W5")
    with pytest.raises(NotTaken):
        desk.say("transfer", "")
    with desk.engine.connect() as connection:
        found = [one.event for one in trail.oldest_first(connection)]
    moved = [(one["patient"], one["what"].partition(" at ")[0]) for one in found if one["event"] == "patient-moved"]
    assert moved == [("P-1", "admit W3 2"), ("P-1", "transfer W5")]
