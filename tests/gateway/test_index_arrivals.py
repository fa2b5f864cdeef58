"""The arrivals half of the index: one instance once, conflicts apart, changes in order, several processes at once."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from gateway.management.index import arrivals as index
from gateway.management.index.engine import metadata, open_index
from gateway.middleware.arrival import Arrival, StoreOutcome
from gateway.middleware.refusal import Refusal, RefusalReason


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_index(tmp_path / "index.sqlite")
    yield opened
    opened.dispose()


BASE = Arrival(
    StudyInstanceUID="1.2.3",
    SeriesInstanceUID="1.2.3.1",
    SOPInstanceUID="1.2.3.1.1",
    SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
    TransferSyntaxUID="1.2.840.10008.1.2.1",
    PatientID="P1",
    IssuerOfPatientID="",
    PatientName="Hong^Gildong",
    Modality="CT",
    InstanceNumber=1,
    NumberOfFrames=1,
    has_pixels=True,
    digest="a" * 64,
    size_bytes=100,
    path="archive/aa/" + "a" * 64 + ".dcm",
    study_attributes=b'{"00100010":{"vr":"PN"}}',
    series_attributes=b"{}",
    source="ct-1",
    data_digest="d" * 64,
)


def _other(number: int, **changes: object) -> Arrival:
    values = {
        "SOPInstanceUID": f"1.2.3.1.{number}",
        "InstanceNumber": number,
        "digest": f"{number:064x}",
        "data_digest": f"{number + (1 << 80):064x}",
    }
    return dataclasses.replace(BASE, **{**values, **changes})  # type: ignore[arg-type]  # fields of several types


def _add(engine: Engine, arrival: Arrival, at: float = 100.0) -> StoreOutcome:
    with engine.begin() as connection:
        return index.add_arrival(connection, arrival, at)


def _revision(engine: Engine) -> int:
    with engine.connect() as connection:
        return max(row.revision for row in index.changed_studies(connection, 0, 1000))


def test_an_arrival_makes_study_series_and_instance(engine: Engine) -> None:
    assert _add(engine, BASE, 100.0) is StoreOutcome.NEW
    with engine.connect() as connection:
        study = index.study(connection, "1.2.3")
        assert study is not None
        assert (study.PatientID, study.PatientName, study.settled) == ("P1", "Hong^Gildong", False)
        assert (study.first_arrival_at, study.last_arrival_at, study.NumberOfStudyRelatedInstances) == (100.0, 100.0, 1)
        assert study.attributes == BASE.study_attributes
        assert index.study_by_id(connection, study.id) == study
        (series,) = index.series_of(connection, study.id)
        assert (series.SeriesInstanceUID, series.Modality) == ("1.2.3.1", "CT")
        (instance,) = index.instances_of(connection, study.id)
        assert index.instance(connection, "1.2.3.1.1") == instance
    for field in ("SOPClassUID", "TransferSyntaxUID", "InstanceNumber", "digest", "size_bytes", "path", "source"):
        assert getattr(instance, field) == getattr(BASE, field)
    assert instance.state == index.InstanceState.RECEIVED
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.settled = True  # type: ignore[misc]  # that it cannot be is the point


def test_the_same_instance_twice_is_one(engine: Engine) -> None:
    _add(engine, BASE)
    before = _revision(engine)
    assert _add(engine, BASE) is StoreOutcome.SAME
    assert _add(engine, dataclasses.replace(BASE, digest="b" * 64)) is StoreOutcome.TWIN
    assert _revision(engine) == before
    with engine.connect() as connection:
        (study,) = index.studies(connection)
        assert study.NumberOfStudyRelatedInstances == 1
        assert [row.digest for row in index.instances_of(connection, study.id)] == [BASE.digest]


@pytest.mark.parametrize("data_digest", ["e" * 64, ""])
def test_other_bytes_under_one_uid_are_kept_apart(engine: Engine, data_digest: str) -> None:
    _add(engine, BASE)
    changed = dataclasses.replace(BASE, digest="c" * 64, data_digest=data_digest)
    assert [_add(engine, changed) for _ in range(2)] == [StoreOutcome.CONFLICT] * 2
    with engine.connect() as connection:
        (conflict,) = index.list_conflicts(connection)
        assert (conflict.kind, conflict.digest, conflict.SOPInstanceUID) == ("bytes", "c" * 64, BASE.SOPInstanceUID)
        stayed = index.instance(connection, BASE.SOPInstanceUID)
        assert stayed is not None
        assert stayed.digest == BASE.digest
        assert index.is_referenced(connection, "c" * 64)
        assert index.is_referenced(connection, BASE.digest)
        assert not index.is_referenced(connection, "f" * 64)


@pytest.mark.parametrize("change", [{"PatientID": "P2"}, {"PatientID": "p1"}, {"IssuerOfPatientID": "X"}])
def test_another_identity_under_one_study_is_a_conflict(engine: Engine, change: dict[str, str]) -> None:
    _add(engine, BASE)
    before = _revision(engine)
    assert _add(engine, _other(2, **change)) is StoreOutcome.CONFLICT
    assert _revision(engine) == before
    with engine.connect() as connection:
        assert [row.kind for row in index.list_conflicts(connection)] == ["patient"]
        assert len(index.instances_of(connection, 1)) == 1
    # The right one may still come.
    assert _add(engine, _other(2, digest="9" * 64)) is StoreOutcome.NEW


def test_one_series_uid_in_two_studies(engine: Engine) -> None:
    _add(engine, BASE)
    assert _add(engine, _other(2, StudyInstanceUID="1.2.4")) is StoreOutcome.NEW
    with engine.connect() as connection:
        assert [len(index.series_of(connection, study.id)) for study in index.studies(connection)] == [1, 1]


def test_settling_and_growing_again(engine: Engine) -> None:
    _add(engine, BASE, 100.0)
    _add(engine, _other(2, StudyInstanceUID="1.2.4"), 105.0)
    with engine.begin() as connection:
        assert index.settle_quiet(connection, 5.0, 104.9) == []
        assert index.settle_quiet(connection, 5.0, 106.0) == [1]
        assert index.settle_quiet(connection, 5.0, 106.0) == []
        assert index.mark_settled(connection, {"1.2.4", "1.2.3", "9.9"}, 104.0) == []  # 1.2.4 came after that
        assert index.mark_settled(connection, {"1.2.4", "1.2.3", "9.9"}, 106.0) == [2]
    _add(engine, _other(3), 200.0)
    with engine.connect() as connection:
        grown = index.study(connection, "1.2.3")
        assert grown is not None
        assert (grown.settled, grown.last_arrival_at, grown.first_arrival_at) == (False, 200.0, 100.0)
        settled = index.study(connection, "1.2.4")
        assert settled is not None
        assert settled.settled


def test_changes_come_in_order_and_once(engine: Engine) -> None:
    for number in range(1, 6):
        _add(engine, _other(number, StudyInstanceUID=f"1.2.{number}", SOPInstanceUID=f"1.2.{number}.1"))
    with engine.connect() as connection:
        first = index.changed_studies(connection, 0, 3)
        rest = index.changed_studies(connection, first[-1].revision, 100)
    assert [row.StudyInstanceUID for row in first + rest] == [f"1.2.{number}" for number in range(1, 6)]
    revisions = [row.revision for row in first + rest]
    assert revisions == sorted(set(revisions))
    seen = revisions[-1]
    with engine.begin() as connection:
        index.mark_settled(connection, {"1.2.2"}, 1000.0)
        index.set_instance_state(connection, [4], index.InstanceState.FAILED, "no decoder")
    with engine.connect() as connection:
        assert [row.StudyInstanceUID for row in index.changed_studies(connection, seen, 9)] == ["1.2.2", "1.2.4"]


def test_states_of_instances(engine: Engine) -> None:
    for number in (3, 1, 2):
        _add(engine, _other(number))
    _add(engine, _other(4, InstanceNumber=None))
    with engine.begin() as connection:
        rows = index.instances_of(connection, 1)
        assert [row.InstanceNumber for row in rows] == [1, 2, 3, None]
        assert index.set_instance_state(connection, [rows[0].id, 999], "rendered") == 1
        assert index.set_instance_state(connection, [rows[1].id], "failed", "x" * 999) == 1
        with pytest.raises(ValueError, match="broken"):
            index.set_instance_state(connection, [rows[2].id], "broken")
    with engine.connect() as connection:
        assert [row.InstanceNumber for row in index.instances_of(connection, 1, "received")] == [3, None]
        assert len(index.instances_of(connection, 1, "failed")[0].reason) == 256


def test_many_instances_change_state_at_once(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(1, 1202):
            index.add_arrival(connection, _other(number), 1.0)
        ids = [row.id for row in index.instances_of(connection, 1)]
        assert index.set_instance_state(connection, ids, "rendered") == 1201


def test_an_evicted_instance_comes_back(engine: Engine) -> None:
    _add(engine, BASE)
    with engine.begin() as connection:
        index.set_instance_state(connection, [1], "evicted")
        assert not index.is_referenced(connection, BASE.digest)
    again = dataclasses.replace(BASE, digest="b" * 64, path="archive/bb/" + "b" * 64 + ".dcm", source="import")
    assert _add(engine, again) is StoreOutcome.NEW
    with engine.connect() as connection:
        (row,) = index.instances_of(connection, 1)
        assert (row.state, row.digest, row.path, row.source) == ("received", again.digest, again.path, "import")
        assert index.studies(connection)[0].NumberOfStudyRelatedInstances == 1


def test_quarantine(engine: Engine) -> None:
    refusal = Refusal(RefusalReason.TRUNCATED, "a" * 64, "quarantine/aa/x.dcm", "cut", 10, "ct-1")
    with engine.begin() as connection:
        index.add_quarantine(connection, refusal, 1.0)
        index.add_quarantine(connection, refusal, 2.0)
        index.add_quarantine(connection, dataclasses.replace(refusal, digest="b" * 64), 3.0)
        index.add_quarantine(connection, Refusal(RefusalReason.OUT_OF_RESOURCES, "", "", "no room"), 4.0)
    with engine.begin() as connection:
        rows = index.list_quarantine(connection)
        assert [(row.digest[0], row.times, row.refused_at) for row in rows] == [("b", 1, 3.0), ("a", 2, 2.0)]
        assert index.get_quarantine(connection, "a" * 64) == rows[1]
        assert index.drop_quarantine(connection, "a" * 64)
        assert not index.drop_quarantine(connection, "a" * 64)
        assert index.get_quarantine(connection, "a" * 64) is None


def test_what_a_failed_transaction_did_is_undone(engine: Engine) -> None:
    with pytest.raises(RuntimeError), engine.begin() as connection:  # the failure comes after the write
        index.add_arrival(connection, BASE, 1.0)
        raise RuntimeError
    with engine.connect() as connection:
        assert index.studies(connection) == []
    assert _add(engine, BASE) is StoreOutcome.NEW


def test_the_database_keeps_what_it_confirmed(engine: Engine) -> None:
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15000}


def test_an_error_does_not_quote_a_patient(engine: Engine) -> None:
    _add(engine, BASE)
    with pytest.raises(sa.exc.IntegrityError) as caught, engine.begin() as connection:
        row = index.study(connection, "1.2.3")
        assert row is not None
        values = {**dataclasses.asdict(row), "PatientName": "SECRET", "id": 77}
        connection.execute(sa.insert(metadata.tables["studies"]).values(**values))
    assert "SECRET" not in str(caught.value)
    assert "1.2.3" not in str(caught.value)


def test_writers_of_several_threads_wait_for_each_other(engine: Engine) -> None:
    outcomes: list[StoreOutcome] = []

    def write(start: int) -> None:
        for number in range(start, start + 25):
            outcomes.append(_add(engine, _other(number)))  # noqa: PERF401  # each is a transaction of its own

    threads = [threading.Thread(target=write, args=(1 + 25 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [StoreOutcome.NEW] * 100
    with engine.connect() as connection:
        (study,) = index.studies(connection)
    assert (study.NumberOfStudyRelatedInstances, study.revision) == (100, 100)


def test_a_reader_does_not_block_a_writer(engine: Engine) -> None:
    _add(engine, BASE)
    with engine.connect() as reader:
        assert len(index.instances_of(reader, 1)) == 1
        assert _add(engine, _other(2)) is StoreOutcome.NEW
        assert len(index.instances_of(reader, 1)) == 1  # its snapshot


WRITER = """
import sys
from gateway.management.index.engine import open_index
from gateway.management.index import arrivals
import sqlalchemy as sa
engine = open_index(sys.argv[1])
with engine.begin() as connection:
    connection.execute(sa.text("insert into counters values (:n, 1)"), {"n": sys.argv[2]})
"""


def test_processes_that_start_together_make_the_tables_once(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"p{n}"], stderr=subprocess.PIPE, text=True)
        for n in range(5)
    ]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with sqlite3.connect(path) as raw:
        assert raw.execute("select count(*) from counters").fetchone() == (5,)


def test_the_schema_is_portable() -> None:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
