"""What the intake tests share: a running SCP, real senders, and DICOM files made from pydicom's own.

Run as a program it is an intake process: ``python test_intake_support.py ROOT``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from gateway.management.index import arrivals
from gateway.management.index.engine import open_index
from gateway.middleware.arrival import Arrival, StoreOutcome
from gateway.middleware.refusal import Refusal
from gateway.middleware.scp_settings import ScpSettings

DEADLINE_S = 20.0


def need(program: str) -> str:
    """The path of a DCMTK program, or a skip that names it."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} (dcmtk) is not installed")
    return found


def run(program: str, *arguments: str | Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a DCMTK program to its end; Nagle off, or it looks many times slower than it is."""
    return subprocess.run(
        [need(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def storescu(port: int, *files: str | Path, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return run("storescu", "-v", *options, "127.0.0.1", str(port), *files)


class Intake:
    """A storage SCP with an index, in this process; remembers what its callbacks were told."""

    def __init__(self, root: Path, **settings: Any) -> None:
        from gateway.middleware.archive import Archive
        from gateway.middleware.scp import StorageScp

        self.archive = Archive(root)
        self.engine = open_index(root / "index.sqlite")
        self.arrivals: list[tuple[Arrival, StoreOutcome]] = []
        self.refusals: list[Refusal] = []
        self.ends: list[frozenset[str]] = []
        self.changed = threading.Condition()
        self.scp = StorageScp(
            ScpSettings(**{"host": "127.0.0.1", "port": 0, **settings}),
            self.archive,
            self.on_arrival,
            self.on_end,
            self.on_refused,
        )
        self.port = self.scp.start()

    def on_arrival(self, arrival: Arrival) -> StoreOutcome:
        with self.engine.begin() as connection:
            outcome = arrivals.add_arrival(connection, arrival, time.time())
        self._told(self.arrivals, (arrival, outcome))
        return outcome

    def on_refused(self, refusal: Refusal) -> None:
        with self.engine.begin() as connection:
            arrivals.add_quarantine(connection, refusal, time.time())
        self._told(self.refusals, refusal)

    def on_end(self, studies: frozenset[str]) -> None:
        self._told(self.ends, studies)

    def _told(self, where: list[Any], what: Any) -> None:
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
        """Until it holds; looked at whenever a callback was told something, and now and then in between."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not condition():
                assert time.monotonic() < deadline, "it did not come to hold within the deadline"
                self.changed.wait(0.02)

    @property
    def spooled(self) -> list[Path]:
        return sorted((self.archive.root / "spool").iterdir())


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with running(tmp_path / "state") as running_intake:
        yield running_intake


@contextmanager
def running(root: Path, **settings: Any) -> Iterator[Intake]:
    started = Intake(root, **settings)
    try:
        yield started
    finally:
        started.scp.stop()
        started.engine.dispose()


def sample(name: str = "CT_small.dcm") -> Path:
    """One of pydicom's own files."""
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def variant(target: Path, base: str = "CT_small.dcm", **changes: Any) -> Path:
    """A copy of a sample with a new SOPInstanceUID and other attributes."""
    import pydicom
    from pydicom.uid import generate_uid

    data = pydicom.dcmread(sample(base))
    data.SOPInstanceUID = changes.pop("SOPInstanceUID", generate_uid())
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    data.save_as(target)
    return target


def data_set_bytes(path: Path) -> bytes:
    """The bytes behind the file meta group, found by an independent reader."""
    from pynetdicom.dsutils import split_dataset

    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


class RawSender:
    """An association that sends what no toolkit would send: any bytes under any UIDs."""

    def __init__(self, port: int, syntaxes: Sequence[str] = ("1.2.840.10008.1.2.1",), aet: str = "RAW") -> None:
        from pynetdicom import AE

        ae = AE(ae_title=aet)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = DEADLINE_S
        ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2", list(syntaxes))
        self.assoc = ae.associate("127.0.0.1", port)
        self.number = 0

    def store(
        self, data: bytes, instance: str = "1.2.3.4", sop_class: str = "1.2.840.10008.5.1.4.1.1.2"
    ) -> tuple[int, str]:
        """Send one C-STORE; returns status and error comment."""
        from pynetdicom.dimse_primitives import C_STORE

        assert self.assoc.is_established, "the association is gone"
        request = C_STORE()
        self.number += 1
        request.MessageID = self.number
        request.AffectedSOPClassUID = sop_class
        request.AffectedSOPInstanceUID = instance
        request.Priority = 0
        request.DataSet = BytesIO(data)
        self.assoc._reactor_checkpoint.clear()
        while not self.assoc._is_paused:
            time.sleep(0.001)
        self.assoc.dimse.send_msg(request, self.assoc.accepted_contexts[0].context_id)
        _, response = self.assoc.dimse.get_msg(block=True)
        self.assoc._reactor_checkpoint.set()
        assert response is not None, "no answer"
        return int(response.Status), str(response.ErrorComment or "")

    def close(self) -> None:
        if self.assoc.is_established:
            self.assoc.release()


class IntakeProcess:
    """An intake process of its own, with its own index in ROOT/index.sqlite."""

    def __init__(self, root: Path, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(root), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("PORT "), line
        self.port = int(line.split()[1])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def end(self) -> str:
        """SIGTERM; returns what it printed since."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=DEADLINE_S)
        return out


def main() -> None:
    """The program: an intake process as the gateway starts it."""
    from gateway.middleware.intake import import_light, run_intake

    import_light()
    root, port = Path(sys.argv[1]), int(sys.argv[2])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    root.mkdir(parents=True, exist_ok=True)
    engine = open_index(root / "index.sqlite")

    def on_arrival(arrival: Arrival) -> StoreOutcome:
        with engine.begin() as connection:
            return arrivals.add_arrival(connection, arrival, time.time())

    def on_refused(refusal: Refusal) -> None:
        print("REFUSED", refusal.reason.value, refusal.detail, flush=True)
        with engine.begin() as connection:
            arrivals.add_quarantine(connection, refusal, time.time())

    run_intake(
        ScpSettings(host="127.0.0.1", port=port),
        root,
        on_arrival,
        lambda studies: print("END", len(studies), flush=True),
        on_refused,
        lambda real_port: print("PORT", real_port, flush=True),
        stop,
    )


if __name__ == "__main__":
    main()
