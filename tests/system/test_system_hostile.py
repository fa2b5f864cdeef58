"""Bombs and malformed files through the real gateway: each has its outcome, and the next study is served."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from benchmarks.studies import long_ct
from tests.support.bombs import BOMBS, image, nested, palette_that_never_ends, part10
from tests.support.broker_process import wait_until
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway, is_rendered

_DEADLINE_S = 120.0
"""Generous, for a machine that does other things: the seconds that it took are noted, and should be below ten."""
_SLICES = 3
_QUICK = ("RLE of 734 bytes for 4.2 GB", "HTJ2K of another size", "many frames", "unknown transfer syntax", "no DICOM")
"""One for each way out: the header's limits, a worker that is lost, a refusal by it, and the door."""
_NESTED = (100, 900, 20_000)
_SLOW = 3
"""Bombs of one study: more than there are workers."""

Note = Callable[[str, object], None]


def _bombs(folder: Path, names: Iterable[str] = BOMBS, depths: Iterable[int] = _NESTED) -> dict[str, Path]:
    folder.mkdir()
    made = {name: BOMBS[name][0]() for name in names}
    made |= {f"{depth} sequences around nothing": _nested_whole(depth) for depth in depths}
    return {name: _written(folder / f"bomb-{number}.dcm", data) for number, (name, data) in enumerate(made.items())}


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _nested_whole(depth: int) -> bytes:
    """Sequences inside each other that are all closed again, and an honest picture behind them."""
    whole = part10(image(16, 16, PixelData=bytes(256)), ExplicitVRLittleEndian)
    opened = nested(depth)[-20 * depth :]
    closed = (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * depth
    at = whole.index(b"\xe0\x7f\x10\x00OB")
    return whole[:at] + opened + closed + whole[at:]


def _take_in(gateway: RunningGateway, paths: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What ``import`` said of each."""
    done = gateway.run_cli("import", *map(str, paths.values()), "--json")
    assert done.returncode in (0, 1), done.stderr
    told: dict[str, dict[str, Any]] = {}
    for row in json.loads(done.stdout):  # a DICOMDIR among them leads to some a second time
        told.setdefault(row["path"], row)
    return {name: told[str(path)] for name, path in paths.items()}


def _serve_next(gateway: RunningGateway, device: RunningDevice, folder: Path, title: str) -> float:
    """Seconds from a good study's C-STORE until a device has all of its pictures."""
    folder.mkdir(exist_ok=True)
    made = long_ct(folder, _SLICES, title=title)

    def has_all() -> bool:
        mine = [study for study in device.studies() if study["StudyInstanceUID"] == made.StudyInstanceUID]
        layers = [series["layers"].get("display", {}) for study in mine for series in study["series"]]
        return sum(layer["frames"] for layer in layers if layer.get("complete")) == _SLICES

    started = time.monotonic()
    gateway.store(made.files)
    wait_until(has_all, _DEADLINE_S, "the next study is served")
    return round(time.monotonic() - started, 1)


def _outcomes(
    gateway: RunningGateway, paths: Mapping[str, Path], told: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """The reason in quarantine, or what the door said, once nothing waits to be rendered."""
    gateway.wait_studies(lambda studies: all(map(is_rendered, studies)), timeout_s=180)
    kept = {row["id"]: row["reason"] for row in gateway.cli("quarantine", "list", json=True)}
    ids = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in paths.items()}
    return {name: kept.get(ids[name], told[name]["outcome"]) for name in paths}


def _bombs_have_outcomes(gateway: RunningGateway, tmp_path: Path, paths: Mapping[str, Path], note: Note) -> None:
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
        told = _take_in(gateway, paths)
        seconds = _serve_next(gateway, device, tmp_path / "good", "behind-bombs")
    outcomes = _outcomes(gateway, paths, told)
    note("seconds to the next study", seconds)
    note("outcomes", outcomes)
    print(f"the next study behind {len(paths)} bombs: {seconds} s; {outcomes}")
    for name in BOMBS.keys() & outcomes.keys():
        assert outcomes[name] in BOMBS[name][1] | {"unreadable"}, name
    assert outcomes["20000 sequences around nothing"] == "unreadable"
    gateway.wait_healthy()


@pytest.mark.timeout(240)
def test_bombs_are_quarantined_and_the_next_study_is_served(
    gateway: RunningGateway, tmp_path: Path, record_property: Note
) -> None:
    _bombs_have_outcomes(gateway, tmp_path, _bombs(tmp_path / "bombs", _QUICK, _NESTED[-1:]), record_property)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_all_bombs_are_quarantined_and_the_next_study_is_served(
    gateway: RunningGateway, tmp_path: Path, record_property: Note
) -> None:
    _bombs_have_outcomes(gateway, tmp_path, _bombs(tmp_path / "bombs"), record_property)


@pytest.mark.long
@pytest.mark.corpus
@pytest.mark.skipif("MPACS_CORPUS" not in os.environ, reason="MPACS_CORPUS is not set")
@pytest.mark.timeout(240)
def test_malformed_files_have_an_outcome_and_the_next_study_is_served(
    gateway: RunningGateway, tmp_path: Path, record_property: Note
) -> None:
    folder = Path(os.environ["MPACS_CORPUS"], "malformed")
    paths = {path.name: path for path in sorted(folder.iterdir())}
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
        told = _take_in(gateway, paths)
        seconds = _serve_next(gateway, device, tmp_path / "good", "behind-malformed")
    outcomes = _outcomes(gateway, paths, told)
    record_property("seconds to the next study", seconds)
    record_property("outcomes", outcomes)
    print(f"the next study behind {len(paths)} malformed files: {seconds} s; {outcomes}")
    for name, path in paths.items():
        if told[name]["outcome"] == "refused":
            assert told[name]["detail"], f"{path.name}: refused without a reason"
    gateway.wait_healthy()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_study_of_nothing_but_slow_bombs_holds_up_no_other(
    gateway: RunningGateway, tmp_path: Path, record_property: Note
) -> None:
    """Each costs a worker its CPU limit; another study has its turn in between."""
    (tmp_path / "bombs").mkdir()
    study, paths = generate_uid(), {}
    for number in range(_SLOW):
        paths[str(number)] = path = tmp_path / "bombs" / f"{number}.dcm"
        path.write_bytes(palette_that_never_ends())
        dataset = dcmread(path)
        dataset.StudyInstanceUID, dataset.InstanceNumber = study, number
        dataset.save_as(path)
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
        told = _take_in(gateway, paths)
        seconds = _serve_next(gateway, device, tmp_path / "good", "beside-bombs")
        waiting = [one for one in gateway.studies() if not is_rendered(one)]
    outcomes = _outcomes(gateway, paths, told)
    record_property("seconds to the next study", seconds)
    print(f"the next study beside {_SLOW} slow bombs: {seconds} s")
    assert [one["StudyInstanceUID"] for one in waiting] == [study], "it was not waited for"
    assert set(outcomes.values()) == {"timeout"}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_behind_each_bomb_the_next_study_is_served(gateway: RunningGateway, tmp_path: Path) -> None:
    paths = _bombs(tmp_path / "bombs")
    if "MPACS_CORPUS" in os.environ:
        paths |= {path.name: path for path in sorted(Path(os.environ["MPACS_CORPUS"], "malformed").iterdir())}
    with RunningDevice(tmp_path / "device", gateway, "doctor:D1") as device:
        for number, (name, path) in enumerate(paths.items()):
            _take_in(gateway, {name: path})
            seconds = _serve_next(gateway, device, tmp_path / "good", f"behind-{number}")
            print(f"{seconds} s behind {name}")
    gateway.wait_healthy()
