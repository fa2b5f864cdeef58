"""Settings of wards hold for what was announced before, too."""

from pathlib import Path

from gateway.config import Wards
from gateway.management.announcer import Announcer
from tests.support.gateway_office import Office
from wire import objects


def _under(office: Office, wards: Wards) -> Announcer:
    config = office.config
    return Announcer(office.engine, office.vault, "office", config.delivery, office.census, wards=wards)


def test_what_was_told_under_other_settings_is_told_anew_once(tmp_path: Path) -> None:
    with Office(tmp_path / "state") as office:
        ward, doctor = office.profile("ward", "W", attends=("P-1",)), office.profile("doctor", "D", attends=("*",))
        theirs, _ = office.arrive(study="1.2.1", series="1.2.1.1")
        other, _ = office.arrive(study="1.2.2", series="1.2.2.1", patient="P-2")
        before = _under(office, Wards())
        for study in (theirs, other):
            before.refresh(study)
        before.all_told()
        assert _under(office, Wards()).told_otherwise() == []

        now = _under(office, Wards(names="none", blank_after_s=600))
        assert now.told_otherwise() == [theirs], "what no ward knows of is not looked at"
        changes = now.refresh(theirs)
        assert list(changes.heads) == [ward.reference] and doctor.reference not in changes.heads
        (sent,) = changes.outgoing
        told = objects.inflate_json(office.open_announcement(ward, sent.topic, sent.payload).attributes)["study"]
        assert told["00911003"]["Value"] == [600] and "00100010" not in told
        assert now.told_otherwise() == [theirs], "a process that ends before it is done begins again"
        now.all_told()
        assert now.told_otherwise() == [] and not now.refresh(theirs).outgoing
        assert before.told_otherwise() == [theirs]
