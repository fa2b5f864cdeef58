"""Objects on the disk: the order of writes, what a kill or a power cut leaves, and what is found again."""

import hashlib
import os
from pathlib import Path

import pytest

from device_client.store.blobs import Blob, Blobs, DiskCalls
from wire import seal
from wire.errors import Malformed
from wire.manifest import Manifest

SIZE = 900_000
OBJECT = "a" * 25 + "a"


def make_segments(size: int = SIZE) -> list[bytes]:
    return list(seal.seal_stream(os.urandom(32), b"context", [os.urandom(size)]))


def make_manifest(segments: list[bytes]) -> Manifest:
    return Manifest(b"".join(hashlib.sha256(one).digest() for one in segments))


class Recorder:
    """Writes down which file was written or synced, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    @staticmethod
    def _name(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().suffix[1:]

    def disk(self) -> DiskCalls:
        def pwrite(descriptor: int, data: bytes, offset: int) -> int:
            self.calls.append(("write", self._name(descriptor)))
            return os.pwrite(descriptor, data, offset)

        def fsync(descriptor: int) -> None:
            self.calls.append(("fsync", self._name(descriptor)))
            os.fsync(descriptor)

        return DiskCalls(pwrite, fsync)


def test_data_is_durable_before_its_bit(tmp_path):
    recorder = Recorder()
    segments = make_segments()
    blob = Blob(tmp_path, OBJECT, SIZE, recorder.disk())
    for index in (3, 1):
        blob.write(index, segments[index])
        blob.have.add(index)
    blob.commit(blob.snapshot())
    assert recorder.calls == [
        ("write", "data"),
        ("write", "data"),
        ("fsync", "data"),
        ("write", "map"),
        ("fsync", "map"),
    ]
    blob.close()
    again = Blob(tmp_path, OBJECT, SIZE)
    assert [index for index in range(again.segments) if index in again.have] == [1, 3]
    again.close()


def test_a_power_cut_at_any_call_leaves_no_bit_without_its_data(tmp_path):
    """Replay every prefix of the calls on a disk that keeps only what was synced, and as much of the rest as hurts."""
    segments = make_segments()
    durable: dict[str, bytearray] = {"data": bytearray(), "map": bytearray()}
    pending: dict[str, list[tuple[int, bytes]]] = {"data": [], "map": []}
    states: list[tuple[bytes, bytes]] = []

    def keep_state() -> None:
        # The worst that may have reached the disk: all of the bitmap's writes, none of the data's.
        bitmap = bytearray(durable["map"])
        for offset, data in pending["map"]:
            bitmap[offset : offset + len(data)] = data
        states.append((bytes(durable["data"]), bytes(bitmap)))

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        pending[Recorder._name(descriptor)].append((offset, data))
        keep_state()
        return len(data)

    def fsync(descriptor: int) -> None:
        name = Recorder._name(descriptor)
        for offset, data in pending[name]:
            durable[name].extend(bytes(max(0, offset + len(data) - len(durable[name]))))
            durable[name][offset : offset + len(data)] = data
        pending[name].clear()
        keep_state()

    blob = Blob(tmp_path, OBJECT, SIZE, DiskCalls(pwrite, fsync))
    for group in ((0, 4), (2,), (1, 3, 5)):
        for index in group:
            blob.write(index, segments[index])
            blob.have.add(index)
        blob.commit(blob.snapshot())
    blob.close()
    assert len(states) == 6 + 3 * 3
    for data, bitmap in states:
        for index in range(len(segments)):
            if bitmap and bitmap[index >> 3] >> (index & 7) & 1:
                offset, length = seal.segment_span(index, SIZE)
                assert data[offset : offset + length] == segments[index]


def test_what_was_written_without_its_bit_is_found_by_its_digest(tmp_path):
    segments = make_segments()
    manifest = make_manifest(segments)
    blob = Blob(tmp_path, OBJECT, SIZE)
    blob.save_page(0, manifest.page_message(0))
    for index in (0, 5, 9):
        blob.write(index, segments[index])
    blob.write(7, segments[7][:-1] + bytes([segments[7][-1] ^ 1]))
    blob.close()
    again = Blob(tmp_path, OBJECT, SIZE)
    assert again.have.count == 0
    pages = again.pages(manifest.digest())
    assert again.recover(pages) == 3
    assert [index for index in range(again.segments) if index in again.have] == [0, 5, 9]
    again.close()


def test_a_page_of_another_manifest_is_not_believed(tmp_path):
    segments = make_segments()
    blob = Blob(tmp_path, OBJECT, SIZE)
    blob.save_page(0, make_manifest(make_segments()).page_message(0))
    blob.write(0, segments[0])
    assert blob.pages(make_manifest(segments).digest()) == {}
    assert blob.recover({}) == 0
    blob.close()


def test_a_flipped_bit_is_found_by_check(tmp_path):
    segments = make_segments()
    manifest = make_manifest(segments)
    blob = Blob(tmp_path, OBJECT, SIZE)
    blob.save_page(0, manifest.page_message(0))
    for index, segment in enumerate(segments):
        blob.write(index, segment)
        blob.have.add(index)
    blob.commit(blob.snapshot())
    blob.close()
    with (tmp_path / f"{OBJECT}.data").open("r+b") as file:
        file.seek(seal.segment_span(2, SIZE)[0] + 50)
        file.write(b"\xff\x00\xff")
    again = Blob(tmp_path, OBJECT, SIZE)
    assert again.have.complete
    assert again.check(again.pages(manifest.digest())) == 1
    assert list(again.have.missing()) == [2]
    again.close()


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 9])
def test_a_map_that_was_cut_is_not_believed(tmp_path, cut):
    segments = make_segments()
    blob = Blob(tmp_path, OBJECT, SIZE)
    for index, segment in enumerate(segments):
        blob.write(index, segment)
        blob.have.add(index)
    blob.commit(blob.snapshot())
    blob.close()
    os.truncate(tmp_path / f"{OBJECT}.map", cut)
    again = Blob(tmp_path, OBJECT, SIZE)
    assert again.have.count in (0, len(segments))
    assert again.have.complete == (cut >= 2)
    again.close()


def test_a_data_file_that_was_cut_is_not_believed(tmp_path):
    segments = make_segments()
    blob = Blob(tmp_path, OBJECT, SIZE)
    blob.write(4, segments[4])
    blob.have.add(4)
    blob.commit(blob.snapshot())
    blob.close()
    os.truncate(tmp_path / f"{OBJECT}.data", 100_000)
    again = Blob(tmp_path, OBJECT, SIZE)
    assert again.have.count == 0
    again.close()


def test_progress_and_removal(tmp_path):
    blobs = Blobs(tmp_path)
    segments = make_segments()
    blob = blobs.open(OBJECT, SIZE)
    blob.write(0, segments[0])
    blob.have.add(0)
    blob.refetched = 3
    blob.commit(blob.snapshot())
    blob.save_page(0, make_manifest(segments).page_message(0))
    blob.close()
    assert blobs.progress(OBJECT, SIZE) == (len(segments), 1, 3)
    assert blobs.held() == {OBJECT}
    blobs.remove([OBJECT])
    assert list(tmp_path.iterdir()) == []
    assert blobs.progress(OBJECT, SIZE) == (len(segments), 0, 0)
    with pytest.raises(FileNotFoundError):
        blobs.read_only(OBJECT, SIZE)


def test_a_segment_of_another_length_is_refused(tmp_path):
    blob = Blob(tmp_path, OBJECT, SIZE)
    with pytest.raises(Malformed):
        blob.write(0, b"short")
    blob.close()
