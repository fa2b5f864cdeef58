"""The content store: whole or not at all, named by its bytes, swept after a cut."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.middleware.archive import Archive
from gateway.middleware.spool import Spool


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "state")


def _spooled(archive: Archive, data: bytes = b"data set", meta: bytes = b"meta") -> Spool:
    spool = archive.spool()
    spool.write_meta(meta, "1.2")
    for start in range(0, len(data), 3):
        spool.write(data[start : start + 3])
    return spool


def _files(archive: Archive) -> list[Path]:
    return sorted(path for path in archive.root.rglob("*") if path.is_file())


def test_a_kept_file_is_named_by_its_bytes(archive: Archive) -> None:
    kept = archive.keep(_spooled(archive))
    assert kept.digest == hashlib.sha256(b"metadata set").hexdigest()
    assert kept.path == f"archive/{kept.digest[:2]}/{kept.digest}.dcm"
    assert (kept.size_bytes, kept.fresh) == (12, True)
    assert _files(archive) == [archive.path(kept.digest)] == [archive.root / kept.path]
    with archive.open(kept.digest) as file:
        assert file.read() == b"metadata set"
    assert list(archive.digests()) == [kept.digest]
    assert archive.used_bytes() == 12


def test_the_same_bytes_twice_are_one_file(archive: Archive) -> None:
    first, second = archive.keep(_spooled(archive)), archive.keep(_spooled(archive))
    assert (first.digest, first.fresh, second.digest, second.fresh) == (first.digest, True, first.digest, False)
    assert len(_files(archive)) == 1


def test_a_damaged_file_is_replaced_when_it_comes_again(archive: Archive) -> None:
    kept = archive.keep(_spooled(archive))
    archive.path(kept.digest).write_bytes(b"cut")
    assert archive.keep(_spooled(archive)).fresh
    assert archive.path(kept.digest).read_bytes() == b"metadata set"


def test_the_data_digest_passes_over_the_meta_group(archive: Archive) -> None:
    a, b, c = (archive.keep(_spooled(archive, *parts)) for parts in ((b"x", b"1"), (b"x", b"2"), (b"y", b"1")))
    assert a.data_digest == b.data_digest != c.data_digest
    assert len({a.digest, b.digest, c.digest}) == 3


def test_quarantine_lies_apart(archive: Archive) -> None:
    kept = archive.quarantine(_spooled(archive))
    assert _files(archive) == [archive.quarantine_path(kept.digest)]
    assert list(archive.digests()) == []
    archive.drop_quarantined(kept.digest)
    archive.drop_quarantined(kept.digest)
    assert _files(archive) == []


def test_removing_is_idempotent(archive: Archive) -> None:
    kept = archive.keep(_spooled(archive))
    archive.remove(kept.digest)
    archive.remove(kept.digest)
    with pytest.raises(FileNotFoundError):
        archive.open(kept.digest)


@pytest.mark.parametrize("name", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n", "a" * 65])
def test_only_digests_are_names(archive: Archive, name: str) -> None:
    for use in (archive.path, archive.quarantine_path, archive.remove, archive.open):
        with pytest.raises(ValueError, match="64 hexadecimal"):
            use(name)


def test_files_are_for_the_owner_alone(archive: Archive) -> None:
    kept = archive.keep(_spooled(archive))
    assert archive.path(kept.digest).stat().st_mode & 0o777 == 0o600
    assert archive.root.stat().st_mode & 0o777 == 0o700


def test_discarding(archive: Archive) -> None:
    spool = _spooled(archive)
    assert spool.is_open
    assert len(_files(archive)) == 1
    spool.discard()
    spool.discard()
    assert _files(archive) == []


def test_the_limit_of_an_object(tmp_path: Path) -> None:
    archive = Archive(tmp_path, object_limit_bytes=10)
    spool = archive.spool()
    for _ in range(4):
        assert spool.write(b"1234") == 4  # drained: the sender is answered at the end
    assert _files(archive) == []
    with pytest.raises(OSError) as caught:
        archive.keep(spool)
    assert caught.value.errno == errno.EFBIG


HOLDER = """
import sys, time
from pathlib import Path
from gateway.middleware.archive import Archive
spool = Archive(Path(sys.argv[1])).spool()
spool.write(b"half")
print("ready", flush=True)
time.sleep(60)
"""


def test_the_sweep_takes_what_the_dead_left_and_nothing_else(archive: Archive) -> None:
    mine = _spooled(archive)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(archive.root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    assert archive.sweep() == 0
    assert len(_files(archive)) == 2
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert archive.sweep() == 1
    assert _files(archive) == [mine.path]
    assert archive.keep(mine).fresh


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine mounts no tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_nothing_half_written(small_disk: Path) -> None:
    archive = Archive(small_disk)
    spool = _spooled(archive)
    for _ in range(60):
        spool.write(b"x" * (1 << 16))
    assert isinstance(spool.error, OSError)
    assert _files(archive) == []  # at once, so that others have the room
    with pytest.raises(OSError) as caught:
        archive.keep(spool)
    assert caught.value.errno == errno.ENOSPC
    assert archive.keep(_spooled(archive)).fresh
