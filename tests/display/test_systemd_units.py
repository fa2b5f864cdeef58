"""The units as systemd reads them; here it is not PID 1, so they are looked at, not run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "configs/systemd").glob("*.service"))
MOST_EXPOSED = 2.0

pytestmark = pytest.mark.peer("systemd-analyze")


@pytest.fixture
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit, with a program that is there in place of ours."""
    text = re.sub(r"/opt/mpacs/\.venv/bin/[a-z-]+", str(shutil.which("true")), request.param.read_text())
    path = tmp_path / request.param.name
    path.write_text(text)
    return path


def test_there_is_one_for_each_service() -> None:
    assert [path.name for path in UNITS] == ["mpacs-broker.service", "mpacs-display.service", "mpacs-gateway.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem, indirect=True)
def test_systemd_understands_all_of_it(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and unit.name not in done.stderr, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem, indirect=True)
def test_little_is_exposed(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= MOST_EXPOSED
