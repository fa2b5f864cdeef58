"""Files for their owner, the lease that opens the store, and the clock that cannot be turned back."""

import os
import stat

import pytest

from device_client.clock import Clock
from device_client.errors import AlreadyEnrolled, Busy, LeaseEnded, StoreBroken
from device_client.store import files
from device_client.store.keys import DeviceKeys, EpochKey, Identity, KeyFiles, Reader, Secrets
from wire.messages import Lease
from wire.names import encode_reference

DEVICE = encode_reference(os.urandom(16))


def make(folder, expires=1000):
    keys = DeviceKeys.generate()
    lease = Lease(secret=os.urandom(32), expires=expires)
    recipient = Reader("ward", encode_reference(os.urandom(16)))
    identity = Identity(1, "site", DEVICE, "mqtt://127.0.0.1:1", b"", os.urandom(32), os.urandom(32), b"k", [recipient])
    secrets = Secrets(["Ward Nightingale"], [[EpochKey(1, os.urandom(32))]], [], [0])
    key_files = KeyFiles(files.make_folder(folder / "state"))
    key_files.create(keys, identity, lease, secrets)
    return key_files, keys, identity, lease, secrets


def test_what_is_written_comes_back(tmp_path):
    key_files, keys, identity, lease, secrets = make(tmp_path)
    assert key_files.load_identity() == identity
    loaded = key_files.load_keys()
    assert loaded.sign.private_bytes_raw() == keys.sign.private_bytes_raw()
    assert loaded.secret == keys.secret
    assert key_files.load_lease(999) == lease
    assert key_files.load_secrets(loaded.store_key(lease.secret), DEVICE) == secrets


def test_modes_and_no_label_in_the_clear(tmp_path):
    make(tmp_path)
    folder = tmp_path / "state"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert b"Nightingale" not in path.read_bytes()


def test_the_secret_is_erased_at_expiry(tmp_path):
    key_files, keys, _, lease, _ = make(tmp_path)
    link = tmp_path / "second name"
    os.link(tmp_path / "state" / "lease", link)
    with pytest.raises(LeaseEnded):
        key_files.load_lease(1000)
    assert not (tmp_path / "state" / "lease").exists()
    assert lease.secret not in link.read_bytes() and set(link.read_bytes()) == {0}
    with pytest.raises(LeaseEnded):
        key_files.load_lease(0)
    with pytest.raises(StoreBroken):
        key_files.load_secrets(keys.store_key(os.urandom(32)), DEVICE)


def test_one_owner(tmp_path):
    with files.FolderLock(tmp_path), pytest.raises(Busy):
        files.FolderLock(tmp_path)
    with files.FolderLock(tmp_path) as again:
        assert again is not None
    assert "--replace" in str(AlreadyEnrolled())


def test_a_clock_turned_back_gains_nothing(tmp_path):
    wall, steady = [100.0], [0.0]
    clock = Clock(tmp_path / "clock", lambda: wall[0], lambda: steady[0])
    assert clock.now_ms() == 100_000
    clock.saw(500_000)
    assert clock.now_ms() == 500_000
    steady[0] = 10.0
    wall[0] = 1.0
    assert clock.now_ms() == 510_000
    clock.saw(505_000)
    assert clock.now_ms() == 510_000
    assert clock.due()
    clock.keep()
    later = Clock(tmp_path / "clock", lambda: 1.0, lambda: 0.0)
    assert later.now_ms() == 500_000
    assert not later.due()


def test_a_device_whose_own_clock_is_right_uses_it(tmp_path):
    clock = Clock(tmp_path / "clock", lambda: 900.0, lambda: 0.0)
    clock.saw(500_000)
    assert clock.now_ms() == 900_000
