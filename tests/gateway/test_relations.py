"""Who has a study by which relation, from when to when; and what each role may do."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.config import Access
from gateway.management import access
from gateway.management.access import TABLE, Op, Relation, judge
from gateway.management.announcer import Announcer
from gateway.management.census import Census
from gateway.management.index import arrivals_read, movements
from gateway.management.index.people import Profile
from gateway.management.registry import NotTaken, Unknown
from gateway.management.relations import Relations
from gateway.management.routing import canonical
from gateway.management.sharing import Sharing
from gateway.management.standing import relation_of
from gateway.management.whereabouts import relations
from tests.support.gateway_office import Office
from wire import asks
from wire.names import decode_reference

_NAME = {"vr": "PN", "Value": [{"Alphabetic": "Park^Referring"}]}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "state") as made:
        yield made


@pytest.fixture
def terms(office: Office) -> Relations:
    return Relations(office.engine, office.config.access, "operator:test")


def found(office: Office, study_id: int, settings: Access | None = None) -> dict[str, Relation]:
    """Who has the study now, and why."""
    census = Census(office.engine, settings or office.config.access)
    with office.engine.connect() as connection:
        study = arrivals_read.study_by_id(connection, study_id)
        assert study is not None
        located = movements.located(connection, canonical(study.PatientID))
        rules = census.look_within(connection).rules
        return {f"{p.kind}:{p.identifier}": relation for p, relation in relations(study, rules, located)}


# ── terms ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_term_holds_from_when_to_when(office: Office, terms: Relations) -> None:
    office.profile("doctor", "D")
    study, _ = office.arrive()
    now = time.time()
    assert found(office, study) == {}
    terms.attend(office.registry.reference("doctor", "D"), "P-1", now + 3600, None)
    assert found(office, study) == {}, "it has not begun"
    terms.attend(office.registry.reference("doctor", "D"), "P-1", now - 3600, now - 1)
    assert found(office, study) == {}, "it has ended"
    terms.attend(office.registry.reference("doctor", "D"), "P-2", now - 1, None)
    assert found(office, study) == {}, "another patient"
    terms.attend(office.registry.reference("doctor", "D"), "P-1", now - 1, now + 3600)
    assert found(office, study) == {"doctor:D": "attending"}
    terms.leave(office.registry.reference("doctor", "D"), "P-1")
    assert found(office, study) == {}


def test_a_term_that_begins_or_ends_is_seen_without_any_other_change(
    office: Office, terms: Relations, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor = office.profile("doctor", "D")
    office.device(doctor)
    study, _ = office.arrive()
    now = time.time()
    terms.attend(office.registry.reference("doctor", "D"), "P-1", now + 100, now + 200)
    before = office.census.look()
    assert office.announcer.refresh(study).outgoing == []
    monkeypatch.setattr(time, "time", lambda: now + 150)
    during = office.census.look()
    assert during.version[1] > before.version[1], "whoever follows profiles looks at all studies anew"
    assert office.announcer.misrouted() == [study]
    assert len(office.announcer.refresh(study).outgoing) == 1
    assert office.census.look() is during, "once"
    monkeypatch.setattr(time, "time", lambda: now + 250)
    assert office.census.look().version[1] > during.version[1]
    office.announcer.refresh(study)
    assert office.head(doctor).studies == []


def test_a_term_of_an_issuer_is_of_that_issuer(office: Office, terms: Relations) -> None:
    office.profile("doctor", "D")
    study, _ = office.arrive()
    terms.attend(office.registry.reference("doctor", "D"), "P-1^^^A", time.time() - 1, None)
    assert found(office, study) == {}


def test_leaving_ends_what_was_for_good_too(office: Office, terms: Relations) -> None:
    office.profile("ward", "W", attends=("P-1", "P-2"))
    study, _ = office.arrive()
    terms.leave(office.registry.reference("ward", "W"), "P-1")
    assert found(office, study) == {}
    (left,) = office.registry.profiles()
    assert left.attends == ("P-2",)
    with pytest.raises(NotTaken):
        terms.leave(office.registry.reference("ward", "W"), "P-1")


def test_a_profile_that_comes_again_attends_nobody_by_its_former_terms(office: Office, terms: Relations) -> None:
    office.profile("doctor", "D")
    study, _ = office.arrive()
    terms.attend(office.registry.reference("doctor", "D"), "P-1", time.time() - 1, None)
    office.registry.remove_profile("doctor", "D")
    office.profile("doctor", "D")
    assert found(office, study) == {}


def test_what_cannot_be_a_term(office: Office, terms: Relations) -> None:
    now = time.time()
    with pytest.raises(Unknown):
        terms.attend(office.registry.reference("doctor", "nobody"), "P-1", now, None)
    office.profile("doctor", "D")
    with pytest.raises(NotTaken):
        terms.attend(office.profile("patient", "P-9").reference, "P-1", now, None)
    with pytest.raises(NotTaken):
        terms.attend(office.registry.reference("doctor", "D"), "P-1", now, now - 1)
    with pytest.raises(NotTaken):
        terms.attend(office.registry.reference("doctor", "D"), " ", now, None)


# ── emergency, referring, release ─────────────────────────────────────────────────────────────────────────────────


def test_break_glass_lasts_its_hours_and_says_why(
    office: Office, terms: Relations, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor, patient = office.profile("doctor", "D"), office.profile("patient", "P-9")
    study, _ = office.arrive()
    with pytest.raises(NotTaken):
        terms.break_glass(doctor, "P-1", "  ")
    with pytest.raises(NotTaken):
        terms.break_glass(patient, "P-1", "curious")
    terms.break_glass(doctor, "P-1", "resuscitation")
    assert found(office, study) == {"doctor:D": "emergency"}
    (shown,) = [one for one in office.registry.profiles() if one.kind == "doctor"]
    assert [(one.role, one.reason) for one in shown.terms] == [("emergency", "resuscitation")]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 3600 + 1)
    assert found(office, study) == {}


def test_a_doctor_of_the_header_has_a_study_for_some_days(office: Office) -> None:
    office.profile("doctor", "R", "Park^Referring")
    young, _ = office.arrive(study_attributes={"00080090": _NAME})
    old, _ = office.arrive(
        study="1.2.4", series="1.2.4.1", at=time.time() - 31 * 86400, study_attributes={"00080090": _NAME}
    )
    assert found(office, young) == {"doctor:R": "referring"}
    assert found(office, old) == {}
    assert found(office, old, Access(referring_days=60)) == {"doctor:R": "referring"}


@pytest.mark.parametrize(
    ("settings", "age_h", "has"),
    [
        (Access(), 0, False),
        (Access(), 1000, False),
        (Access(release="automatic"), 0, True),
        (Access(release="after", release_after_h=5), 4, False),
        (Access(release="after", release_after_h=5), 6, True),
    ],
)
def test_a_patients_study_is_held_back(office: Office, settings: Access, age_h: float, has: bool) -> None:
    office.profile("patient", "P-1")
    office.profile("ward", "W", attends=("*",))
    study, _ = office.arrive(at=time.time() - age_h * 3600)
    assert found(office, study, settings).get("patient:P-1") == ("own" if has else None)
    assert found(office, study, settings)["ward:W"] == "attending"


def test_release_and_hold(office: Office, terms: Relations) -> None:
    office.profile("patient", "P-1")
    study, _ = office.arrive()
    other, _ = office.arrive(study="1.2.4", series="1.2.4.1")
    assert terms.release("1.2.3") and not terms.release("1.2.3")
    assert found(office, study, Access()) == {"patient:P-1": "own"}
    assert found(office, other, Access()) == {}, "only what was released"
    assert terms.release("1.2.3", held=True)
    assert found(office, study, Access()) == {}
    with pytest.raises(Unknown):
        terms.release("9.9.9")


@pytest.mark.parametrize("outlives", [False, True])
def test_a_share_rests_while_its_giver_has_no_right(office: Office, terms: Relations, outlives: bool) -> None:
    """Where it is asked for, and where it is announced; also beyond the window of days."""
    giver, other = office.profile("doctor", "D", attends=("P-1",)), office.profile("doctor", "E")
    office.device(other)
    study_id, _ = office.arrive(at=time.time() - 40 * 86400)
    settings = Access(shares_outlive_giver=outlives)
    census = Census(office.engine, settings)
    announcer = Announcer(office.engine, office.vault, "office", office.config.delivery, census)
    ask = asks.Share(
        "doctor", decode_reference(giver.reference), "1.2.3", "doctor", decode_reference(other.reference), 0
    )
    assert Sharing(office.engine, census).share(giver, ask) == "done"

    def stands() -> tuple[Relation, bool]:
        announcer.refresh(study_id)
        with office.engine.connect() as connection:
            study = arrivals_read.study_by_id(connection, study_id)
            assert study is not None
            relation = relation_of(connection, census.look_within(connection), other, study, int(time.time() * 1000))
        return relation, bool(office.head(other).studies)

    assert stands() == ("shared", True)
    terms.leave(giver.reference, "P-1")
    assert stands() == (("shared", True) if outlives else ("none", False))
    terms.attend(giver.reference, "P-1", time.time() - 1, None)
    assert stands() == ("shared", True)
    office.registry.remove_profile("doctor", "D")
    assert stands() == ("none", False)


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", sorted(TABLE))
@pytest.mark.parametrize("op", get_args(Op))
@pytest.mark.parametrize("relation", get_args(Relation))
def test_every_cell(role: Any, op: Op, relation: Relation) -> None:
    """Said a second time, by other words than the table's."""
    is_about_a_study = op in ("want", "receipt", "order", "retrieve", "share", "release", "receipts", "upload")
    allowed = judge(role, op, relation) is None
    if role == "administrator":
        assert not allowed, "an administrator gets no images"
    if is_about_a_study and relation == "none":
        assert not allowed, "what is not for somebody is for nobody"
    if role == "patient":
        assert not allowed or op in ("sync", "search") or relation == "own"
    if role == "ward":
        assert not allowed or op in ("sync", "want", "receipt", "order"), "a display asks for nothing by itself"
    if op == "release":
        assert allowed == (role == "doctor" and relation == "attending")
    if op == "share":
        assert allowed == (role == "doctor" and relation in ("attending", "referring")), "what was lent is not lent on"
    if op == "upload":
        assert allowed == (role == "doctor" and relation in ("attending", "emergency"))
    if op == "sync":
        assert allowed == (role != "administrator")


@pytest.mark.parametrize("layer", ["report", "original"])
def test_a_ward_has_no_text_and_no_dicom(layer: Any) -> None:
    assert judge("ward", "want", "ward", layer) == "forbidden"
    assert judge("ward", "want", "ward", "display") is None
    assert judge("doctor", "want", "attending", layer) is None


def test_the_table_names_roles_that_there_are() -> None:
    assert set(TABLE) == set(get_args(access.Role))
    assert {f.name for f in Profile.__dataclass_fields__.values()} >= {"attends", "terms"}
