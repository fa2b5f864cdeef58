"""Where a device keeps what it received: a card, a quota, ordinary files; with a real gateway."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import HONG, LEE, Made, long_ct
from device_client.store import storage
from tests.support.devices import RunningDevice
from tests.support.displays import wait_for
from tests.support.gateways import RunningGateway, program


def run_once(device: RunningDevice, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``run --once`` with its exit code and what it said."""
    return subprocess.run(
        [program("mpacs-device"), "run", "--once", "--state", str(device.folder), *arguments],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def complete(device: RunningDevice) -> dict[str, bool]:
    """By patient, whether all pictures are here."""
    return {
        one["PatientNamePhonetic"]: all(series["layers"]["display"]["complete"] for series in one["series"])
        for one in device.studies()
    }


def test_a_card_holds_ciphertext_and_is_missed_when_it_is_gone(
    ward: RunningGateway, studies: list[Made], tmp_path: Path
) -> None:
    device = RunningDevice(tmp_path / "device", ward, "ward:W3")
    card = tmp_path / "card"
    done = run_once(device, "--store", str(card))
    assert done.returncode == 0, done.stderr
    assert list((card / "objects").glob("*.data")) and not (device.folder / "objects").exists()
    received = b"".join(path.read_bytes() for path in card.rglob("*") if path.is_file())
    assert b"JFIF" not in received and b"DICM" not in received
    assert all(complete(device).values()), "commands without a process find the card"
    away = card.rename(tmp_path / "pocket")
    card.mkdir()  # what a mount point looks like then
    done = run_once(device)
    assert done.returncode == 1 and "card or stick" in done.stderr
    assert not list(card.iterdir()), "nothing is written to the folder below"
    card.rmdir()
    away.rename(card)
    assert run_once(device).returncode == 0 and all(complete(device).values())


@pytest.mark.long
def test_a_quota_keeps_the_newest_and_gives_up_the_oldest(
    ward: RunningGateway, studies: list[Made], tmp_path: Path
) -> None:
    device = RunningDevice(tmp_path / "device", ward, "ward:W3")
    assert run_once(device).returncode == 0
    both = storage.held_bytes(device.folder / "objects")
    assert complete(device) == {"홍^*동": True, "이^*희": True}
    quota = both * 3 // 4
    done = run_once(device, "--quota-gb", str(quota / 1e9))
    assert done.returncode == 0 and "evicted" in done.stderr
    assert storage.held_bytes(device.folder / "objects") <= quota
    kept = complete(device)
    assert sorted(kept.values()) == [False, True]
    fresh = RunningDevice(tmp_path / "fresh", ward, "ward:W3")
    done = run_once(fresh, "--quota-gb", str(quota / 1e9))
    assert done.returncode == 0 and "no-room" in done.stderr and complete(fresh) == kept
    again = run_once(device)
    assert again.returncode == 0 and complete(device) == kept, "and does not fetch what it gave up"
    assert run_once(device, "--quota-gb", "0").returncode == 0 and all(complete(device).values())


def test_plain_files_are_whole_masked_and_go_with_the_study(
    ward: RunningGateway, studies: list[Made], tmp_path: Path
) -> None:
    device = RunningDevice(tmp_path / "device", ward, "ward:W3")
    card = tmp_path / "card"
    done = run_once(device, "--store", str(card), "--at-rest", "plain")
    assert done.returncode == 0 and "ordinary files" in done.stderr
    folders = sorted((card / "pictures").iterdir())
    assert len(folders) == 2
    pictures = [path for path in card.rglob("*") if path.suffix in (".jpg", ".png")]
    assert len(pictures) == sum(len(made.files) for made in studies)
    for folder in folders:
        told = json.loads((folder / "patient.json").read_text())
        assert "00100020" not in told and "00100030" not in told
        assert "길동" not in json.dumps(told, ensure_ascii=False) and "영희" not in json.dumps(told, ensure_ascii=False)
    with device:
        device.wait_line("connected")
        (listed,) = [one["device"] for one in ward.cli("devices", json=True)]
        ward.cli("revoke", listed, "--yes")
        wait_for(lambda: not list((card / "pictures").iterdir()), 30, "a revoked device keeps no plain picture")


def test_of_what_is_kept_little_is_written_twice(ward: RunningGateway, tmp_path: Path) -> None:
    for patient, title in ((HONG, "first"), (LEE, "second")):
        ward.store(long_ct(tmp_path, 60, patient, title).files)
    ward.wait_studies(2)
    with RunningDevice(tmp_path / "device", ward, "ward:W3") as device:
        device.wait_line("complete", 2)
        kept = sum(path.stat().st_size for path in (device.folder / "objects").iterdir())
        assert device.process is not None
        assert kept > 2_000_000
        counted = _counters(device.process.pid)
        # What write(2) and pwrite(2) were given: all files of the device, catalogue, heads and log included.
        assert counted["wchar"] < 1.2 * kept


def _counters(pid: int) -> dict[str, Any]:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}
