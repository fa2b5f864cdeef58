"""The audit trail: what is in it, and that nobody changes it unseen."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway import app
from gateway.audit import _CODES, Event, message
from gateway.management.anchors import Anchors
from gateway.management.index import trail
from gateway.management.index.counting import put
from gateway.management.starts import note_start
from tests.support.gateway_office import Office

ENTRIES = 12


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "state") as made:
        yield made


@pytest.fixture
def anchors(office: Office) -> Anchors:
    """Of a trail with some entries, anchored in its middle and at its end."""
    found = app.open_anchors(office.state, office.config)
    for number in range(ENTRIES):
        with office.engine.begin() as connection:
            trail.record(connection, Event("search", f"doctor:D-{number}", patient=f"P-{number}"))
        if number in (ENTRIES // 2, ENTRIES - 1):
            found.step(office.engine, keep=True)
    return found


def faults(office: Office, anchors: Anchors, against: Path | None = None) -> list[str]:
    with office.engine.connect() as connection:
        return [f"{fault.sequence}: {fault.what}" for fault in anchors.verify(connection, against)]


def rewritten(connection: Connection, change: Callable[[int, str], str | None]) -> None:
    """The whole chain made anew, each link right, as whoever has the database can."""
    rows = list(trail.oldest_first(connection))
    connection.execute(sa.delete(trail.entries))
    before, sequence = trail.FIRST_LINK, 0
    for row in rows:
        entry = change(row.sequence, row.entry)
        if entry is None:
            continue
        sequence += 1
        before = trail.linked(before, sequence, row.at_ms, entry)
        values = {"sequence": sequence, "at_ms": row.at_ms, "entry": entry, "link": before}
        connection.execute(sa.insert(trail.entries).values(**values))
    put(connection, "audit", sequence)


def test_a_trail_that_nobody_changed_is_whole(office: Office, anchors: Anchors) -> None:
    assert faults(office, anchors) == []
    with office.engine.begin() as connection:
        trail.record(connection, Event("search", "doctor:D-1"))
    assert faults(office, anchors) == [], "what came since the last anchor is no fault"


def test_a_deleted_line_is_shown(office: Office, anchors: Anchors) -> None:
    with office.engine.begin() as connection:
        connection.execute(sa.delete(trail.entries).where(trail.entries.c.sequence == 4))
    found = faults(office, anchors)
    assert found[0].startswith("4: ") and "deleted" in found[0]


@pytest.mark.parametrize("column", ["entry", "at_ms", "link"])
def test_a_changed_line_is_shown(office: Office, anchors: Anchors, column: str) -> None:
    value = {"entry": '{"event":"search","who":"doctor:D-9"}', "at_ms": 1, "link": bytes(32)}[column]
    with office.engine.begin() as connection:
        connection.execute(sa.update(trail.entries).where(trail.entries.c.sequence == 4).values({column: value}))
    assert any(one.startswith("4: ") and "changed" in one for one in faults(office, anchors))


@pytest.mark.parametrize("entry", ["", "{", "[]", '{"who":1}', "\x00"])
def test_a_spoilt_line_does_not_hide_the_others(office: Office, anchors: Anchors, entry: str) -> None:
    with office.engine.begin() as connection:
        connection.execute(sa.update(trail.entries).where(trail.entries.c.sequence == 4).values(entry=entry))
    with office.engine.connect() as connection:
        read = [one.event["event"] for one in trail.oldest_first(connection)]
        assert [message(one.event, one.at_ms, "site") for one in trail.latest_first(connection)]
    assert read == ["search"] * 3 + ["spoilt"] + ["search"] * (ENTRIES - 4)


@pytest.mark.parametrize("also_the_counter", [False, True])
def test_a_cut_tail_is_shown(office: Office, anchors: Anchors, also_the_counter: bool) -> None:
    with office.engine.begin() as connection:
        connection.execute(sa.delete(trail.entries).where(trail.entries.c.sequence > ENTRIES - 2))
        if also_the_counter:
            put(connection, "audit", ENTRIES - 2)
    assert any("tail was cut" in one for one in faults(office, anchors))
    anchors.step(office.engine, keep=True)
    assert any("tail was cut" in one for one in faults(office, anchors)), "anchoring again does not heal it"


@pytest.mark.parametrize(
    "change",
    [
        lambda sequence, entry: entry.replace("D-3", "D-4"),
        lambda sequence, entry: None if sequence == 4 else entry,
        lambda sequence, entry: '{"event":"search","who":"nobody"}',
    ],
    ids=["one changed", "one left out", "all"],
)
def test_a_chain_written_anew_is_shown(office: Office, anchors: Anchors, change: Any) -> None:
    with office.engine.begin() as connection:
        rewritten(connection, change)
    assert any("written anew" in one or "tail was cut" in one for one in faults(office, anchors))


def test_whoever_has_the_folder_but_not_the_key_is_shown(office: Office, anchors: Anchors, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((office.state.audit / "anchors.jsonl").read_bytes())
    with office.engine.begin() as connection:
        rewritten(connection, lambda sequence, entry: entry.replace("D-3", "D-4"))
    (office.state.audit / "anchors.jsonl").unlink()
    (office.state.audit / "head").unlink()
    assert any("no anchor" in one for one in faults(office, anchors))
    other = Anchors(tmp_path / "other", tmp_path / "other.key", "office")
    other.step(office.engine, keep=True)
    (office.state.audit / "head").write_bytes((tmp_path / "other" / "head").read_bytes())
    assert any("not signed by this gateway" in one for one in faults(office, anchors))
    # With the key, too: only a copy that lies elsewhere convicts him.
    (office.state.audit / "head").unlink()
    anchors.step(office.engine, keep=True)
    assert faults(office, anchors) == []
    assert any("written anew" in one or "differ" in one for one in faults(office, anchors, copy))


def test_an_act_that_failed_leaves_no_entry(office: Office) -> None:
    with pytest.raises(RuntimeError), office.engine.begin() as connection:
        trail.record(connection, Event("search", "doctor:D-1"))
        raise RuntimeError
    with office.engine.connect() as connection:
        assert trail.standing(connection).sequence == 0


@pytest.mark.parametrize("kind", sorted(_CODES))
def test_every_event_is_a_message_of_the_standard(kind: Any) -> None:
    """Codes and meanings as pydicom knows them; the elements that PS3.15 table A.5.2-1 requires."""
    from pydicom.sr._concepts_dict import concepts

    event = Event(
        kind, "doctor:D\x00-1", whom="김^민수", patient="<P>&", study="1.2.3", what="display", reason="why\x01"
    )
    root = ElementTree.fromstring(message(event.plain(), 1_700_000_000_123, "site"))
    assert root.tag == "AuditMessage"
    identification = root.find("EventIdentification")
    assert identification is not None
    assert identification.get("EventDateTime") == "2023-11-14T22:13:20.123+00:00"
    known = {code: meaning for found in concepts["DCM"].values() for code, (meaning, _) in found.items()}
    for code in [*identification.findall("EventID"), *identification.findall("EventTypeCode")]:
        assert known[code.attrib["csd-code"]] == code.attrib["originalText"]
    users = [user.attrib["UserID"] for user in root.findall("ActiveParticipant")]
    assert users == ["doctor:D\N{REPLACEMENT CHARACTER}-1", "김^민수"]
    assert [one.attrib["ParticipantObjectID"] for one in root.findall("ParticipantObjectIdentification")] == [
        "1.2.3",
        "<P>&",
    ]


def test_a_configuration_that_changed_is_an_entry_of_its_own(office: Office) -> None:
    for configuration in (b"one", b"one", b"two", b"two"):
        note_start(office.engine, configuration, office.vault.signer)
    with office.engine.connect() as connection:
        kinds = [entry.event["event"] for entry in trail.oldest_first(connection)]
    start, change = "application-started", "configuration-changed"
    assert kinds == [start, start, start, change, start]


def test_whoever_begins_to_sign_makes_anew_what_another_key_signed(office: Office) -> None:
    office.profile("ward", "W", attends=("*",))
    study, _ = office.arrive()
    office.announcer.refresh(study)
    note_start(office.engine, b"", office.vault.signer)
    office.announcer.refresh(study)
    assert office.announcer.outdated() == []
    note_start(office.engine, b"", office.vault.signer)
    assert office.announcer.outdated() == [], "the same key"
    note_start(office.engine, b"", bytes(8))
    assert office.announcer.outdated() == [study]
    assert len(office.announcer.refresh(study).outgoing) == 1
