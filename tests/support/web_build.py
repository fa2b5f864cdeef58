"""The web application, or its engine alone, built for tests."""

import subprocess
from pathlib import Path

import pytest

import hatch_build

WEB = Path(__file__).parents[2] / "device_client" / "web"


def application() -> Path:
    """The application as a wheel holds it; skips where npm's registry is not to be had."""
    try:
        hatch_build.build(WEB)
    except hatch_build.BuildFailed as error:
        pytest.skip(str(error))
    return WEB / "dist"


def engine(folder: Path) -> Path:
    """A page without screens whose ``api`` is the engine, built into ``folder``; skips like ``application``."""
    try:
        npm, environment = hatch_build.install_packages(WEB)
    except hatch_build.BuildFailed as error:
        pytest.skip(str(error))
    arguments = ["exec", "--", "vite", "build", "--config", "test/engine/vite.config.ts", "--outDir", str(folder)]
    done = subprocess.run(
        [*npm, *arguments], cwd=WEB, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
