"""The intake process: light, killed at any moment, out of room, and given objects larger than its memory."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pydicom
import pytest
from pydicom.uid import generate_uid
from test_intake_support import DEADLINE_S, IntakeProcess, data_set_bytes, need, run, running, sample, storescu, variant

from gateway.management.index import arrivals
from gateway.management.index.engine import open_index
from gateway.middleware.archive import Archive

ROOT = Path(__file__).parents[2]

LOADED = """
import sys
import gateway.middleware.intake as intake
assert not {"pydicom", "pynetdicom"} & set(sys.modules), "importing the module is cheap"
import gateway.middleware.scp_settings, gateway.middleware.arrival, gateway.middleware.refusal
assert "pydicom" not in sys.modules
intake.import_light()
import gateway.management.index.arrivals
print(sorted(name for name in sys.modules if "." not in name))
"""


def test_intake_loads_no_imaging_library() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(re.findall(r"'(\w+)'", done.stdout))
    assert {"pydicom", "pynetdicom", "sqlalchemy"} <= loaded
    assert not loaded & {"numpy", "PIL", "imagecodecs", "openjpeg", "pylibjpeg", "amqtt", "paho", "cryptography"}


def test_the_middleware_imports_nothing_from_management() -> None:
    code = (
        "import sys, gateway.middleware.scp, gateway.middleware.intake\n"
        "print([name for name in sys.modules if name.startswith('gateway.management') or name == 'sqlalchemy'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.peer("dcmtk")
def test_a_kill_in_mid_transfer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """storescu's log says what was acknowledged; all of that must be there, and nothing half."""
    need("storescu")
    source = tmp_path / "source"
    source.mkdir()
    study = generate_uid()
    sent = {}
    for number in range(120):
        path = variant(source / f"{number:03}.dcm", "MR_small.dcm", StudyInstanceUID=study)
        sent[path.name] = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
    state = tmp_path / "state"
    process = IntakeProcess(state)
    sender = subprocess.Popen(
        ["storescu", "-v", "127.0.0.1", str(process.port), *(str(source / name) for name in sorted(sent))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    assert sender.stdout is not None
    acknowledged, current = [], ""
    for line in sender.stdout:
        if "Sending file:" in line:
            current = Path(line.split("Sending file:")[1].strip()).name
        if "Received Store Response (Success)" in line:
            acknowledged.append(current)
            if len(acknowledged) == 40:
                process.kill()
    sender.wait(DEADLINE_S)
    assert 40 <= len(acknowledged) < 120

    again = IntakeProcess(state)
    assert list((state / "spool").iterdir()) == []
    archive, engine = Archive(state), open_index(state / "index.sqlite")
    with engine.connect() as connection:
        found = arrivals.study(connection, study)
        assert found is not None
        rows = {row.SOPInstanceUID: row for row in arrivals.instances_of(connection, found.id)}
    assert {sent[name] for name in acknowledged} <= set(rows)
    for digest in archive.digests():
        assert hashlib.sha256(archive.path(digest).read_bytes()).hexdigest() == digest
    assert {row.digest for row in rows.values()} <= set(archive.digests())
    # Sent again, all of it is there, each once.
    assert storescu(again.port, source, options=["+sd"]).returncode == 0
    with engine.connect() as connection:
        assert len(arrivals.instances_of(connection, found.id)) == 120
        assert arrivals.list_conflicts(connection) == []
    engine.dispose()
    again.end()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine mounts no tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.peer("dcmtk")
def test_a_full_disk_is_said_and_the_next_is_served(small_disk: Path, tmp_path: Path) -> None:
    files = [variant(tmp_path / f"{number}.dcm") for number in range(2)]
    with running(small_disk) as started:
        filler = small_disk / "filler"
        room = os.statvfs(small_disk)
        filler.write_bytes(b"x" * (room.f_bavail * room.f_frsize - (16 << 10)))
        refused = storescu(started.port, files[0])
        assert refused.returncode != 0
        assert "0xa700" in refused.stdout.lower() + refused.stderr.lower() or "OutOfResources" in refused.stderr
        assert started.spooled == []
        assert started.arrivals == []
        assert [refusal.reason.value for refusal in started.refusals] == ["out-of-resources"]
        filler.unlink()
        assert storescu(started.port, *files).returncode == 0
        assert len(started.arrivals) == 2


@pytest.mark.peer("dcmtk")
def test_nothing_that_the_process_prints_names_a_patient(tmp_path: Path) -> None:
    process = IntakeProcess(tmp_path / "state")
    good = variant(tmp_path / "a.dcm", PatientName="Secret^Name", PatientID="SECRETID")
    uid = str(pydicom.dcmread(good).SOPInstanceUID)
    broken = variant(tmp_path / "b.dcm", PatientName="Secret^Name", PatientID="SECRETID", SeriesInstanceUID="")
    storescu(process.port, good, broken)
    run("echoscu", "-aet", "X" * 16, "127.0.0.1", str(process.port))
    printed = process.end()
    assert "END 1" in printed
    assert "REFUSED missing-attribute" in printed
    assert "SECRET" not in printed.upper()
    assert uid not in printed


@pytest.mark.peer("dcmtk")
def test_several_senders_at_once(tmp_path: Path) -> None:
    study = generate_uid()
    folders = []
    for sender in range(4):
        folder = tmp_path / str(sender)
        folder.mkdir()
        folders.append(folder)
        for number in range(10):
            variant(folder / f"{number}.dcm", "MR_small.dcm", StudyInstanceUID=study)
    with running(tmp_path / "state") as started:
        results: list[int] = []

        def send(folder: Path) -> None:
            results.append(storescu(started.port, folder, options=["+sd"]).returncode)

        threads = [threading.Thread(target=send, args=(folder,)) for folder in folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert results == [0] * 4
        with started.engine.connect() as connection:
            (row,) = arrivals.studies(connection)
            assert row.NumberOfStudyRelatedInstances == len(arrivals.instances_of(connection, row.id)) == 40
        started.wait_for(lambda: len(started.ends) == 4)


@pytest.mark.peer("dcmtk")
def test_descriptors_and_threads_do_not_grow(tmp_path: Path) -> None:
    with running(tmp_path / "state") as started:
        me = psutil.Process()
        storescu(started.port, sample())
        started.wait_for(lambda: not started.scp._calls)
        before = me.num_fds(), threading.active_count()
        for _ in range(10):
            assert storescu(started.port, sample()).returncode == 0
            assert run("echoscu", "127.0.0.1", str(started.port)).returncode == 0
        started.wait_for(lambda: not started.scp._calls and threading.active_count() <= before[1])
        assert me.num_fds() <= before[0] + 1


def _large(target: Path, size_bytes: int) -> int:
    """A US multi-frame of about this size, from one real frame again and again; returns its frames."""
    data = pydicom.dcmread(sample("examples_rgb_color.dcm"))
    frame = bytes(data.PixelData)
    frames = size_bytes // len(frame)
    del data.PixelData
    if 0xFFFCFFFC in data:
        del data[0xFFFCFFFC]
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.NumberOfFrames = frames
    data.save_as(target)
    with target.open("ab") as file:
        file.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, frames * len(frame)))
        for _ in range(frames):
            file.write(frame)
    return frames


@pytest.mark.long
@pytest.mark.peer("dcmtk")
def test_an_object_of_524_mb_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    frames = _large(path, 524_000_000)
    process = IntakeProcess(tmp_path / "state")
    inside = psutil.Process(process.process.pid)
    begun = time.monotonic()
    sent = storescu(process.port, path)
    took_s = time.monotonic() - begun
    assert sent.returncode == 0, sent.stderr[-500:]
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{inside.pid}/status").read_text())[1]) / 1024  # type: ignore[index]  # every process has one
    process.end()
    engine = open_index(tmp_path / "state" / "index.sqlite")
    with engine.connect() as connection:
        (row,) = arrivals.instances_of(connection, arrivals.studies(connection)[0].id)
    engine.dispose()
    print(f"524 MB object: {took_s:.2f} s, {row.size_bytes / 1e6 / took_s:.0f} MB/s, peak {peak:.0f} MB")
    assert row.NumberOfFrames == frames
    stored, source = (hashlib.sha256(data_set_bytes(file)).digest() for file in (tmp_path / "state" / row.path, path))
    assert stored == source
    assert peak < 110


@pytest.mark.long
@pytest.mark.peer("dcmtk")
def test_300_slices(tmp_path: Path) -> None:
    """The bound is loose, because machines are; the figure is printed."""
    source = tmp_path / "source"
    source.mkdir()
    base = pydicom.dcmread(sample())
    base.Rows = base.Columns = 512
    base.PixelData = bytes(base.PixelData) * 16
    base.StudyInstanceUID = generate_uid()
    for number in range(300):
        base.SOPInstanceUID = base.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        base.InstanceNumber = number
        base.save_as(source / f"{number:03}.dcm")
    process = IntakeProcess(tmp_path / "state")
    begun = time.monotonic()
    assert storescu(process.port, source, options=["+sd"]).returncode == 0
    took_s = time.monotonic() - begun
    process.end()
    print(f"300 slices: {took_s:.2f} s, {300 * 0.5257 / took_s:.0f} MB/s")
    assert took_s < 20
