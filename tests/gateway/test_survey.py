"""``mpacs-gateway survey``: what was rendered, what was refused and why, and against DCMTK."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom.data import get_testdata_file

from gateway.cli import main
from gateway.management.rendering import survey
from gateway.management.workers import RenderPool
from tests.support.workers import render_workers


def folder_of(names: list[str], folder: Path) -> Path:
    folder.mkdir()
    for name in names:
        found = get_testdata_file(name, download=False)
        assert isinstance(found, str), f"{name} is not installed"
        shutil.copy(found, folder / name)
    return folder


def test_a_table_and_its_sums(tmp_path: Path) -> None:
    folder = folder_of(
        ["CT_small.dcm", "rtplan.dcm", "MR_truncated.dcm", "emri_small.dcm", "reportsi.dcm"], tmp_path / "files"
    )
    (folder / "letter.txt").write_text("not DICOM")
    done = CliRunner().invoke(main, ["survey", str(folder), "--json", "--all-frames"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    results = {Path(each["path"]).name: each["result"] for each in found["files"]}
    assert results == {
        "CT_small.dcm": "rendered", "rtplan.dcm": "no-pixels", "MR_truncated.dcm": "decode",
        "emri_small.dcm": "rendered", "letter.txt": "malformed", "reportsi.dcm": "report",
    }  # fmt: skip
    assert found["summary"]["results"]["rendered"] == 2
    assert found["summary"]["frames"] == 11
    assert found["summary"]["workers_left_behind"] == 0
    assert all(20 < each["peak_mb"] < 600 for each in found["files"]), "memory of a Python process"
    told = CliRunner().invoke(main, ["survey", str(folder), "--refused"]).output
    assert "rtplan.dcm" in told
    assert "CT_small.dcm" not in told and "reportsi.dcm" not in told
    assert "a DICOM file with neither picture nor report" in told
    assert not render_workers()


def test_workers_that_still_run_are_counted() -> None:
    async def scenario() -> None:
        plan = survey.Survey()
        async with RenderPool(1) as pool:
            plan.seen.update(pool.pids)
            plan.seen.add(os.getpid())  # no worker, though it runs
            assert plan.left_behind == 1
        assert plan.left_behind == 0

    asyncio.run(scenario())


@pytest.mark.peer("dcmtk")
def test_against_dcmtk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["CT_small.dcm", "JPEG2000.dcm", "emri_small.dcm", "rtdose_expb_1frame.dcm"]
    arguments = ["survey", str(folder_of(names, tmp_path / "files")), "--json", "--against", "dcmj2pnm"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    found = {Path(each["path"]).name: each["against"] for each in json.loads(done.stdout)["files"]}
    assert found["CT_small.dcm"]["worst"] <= 1
    assert found["emri_small.dcm"]["frames"] == 10
    assert found["JPEG2000.dcm"] == {"failed": "peer"}
    assert found["rtdose_expb_1frame.dcm"]["clause"].startswith("PS3.5")
    monkeypatch.setattr(survey, "known_differences", dict)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1, "a difference that nothing explains"
    assert json.loads(done.stdout)["summary"]["differ"] == 1


def test_a_comparing_process_that_falls_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(["CT_small.dcm", "MR_small.dcm"], tmp_path / "files")
    monkeypatch.setattr(survey.sys, "executable", shutil.which("false"))
    monkeypatch.setattr(survey, "RenderPool", _Renders)
    outcomes = asyncio.run(survey.Survey(workers=1, against=True).run(survey.files([folder])))
    assert [each.against for each in outcomes] == [{"failed": "ours"}] * 2


class _Renders:
    """A pool that makes one empty list of pictures: only the comparer is looked at here."""

    pids: tuple[int, ...] = ()

    def __init__(self, *_: object) -> None: ...

    async def __aenter__(self) -> _Renders:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def render(self, _job: object) -> object:
        for nothing in ():
            yield nothing
