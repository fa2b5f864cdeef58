"""The audit trail: what is in it, and that nobody changes it unseen."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from sqlalchemy.engine import Connection

from gateway import app
from gateway.audit import _CODES, Event, message
from gateway.cli import main
from gateway.management.anchors import Anchors
from gateway.management.index import trail
from gateway.management.index.counting import put
from gateway.management.pruning import NotPrunedError, prune, pruned
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


# ── pruning ───────────────────────────────────────────────────────────────────────────────────────────────────────


def at_of(office: Office, sequence: int) -> int:
    with office.engine.connect() as connection:
        return next(one.at_ms for one in trail.oldest_first(connection) if one.sequence == sequence)


def spread(office: Office) -> None:
    """Entries a day apart, in a chain that fits, as if the days had gone by."""
    with office.engine.begin() as connection:
        before, rows = trail.FIRST_LINK, list(trail.oldest_first(connection))
        for row in rows:
            at_ms = row.at_ms - (len(rows) - row.sequence) * 86_400_000
            before = trail.linked(before, row.sequence, at_ms, row.entry)
            where = trail.entries.c.sequence == row.sequence
            connection.execute(sa.update(trail.entries).where(where).values(at_ms=at_ms, link=before))


@pytest.fixture
def aged(office: Office) -> Anchors:
    found = app.open_anchors(office.state, office.config)
    for number in range(ENTRIES):
        with office.engine.begin() as connection:
            trail.record(connection, Event("search", f"doctor:D-{number}", patient=f"P-{number}"))
    spread(office)
    found.step(office.engine, keep=True)
    return found


def with_files(office: Office, anchors: Anchors, *files: Path) -> list[str]:
    earlier = chain.from_iterable(pruned(path) for path in files)
    with office.engine.connect() as connection:
        return [fault.what for fault in anchors.verify(connection, None, earlier)]


def test_what_is_left_of_a_pruned_trail_is_whole_and_so_is_what_was_moved(
    office: Office, aged: Anchors, tmp_path: Path
) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    assert prune(office.engine, aged, at_of(office, 3), one, "operator:test") == 2
    assert with_files(office, aged) == with_files(office, aged, one) == []
    aged.step(office.engine, keep=True)
    assert prune(office.engine, aged, at_of(office, 5), other, "operator:test") == 2
    assert with_files(office, aged) == with_files(office, aged, other) == with_files(office, aged, one, other) == []
    assert (one.stat().st_mode & 0o777) == 0o600
    with office.engine.connect() as connection:
        kept = list(trail.oldest_first(connection))
    assert kept[0].sequence == 5 and [e.event.get("what") for e in kept[-2:]] == ["pruned to 2", "pruned to 4"]
    with pytest.raises(NotPrunedError, match="no entry is so old"):
        prune(office.engine, aged, at_of(office, 5), tmp_path / "none", "operator:test")

    one.write_text(one.read_text().replace("D-1", "D-9"))
    assert any("was changed" in what for what in with_files(office, aged, one, other))
    with office.engine.begin() as connection:
        trail.remove_until(connection, 5)
    assert any("missing: deleted" in what for what in with_files(office, aged)), "no checkpoint is there"
    with pytest.raises(NotPrunedError, match="not whole"):
        prune(office.engine, aged, 2**50, tmp_path / "all", "operator:test")


def test_an_anchor_is_no_leave_to_remove(office: Office, aged: Anchors) -> None:
    """Whoever has database and folder, and not the key, passes an anchor off as a checkpoint."""
    head = office.state.audit / "head"
    with office.engine.begin() as connection:
        trail.record(connection, Event("search", "doctor:D-1"))
        trail.remove_until(connection, ENTRIES)
    (office.state.audit / "checkpoints.jsonl").write_text(head.read_text() + "\n")
    assert any("missing: deleted" in what for what in with_files(office, aged))


def test_pruning_by_the_command_line(office: Office, aged: Anchors, tmp_path: Path) -> None:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["audit", *arguments, "--state", str(office.state.root)])

    file = tmp_path / "old.jsonl"
    done = run("prune", "--before", "2999-01-01", "--to", str(file), "--yes")
    assert done.exit_code == 0 and f"{ENTRIES - 1} entries moved" in done.stdout, done.output
    assert run("verify").exit_code == run("verify", "--pruned", str(file)).exit_code == 0
    again = run("prune", "--before", "2999-01-01", "--to", str(file), "--yes")
    assert again.exit_code == 1 and "choose a new file" in again.stderr
    assert "from entry" in run("verify").stdout and "from entry" not in run("verify", "--pruned", str(file)).stdout
    empty = office.state.root / "empty.jsonl"
    empty.touch()
    nothing = run("verify", "--pruned", str(empty))
    assert nothing.exit_code == 1 and "it is empty" in nothing.stderr
    wrong = run("verify", "--pruned", str(office.state.root / "gateway.yaml"))
    assert wrong.exit_code == 1 and "holds no pruned entries" in wrong.stderr
