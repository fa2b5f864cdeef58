"""The gateway's keys: made once and whole, private, and said to be damaged without being quoted."""

import stat
from pathlib import Path

import pytest

from gateway.config import ConfigError
from gateway.management import vault
from gateway.management.files import write_private
from gateway.management.vault import Vault


def test_made_once_private_and_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "keys"
    Vault.create(folder)
    first = Vault.load(folder)
    assert len(list(folder.iterdir())) == 6
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        Vault.create(folder)
    second = Vault.load(folder)
    assert second.root.private_bytes_raw() == first.root.private_bytes_raw()
    assert second.gateway == first.gateway and second.password == first.password


def test_a_cut_in_between_leaves_no_half_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "keys"
    written = []

    def fail_late(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        write_private(path, data)

    monkeypatch.setattr(vault, "write_private", fail_late)
    with pytest.raises(OSError, match="No space"):
        Vault.create(folder)
    assert not folder.exists()
    monkeypatch.undo()
    Vault.create(folder)
    assert Vault.load(folder).gateway


@pytest.mark.parametrize(
    "name", ["root.key", "online.key", "exchange.key", "reference.key", "gateway.id", "broker.password"]
)
@pytest.mark.parametrize("damage", [b"", b"\xff" * 32, b"short"], ids=["empty", "ones", "short"])
def test_a_damaged_key_is_said_and_not_quoted(tmp_path: Path, name: str, damage: bytes) -> None:
    Vault.create(tmp_path / "keys")
    (tmp_path / "keys" / name).write_bytes(damage)
    if damage == b"\xff" * 32 and name in ("root.key", "online.key", "reference.key"):
        assert Vault.load(tmp_path / "keys")  # any 32 bytes are one
        return
    with pytest.raises(ConfigError, match="damaged key") as caught:
        Vault.load(tmp_path / "keys")
    assert "xff" not in str(caught.value)


def test_write_private_replaces_whole_and_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, b"one")
    write_private(path, b"two" * 1000)
    assert path.read_bytes() == b"two" * 1000
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError):
        write_private(tmp_path / "nowhere" / "file", b"x")
