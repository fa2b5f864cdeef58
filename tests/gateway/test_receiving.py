"""An upload on its way in: what a device seals is what the gateway opens, whatever is cut, lost, doubled or spoilt."""

import os
import random
from pathlib import Path

import pytest

from device_client.errors import DeviceError
from device_client.sending import Parcel, pack
from gateway.management.receiving import Receiving
from wire.errors import DigestMismatch, SealBroken, WireError
from wire.limits import CHUNK_BYTES

SECRET = bytes(range(32))
SIZES = [1, CHUNK_BYTES, 4 * CHUNK_BYTES - 1, 4 * CHUNK_BYTES, 4 * CHUNK_BYTES + 1, 1_000_003]


def parcel_of(folder: Path, size: int, secret: bytes = SECRET) -> Parcel:
    path = folder / "a.png"
    path.write_bytes(
        (b"\x89PNG\r\n\x1a\n" + random.Random(size).randbytes(size))[:size] if size > 8 else b"%PDF-"[:size]
    )
    if size <= 8:
        path.write_bytes(b"%PDF-1")
    return pack(path, "site", secret, ("P-1", "", "", ""))


def receiving_of(folder: Path, parcel: Parcel) -> Receiving:
    return Receiving(folder / "uploads", "d-o", parcel.size, parcel.manifest.digest())


@pytest.mark.parametrize("size", SIZES)
def test_in_any_order_with_restarts_between(size: int, tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, size)
    receiving = receiving_of(tmp_path, parcel)
    assert receiving.wanted(99) == [] and receiving.lacking_pages == [0], "without its page nothing can be asked for"
    receiving.take_page(0, parcel.manifest.page_message(0))
    order = [index for first, last in receiving.wanted(99) for index in range(first, last + 1)]
    random.Random(size).shuffle(order)
    for index in order:
        segment = parcel.segment(index)
        assert not receiving.take_segment(index, segment[:-1] + bytes([segment[-1] ^ 1]))
        assert receiving.take_segment(index, segment)
        assert not receiving.take_segment(index, segment), "once is enough"
        receiving.close()
        receiving = receiving_of(tmp_path, parcel)
    assert not receiving.lacking and not receiving.lacking_pages
    receiving.open_into(parcel.key, parcel.bound_to, tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == parcel.path.read_bytes()
    assert (tmp_path / "plain").stat().st_mode & 0o077 == 0
    with pytest.raises(SealBroken):
        receiving.open_into(bytes(32), parcel.bound_to, tmp_path / "plain")
    receiving.remove()
    assert not list((tmp_path / "uploads").iterdir())


def test_a_page_of_another_upload_is_refused(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, 300_000)
    receiving = receiving_of(tmp_path, parcel)
    page = parcel.manifest.page_message(0)
    for wrong in (page[:-1], page + b"\0", bytes(len(page)), b""):
        with pytest.raises(WireError):
            receiving.take_page(0, wrong)
    with pytest.raises(DigestMismatch):
        receiving.take_page(0, os.urandom(len(page)))
    assert receiving.lacking_pages == [0]


def test_what_lies_spoilt_on_the_disk_is_asked_for_again(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, 500_000)
    receiving = receiving_of(tmp_path, parcel)
    receiving.take_page(0, parcel.manifest.page_message(0))
    for index in range(4):
        receiving.take_segment(index, parcel.segment(index))
    receiving.close()
    part = tmp_path / "uploads" / "d-o.part"
    data = bytearray(part.read_bytes())
    data[70_000] ^= 1
    part.write_bytes(data)
    assert receiving_of(tmp_path, parcel).wanted(2)[0] == (1, 1)


def test_the_same_file_is_the_same_object_and_another_is_not(tmp_path: Path) -> None:
    """Key and salt stand for one plaintext, one patient, one device."""
    first = parcel_of(tmp_path, 1000)
    again = parcel_of(tmp_path, 1000)
    assert (first.object, first.key, first.salt) == (again.object, again.key, again.salt)
    assert first.manifest == again.manifest
    others = [
        parcel_of(tmp_path, 1001),
        parcel_of(tmp_path, 1000, bytes(32)),
        pack(first.path, "site", SECRET, ("P-2",)),
    ]
    assert len({one.key for one in (first, *others)}) == 4
    assert len({one.object for one in (first, *others)}) == 4


def test_a_file_that_changes_meanwhile_is_not_sent(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, 300_000)
    parcel.path.write_bytes(parcel.path.read_bytes()[:-1] + b"x")
    assert parcel.segment(0)
    with pytest.raises(DeviceError, match="changed"):
        parcel.segment(4)
