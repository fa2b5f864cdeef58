"""What goes when a store is full, what never goes, and that nothing is lost where a file goes and comes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.management.evictor import Evictor
from gateway.management.index import arrivals, arrivals_quarantine, arrivals_read, deliveries, uses
from gateway.management.index.arrivals_rows import InstanceRow
from gateway.management.index.counting import ARCHIVE_BYTES, get
from gateway.management.index.deliveries import FrameSpan, SealedObject
from gateway.management.object_store import ObjectStore
from gateway.management.quota import Limits
from gateway.middleware.archive import Archive
from gateway.middleware.arrival import Arrival, StoreOutcome
from tests.support.gateway_office import Office

DAY_S = 86400.0
FILE_BYTES = 1000
NO_LIMIT = 1 << 60


class Stores:
    """An office with an archive and an object store; files of a thousand bytes."""

    def __init__(self, folder: Path, **limits: int) -> None:
        self.office = Office(folder / "state", window_days=7)
        self.archive = Archive(folder / "archive")
        self.store = ObjectStore(folder / "objects", "office")
        chosen = {"archive": NO_LIMIT, "objects": NO_LIMIT, "reserve": 0, **limits}
        self.evictor = Evictor(self.office.engine, self.archive, self.store, Limits(**chosen), 7, ["display"])
        self.went = 0
        self.evictor.on_evicted = self._count
        self._number = 0

    def _count(self) -> None:
        self.went += 1

    def file(self, study: str, at: float, number: int, state: str = "rendered", settled: bool = True) -> Arrival:
        """An instance of a study whose file is in the archive."""
        arrival = self.keep(study, number)
        with self.archive.holding(arrival.digest), self.office.engine.begin() as connection:
            arrivals.add_arrival(connection, arrival, at)
            if settled:
                arrivals.mark_settled(connection, [study], at)
            row = arrivals_read.instance(connection, arrival.SOPInstanceUID)
            assert row is not None
            arrivals_quarantine.set_instance_state(connection, [row.id], state)
        return arrival

    def keep(self, study: str, number: int) -> Arrival:
        """The file in the archive, without the index knowing of it."""
        spool = self.archive.spool()
        data = f"{study} {number}".encode().ljust(FILE_BYTES, b".")
        spool.write_meta(data[:100], "1.2.840.10008.1.2.1")
        spool.write(data[100:])
        kept = self.archive.keep(spool)
        return Arrival(
            StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.1.{number}",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2", TransferSyntaxUID="1.2.840.10008.1.2.1", PatientID="P-1",
            IssuerOfPatientID="", PatientName="Nobody^A", Modality="CT", InstanceNumber=number, NumberOfFrames=1,
            has_pixels=True, digest=kept.digest, data_digest=kept.data_digest, size_bytes=kept.size_bytes,
            path=kept.path, source="TEST", study_attributes=b"{}", series_attributes=b"{}",
        )  # fmt: skip

    def study(self, number: int, age_days: float, files: int = 3, **how: Any) -> list[Arrival]:
        return [self.file(f"1.2.{number}", time.time() - age_days * DAY_S, n + 1, **how) for n in range(files)]

    def object(self, study: int, layer: Any = "display", size: int = 10_000, row: InstanceRow | None = None) -> str:
        """A sealed object of a study, with its file."""
        written = self.store.write(layer, b"h" * size, [])
        with self.office.engine.begin() as connection:
            found = arrivals_read.study(connection, f"1.2.{study}")
            assert found is not None
            sealed = SealedObject(
                object=written.object, study_id=found.id, layer=layer, series_ids=(1,), batch=1, frames=1,
                key=written.key, size=written.size, manifest=written.manifest,
            )  # fmt: skip
            deliveries.add_object(connection, sealed, [FrameSpan(row.id, 0, 1)] if row else [])
        return written.object

    def row(self, arrival: Arrival) -> InstanceRow:
        with self.office.engine.connect() as connection:
            found = arrivals_read.instance(connection, arrival.SOPInstanceUID)
        assert found is not None
        return found

    def is_kept(self, arrival: Arrival) -> bool:
        """Whether file and index agree that it is there, or that it is gone."""
        is_there = self.archive.path(arrival.digest).exists()
        assert is_there == (self.row(arrival).state != "evicted")
        return is_there

    def has(self, object_id: str) -> bool:
        is_there = any(self.store._root.glob(f"*/{object_id}.sealed"))
        with self.office.engine.connect() as connection:
            assert uses.is_evicted(connection, object_id) != is_there
        return is_there

    def counted(self) -> int:
        """The archive's sum, which must be what a count gives."""
        with self.office.engine.begin() as connection:
            kept = get(connection, ARCHIVE_BYTES)
            assert uses.count_archive(connection) == kept
        assert kept == self.archive.used_bytes()
        return kept


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


# ── the archive ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_longest_unused_study_outside_the_window_goes_first(folder: Path) -> None:
    stores = Stores(folder, archive=7 * FILE_BYTES)
    middle, oldest, used, young = (stores.study(n, age) for n, age in enumerate((20.0, 30.0, 40.0, 1.0), 1))
    with stores.office.engine.begin() as connection:
        uses.note_study(connection, stores.row(used[0]).study_id, time.time() - 10 * DAY_S)
    assert stores.counted() == 12 * FILE_BYTES
    stores.evictor.step()
    assert not any(stores.is_kept(one) for one in oldest + middle)
    assert all(stores.is_kept(one) for one in used + young)
    assert stores.counted() == 6 * FILE_BYTES
    state = stores.evictor.status()["archive"]
    assert state == {"used": 6 * FILE_BYTES, "quota": 7 * FILE_BYTES, "squeezed": False, "over": False}


def test_the_window_is_squeezed_last_and_that_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    stores = Stores(folder, archive=4 * FILE_BYTES)
    old, young, younger = stores.study(1, 20), stores.study(2, 2), stores.study(3, 1)
    stores.evictor.step()
    assert not any(map(stores.is_kept, old + young)) and all(map(stores.is_kept, younger))
    assert stores.evictor.status()["archive"]["squeezed"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "window" in caplog.text
    stores.evictor.step()
    assert len(caplog.records) == 1


def test_what_is_still_needed_never_goes(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    stores = Stores(folder, archive=FILE_BYTES)
    growing = stores.study(1, 30, settled=False)
    unrendered = stores.study(2, 30, state="received")
    ordered = stores.study(3, 30)
    with stores.office.engine.begin() as connection:
        from gateway.management.index import ordered as orders

        row = stores.row(ordered[0])
        orders.put(connection, row.study_id, [row.series_id], "original", time.time())
    failed = stores.study(4, 30, state="failed")
    stores.evictor.step()
    assert all(map(stores.is_kept, growing + unrendered + ordered)) and not any(map(stores.is_kept, failed))
    assert stores.evictor.status()["archive"]["over"] and "nothing can be evicted" in caplog.text


def test_an_evicted_file_comes_again(folder: Path) -> None:
    stores = Stores(folder, archive=1)
    (arrival,) = stores.study(1, 30, files=1)
    stores.object(1, row=stores.row(arrival))
    stores.evictor.step()
    assert not stores.is_kept(arrival)
    again = stores.keep("1.2.1", 1)
    with stores.office.engine.begin() as connection:
        assert arrivals.add_arrival(connection, again, time.time()) == StoreOutcome.NEW
        # Its picture stands still, so there is nothing to be made.
        assert deliveries.begun(connection, stores.row(arrival).study_id, "display") == {stores.row(arrival).id}
    assert stores.is_kept(arrival) and stores.counted() == FILE_BYTES


def test_a_file_that_arrives_while_it_is_evicted_is_not_lost(folder: Path) -> None:
    """The other process places the file, finds the same bytes there, and has not entered it yet."""
    stores = Stores(folder, archive=1)
    (arrival,) = stores.study(1, 30, files=1)
    other = Archive(folder / "archive")
    entered = threading.Event()
    thread = threading.Thread(target=lambda: (stores.evictor.step(), entered.set()))
    with other.holding(arrival.digest):
        thread.start()
        spool = other.spool()
        data = b"1.2.1 1".ljust(FILE_BYTES, b".")
        spool.write_meta(data[:100], "1.2.840.10008.1.2.1")
        spool.write(data[100:])
        assert not other.keep(spool).fresh
        assert not entered.wait(0.2), "the eviction waits for whoever holds the file"
        with stores.office.engine.begin() as connection:
            assert arrivals.add_arrival(connection, arrival, time.time()) == StoreOutcome.SAME
    thread.join(20)
    assert entered.is_set()
    stores.is_kept(arrival)  # file and index agree, whoever came first


def test_strays_of_a_cut_are_swept_and_what_is_being_entered_is_not(folder: Path) -> None:
    stores = Stores(folder)
    known = stores.study(1, 1)
    stray, entering = stores.keep("1.2.2", 1), stores.keep("1.2.3", 1)
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(stores.evictor.sweep()))
    with stores.archive.holding(entering.digest):
        thread.start()
        with stores.office.engine.begin() as connection:
            arrivals.add_arrival(connection, entering, time.time())
    thread.join(20)
    assert done == [1] and not stores.archive.path(stray.digest).exists()
    assert all(map(stores.is_kept, [*known, entering]))


# ── objects ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_on_request_first_then_outside_the_window_then_the_rest(folder: Path) -> None:
    stores = Stores(folder)
    stores.study(1, 30), stores.study(2, 20), stores.study(3, 1)
    young, original = stores.object(3), stores.object(3, "original")
    older, old = stores.object(1), stores.object(2)
    order = [original, older, old, young]
    assert stores.store.used_bytes == sum(path.stat().st_size for path in (folder / "objects").glob("*/*"))
    for count in range(1, 5):
        # A quota that one object more does not fit in.
        stores.evictor.limits = Limits(NO_LIMIT, (4 - count) * 11_000, 0)
        stores.evictor.step()
        assert [stores.has(one) for one in order] == [False] * count + [True] * (4 - count)
        assert stores.evictor.status()["objects"]["squeezed"] == (count == 4)
    assert stores.store.used_bytes == 0 and stores.went == 4


def test_what_is_served_or_was_just_asked_for_stays(folder: Path) -> None:
    stores = Stores(folder, objects=1)
    stores.study(1, 30), stores.study(2, 30)
    served, resting = stores.object(1), stores.object(2)
    stores.evictor.served(served)
    stores.evictor.step()
    assert stores.has(served) and not stores.has(resting)
    assert stores.evictor.status()["objects"]["over"]


def test_a_use_counts_after_a_restart(folder: Path) -> None:
    stores = Stores(folder)
    stores.study(1, 30), stores.study(2, 20)
    used, other = stores.object(1), stores.object(2)
    stores.evictor.served(used)
    stores.evictor.note()
    again = Evictor(stores.office.engine, stores.archive, stores.store, Limits(NO_LIMIT, 15_000, 0), 7, ["display"])
    again.step()
    assert stores.has(used) and not stores.has(other)


def test_a_reserve_of_the_disk_does_not_cost_what_is_announced(folder: Path) -> None:
    stores = Stores(folder, reserve=NO_LIMIT)
    old, young = stores.study(1, 30), stores.study(2, 1)
    of_old, of_young = stores.object(1), stores.object(2)
    stores.evictor.step()
    assert not any(map(stores.is_kept, old)) and all(map(stores.is_kept, young))
    assert not stores.has(of_old) and stores.has(of_young)


def test_rows_of_objects_that_are_no_more_are_swept(folder: Path) -> None:
    stores = Stores(folder, objects=1)
    stores.study(1, 30)
    gone = stores.object(1)
    stores.evictor.step()
    with stores.office.engine.begin() as connection:
        deliveries.lose_objects(connection, [gone])
    stores.evictor.note()
    with stores.office.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(uses.object_uses)).scalar() == 0


def test_quotas_follow_a_disk_that_grows(tmp_path: Path) -> None:
    stores = Stores(tmp_path, archive=1, objects=NO_LIMIT, reserve=0)
    stores.evictor.measure = lambda: Limits(NO_LIMIT, NO_LIMIT, 0)
    stores.evictor.step()
    assert stores.evictor.limits.archive == NO_LIMIT
