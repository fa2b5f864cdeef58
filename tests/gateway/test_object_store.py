"""Sealed objects on disk: whole or not at all, read segment by segment, swept and missed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.management.object_store import ObjectMissing, ObjectStore, Written
from tests.support.broker_process import wait_until
from wire import envelope, seal
from wire.errors import NameInvalid
from wire.limits import CHUNK_BYTES, CHUNKS_PER_SEGMENT, DIGEST_BYTES
from wire.manifest import check_page
from wire.names import decode_reference

SEGMENT = CHUNK_BYTES * CHUNKS_PER_SEGMENT


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects", "site")


def read_back(store: ObjectStore, written: Written) -> bytes:
    count = seal.segment_count(written.size)
    sealed = b"".join(store.segment(written.object, index, written.size) for index in range(count))
    context = envelope.object_context("site", decode_reference(written.object), "display")
    return seal.open_whole(written.key, context, sealed)


def files(store_root: Path) -> list[Path]:
    return sorted(path for path in store_root.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, SEGMENT - 1, SEGMENT, SEGMENT + 1, 5 * SEGMENT + 17])
def test_segments_and_pages_as_written(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    written = store.write("display", data[:1], [data[1:]] if size > 1 else [])
    assert written.size == size
    assert read_back(store, written) == data
    assert store.lacking({written.object: size}) == []
    count = seal.segment_count(size)
    digests = check_page(written.manifest, 0, count, store.page(written.object, 0))
    assert len(digests) == count * DIGEST_BYTES


def test_every_object_has_its_own_key_and_nothing_readable(store: ObjectStore, tmp_path: Path) -> None:
    text = b"the patient's name " * 1000
    one, two = store.write("display", text, []), store.write("display", text, [])
    assert one.object != two.object and one.key != two.key
    contents = [path.read_bytes() for path in files(tmp_path)]
    assert not [data for data in contents if b"patient" in data]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "objects").iterdir())


def test_what_fails_in_between_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield os.urandom(SEGMENT)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.write("display", b"header", parts())
    assert files(tmp_path) == []


def test_missing_cut_and_odd_names(store: ObjectStore, tmp_path: Path) -> None:
    written = store.write("display", os.urandom(3 * SEGMENT), [])
    with pytest.raises(ObjectMissing):
        store.segment("a" * 26, 0, 100)
    with pytest.raises(ObjectMissing):
        store.page("a" * 26, 0)
    for name in ("../../etc/passwd", "", "A" * 26):
        with pytest.raises(NameInvalid):
            store.segment(name, 0, 100)
    sealed = next(path for path in files(tmp_path) if path.suffix == ".sealed")
    os.truncate(sealed, sealed.stat().st_size - 1)
    assert store.lacking({written.object: written.size}) == [written.object]
    assert store.segment(written.object, 0, written.size)
    with pytest.raises(ObjectMissing):
        store.segment(written.object, seal.segment_count(written.size) - 1, written.size)
    store.remove(written.object)
    assert files(tmp_path) == []
    store.remove(written.object)


def test_sweep_keeps_what_is_known_alone(store: ObjectStore, tmp_path: Path) -> None:
    keep, drop = (store.write("display", b"x", []) for _ in range(2))
    folder = tmp_path / "objects" / "zz"
    folder.mkdir(exist_ok=True)
    (folder / ("z" * 26 + ".sealed.tmp")).write_bytes(b"half")
    assert store.sweep({keep.object}) == 3
    assert read_back(store, keep) == b"x"
    assert store.lacking({keep.object: 1, drop.object: 1}) == [drop.object]


_WRITER = """
import os, sys
from pathlib import Path
from gateway.management.object_store import ObjectStore
store = ObjectStore(Path(sys.argv[1]), "site")
while True:
    written = store.write("display", os.urandom(100), [os.urandom(300_000)])
    print(written.object, written.size, flush=True)
"""


def test_a_kill_in_mid_write_leaves_whole_objects_or_none(store: ObjectStore, tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path / "objects")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        lines += [writer.stdout.readline() for _ in range(7)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
    known = {line.split()[0]: int(line.split()[1]) for line in lines if line.endswith("\n")}
    assert len(known) >= 35
    store.sweep(known)
    assert store.lacking(known) == []
    left = {path.name.partition(".")[0] for path in files(tmp_path)}
    assert left == known.keys()


def test_room_is_asked_before_it_is_used(store: ObjectStore) -> None:
    assert store.has_room(1)
    assert not store.has_room(1 << 60)
    wait_until(lambda: store.has_room(1024), 1, "room")
