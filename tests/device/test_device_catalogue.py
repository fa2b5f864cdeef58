"""The catalogue survives being killed in mid-write."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from device_client.store.catalogue import Catalogue, ReceiptRecord, StudyRecord

WRITER = """
import sys
from pathlib import Path
from device_client.store.catalogue import Catalogue, StudyRecord
catalogue = Catalogue(Path(sys.argv[1]))
start = max((one.sequence for one in catalogue.studies.values()), default=0)
studies = [f"{n:026d}" for n in range(300)]
for sequence in range(start + 1, 1_000_000):
    catalogue.put_studies([StudyRecord("ward", "r" * 26, study, sequence, "announced") for study in studies[:3]]
                          + [StudyRecord("ward", "r" * 26, studies[sequence % 300], sequence, "complete")])
    catalogue.flush()
    print(sequence, flush=True)
"""


def test_killed_in_mid_write_it_is_whole_every_time(tmp_path):
    """A writer is killed again and again at arbitrary moments; what it said to have written is there."""
    path = tmp_path / "catalogue.json"
    highest = 0
    for round_number in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(1 + round_number % 4):
            line = writer.stdout.readline()
            assert line, writer.stderr and writer.stderr.read()
            highest = int(line)
        os.kill(writer.pid, signal.SIGKILL)
        said, _ = writer.communicate()
        highest = max([highest, *(int(one) for one in said.split())])
        json.loads(path.read_bytes())
        found = Catalogue(path)
        assert max(one.sequence for one in found.studies.values()) >= highest
        assert not list(tmp_path.glob("*.damaged"))


def test_records_come_back(tmp_path):
    path = tmp_path / "catalogue.json"
    catalogue = Catalogue(path)
    study = StudyRecord("doctor", "r", "s", 4, "complete")
    receipt = ReceiptRecord("doctor", "r", "s", 4, "display", "received", 1, "queued")
    catalogue.put_studies([StudyRecord("doctor", "r", "s", 3, "announced"), study])
    catalogue.put_receipts([receipt])
    catalogue.flush()
    again = Catalogue(path)
    assert again.studies == {("r", "s"): study}
    assert again.receipts == {("r", "s", "display", "received"): receipt}
    again.forget([("r", "s"), ("r", "unknown")])
    again.flush()
    assert Catalogue(path).studies == {} and Catalogue(path).receipts == {}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"studies": {"1": {"kind": "nurse"}}}', b"\xff\xfe"])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage):
    path = tmp_path / "catalogue.json"
    path.write_bytes(damage)
    catalogue = Catalogue(path)
    assert catalogue.studies == {}
    catalogue.put_studies([StudyRecord("ward", "r", "s", 1, "announced")])
    catalogue.flush()
    assert len(Catalogue(path).studies) == 1
    assert (tmp_path / "catalogue.json.damaged").read_bytes() == damage


def test_a_batch_is_one_write(tmp_path, monkeypatch):
    from device_client.store import files

    writes = []
    original = files.write_atomic
    monkeypatch.setattr(files, "write_atomic", lambda path, data: (writes.append(path), original(path, data)))
    catalogue = Catalogue(tmp_path / "catalogue.json")
    catalogue.put_studies([StudyRecord("ward", "r", f"s{n}", 1, "announced") for n in range(50)])
    catalogue.flush()
    catalogue.flush()
    assert len(writes) == 1
