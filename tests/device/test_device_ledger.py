"""What is current, judged with a clock of one's own and without IO; and a disk that is full."""

import asyncio
import errno
import os
from types import SimpleNamespace

import pytest

from device_client import board
from device_client.disk import DiskThread
from device_client.download import Download
from device_client.errors import Silent
from device_client.goal import Standing, until_done
from device_client.ledger import GRACE_MS, Held, Ledger, Shelf
from device_client.store.blobs import Blob, DiskCalls
from wire import objects, seal
from wire.errors import Malformed, Stale
from wire.messages import Announcement, Head, HeadEntry, ObjectEntry
from wire.names import encode_reference
from wire.pace import Pace
from wire.topics import ObjectTopic

RECIPIENT = encode_reference(os.urandom(16))
STUDY = os.urandom(16)
REF = encode_reference(STUDY)


def held(sequence=1, issued=1000, digest=b"d" * 32, study=STUDY, entries=(), value=None):
    attributes = objects.deflate_json({"study": {}, "series": [{}]} if value is None else value)
    announcement = Announcement(study, sequence, issued, True, attributes, list(entries))
    return Held("ward", RECIPIENT, encode_reference(study), announcement, digest)


def head(sequence=1, issued=1000, due=100_000, entries=((STUDY, 1, b"d" * 32),)):
    return Head(sequence, issued, due, [HeadEntry(*one) for one in entries])


@pytest.fixture
def shelf():
    one = Shelf("ward", RECIPIENT)
    one.take_announcement(held())
    one.take_head(head(), 1000)
    return one


def test_current_until_the_next_head_is_overdue(shelf):
    assert shelf.is_current(REF, 1000)
    assert shelf.is_current(REF, 100_000 + GRACE_MS)
    assert not shelf.is_current(REF, 100_001 + GRACE_MS)


def test_another_digest_is_current_for_the_grace_time_only(shelf):
    shelf.take_head(head(2, 2000, entries=[(STUDY, 2, b"e" * 32)]), 2000)
    assert shelf.behind() == [REF]
    assert shelf.is_current(REF, 2000 + GRACE_MS)
    assert not shelf.is_current(REF, 2001 + GRACE_MS)


def test_an_announcement_before_its_head_is_not_behind(shelf):
    shelf.take_announcement(held(2, 3000, b"e" * 32))
    assert shelf.behind() == []
    assert shelf.is_current(REF, 3000 + GRACE_MS)
    assert not shelf.is_current(REF, 3001 + GRACE_MS)


def test_gone_after_the_grace_time_and_back_within_it(shelf):
    shelf.take_head(head(2, 2000, entries=[]), 2000)
    assert shelf.gone(2000 + GRACE_MS - 1) == []
    assert shelf.gone(2000 + GRACE_MS) == [REF]
    shelf.take_head(head(3, 3000), 3000)
    assert shelf.gone(10**9) == []


def test_what_a_head_omits_is_off_the_board_at_once_and_deleted_after_the_grace_time():
    ledger = Ledger([("ward", RECIPIENT)])
    shelf = ledger.shelves[RECIPIENT]
    shelf.take_announcement(held())
    shelf.take_head(head(), 1000)
    assert [one.parts for one in board.entries(SimpleNamespace(ledger=ledger))] == [[shelf.studies[REF]]]
    shelf.take_head(head(2, 2000, entries=[]), 2000)
    assert shelf.unlisted == {REF: 2000} and board.entries(SimpleNamespace(ledger=ledger)) == []
    assert REF in shelf.studies and shelf.gone(2000) == [], "deleted it is only later"
    shelf.take_head(head(3, 3000), 3000)
    assert shelf.unlisted == {} and len(board.entries(SimpleNamespace(ledger=ledger))) == 1


def test_a_head_that_was_made_before_the_announcement_deletes_nothing(shelf):
    new = os.urandom(16)
    shelf.take_announcement(held(1, 2500, study=new))
    shelf.take_head(head(2, 2000), 2600)
    assert shelf.gone(10**9) == []
    shelf.take_head(head(3, 3000), 3000)
    assert shelf.gone(10**9) == [encode_reference(new)]


@pytest.mark.parametrize("sequence", [0, 1])
def test_heads_only_grow(shelf, sequence):
    with pytest.raises(Stale):
        shelf.check_head(head(sequence))
    shelf.check_head(head(2))


def test_announcements_only_grow(shelf):
    shelf.take_announcement(held(5, 5000, b"f" * 32))
    for sequence in (1, 4, 5):
        with pytest.raises(Stale):
            shelf.check_announcement(held(sequence, 9000, b"g" * 32))
    shelf.check_announcement(held(6, 6000))


def test_sealed_anew_under_the_same_sequence_is_taken_when_the_head_vouches(shelf):
    again = held(1, 1500, b"n" * 32)
    with pytest.raises(Stale):
        shelf.check_announcement(again)
    shelf.take_head(head(2, 2000, entries=[(STUDY, 1, b"n" * 32)]), 2000)
    shelf.check_announcement(again)
    shelf.take_announcement(again)
    with pytest.raises(Stale):
        shelf.check_announcement(again)


def test_older_than_the_head_or_unknown_to_it_is_refused():
    empty = Shelf("ward", RECIPIENT)
    empty.take_head(head(4, 4000, entries=[(STUDY, 7, b"d" * 32)]), 4000)
    with pytest.raises(Stale):
        empty.check_announcement(held(6, 3000))
    with pytest.raises(Stale):
        empty.check_announcement(held(1, 3000, study=os.urandom(16)))
    empty.check_announcement(held(7, 3000))
    empty.check_announcement(held(1, 4001, study=os.urandom(16)))


def entry(layer="display", series=(0,), batch=0, size=10):
    return ObjectEntry(os.urandom(16), layer, list(series), batch, 1, os.urandom(32), size, os.urandom(32))


@pytest.mark.parametrize("value", [[], {"study": []}, {"study": {}, "series": {}}, {"study": {}, "series": [1]}, {}])
def test_attributes_of_another_form_are_refused(value):
    with pytest.raises(Malformed):
        Shelf("ward", RECIPIENT).check_announcement(held(value=value))


def test_an_object_of_no_series_is_refused():
    with pytest.raises(Malformed):
        Shelf("ward", RECIPIENT).check_announcement(held(entries=[entry(series=(1,))]))


def test_order_of_fetching():
    ledger = Ledger([("ward", RECIPIENT)])
    old = [entry("display", batch=1), entry("display", batch=0), entry("thumbnail"), entry("report")]
    new = [entry("display"), old[0]]
    ledger.shelves[RECIPIENT].take_announcement(held(entries=old))
    ledger.shelves[RECIPIENT].take_announcement(held(issued=2000, study=os.urandom(16), entries=new))
    found = [one for _, one in ledger.wanted(("thumbnail", "display"))]
    assert found == [new[0], old[0], old[2], old[1]]


def test_a_full_disk_leaves_no_bit_without_data(tmp_path):
    """The receiver has counted the segment as kept; its bitmap must not reach the disk."""
    size = 300_000
    segments = list(seal.seal_stream(b"k" * 32, b"c", [os.urandom(size)]))
    from wire.manifest import Manifest, segment_digest

    manifest = Manifest(b"".join(segment_digest(one) for one in segments))
    one = ObjectEntry(os.urandom(16), "display", [0], 0, 1, b"k" * 32, size, manifest.digest())
    room = [2]

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) > 1000:
            if not room[0]:
                raise OSError(errno.ENOSPC, "full")
            room[0] -= 1
        return os.pwrite(descriptor, data, offset)

    async def work() -> None:
        disk = DiskThread()
        object_id = encode_reference(one.object)
        blob = Blob(tmp_path, object_id, size, DiskCalls(pwrite))
        download = Download(held(), one, blob, {}, Pace())
        download.take(0.0, ObjectTopic(object_id, "page", 0), manifest.page_message(0))
        for index in (0, 1):
            assert download.take(0.0, ObjectTopic(object_id, "segment", index), segments[index]) == 1
        with pytest.raises(OSError, match="full"):
            download.take(0.0, ObjectTopic(object_id, "segment", 2), segments[2])
        await download.flush(disk)
        await download.close(disk)
        again = Blob(tmp_path, object_id, size)
        assert again.have.count == 0
        assert again.recover(again.pages(one.manifest)) == 2
        again.close()
        disk.close()

    asyncio.run(work())


def test_once_gives_up_after_the_last_progress():
    with pytest.raises(Silent, match="no connection"):
        asyncio.run(until_done(lambda: Standing(False, None, False, True, 0.0), 0.1))
