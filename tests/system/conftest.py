"""Studies and a gateway for the tests of the whole system."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.studies import Made, long_ct
from tests.support.gateways import RunningGateway

SLICES = 300 if os.environ.get("MPACS_LONG") else 160


@pytest.fixture(scope="session")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A long CT, written once."""
    return long_ct(tmp_path_factory.mktemp("ct"), SLICES)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway with a doctor who attends everybody, and another who attends nobody."""
    with RunningGateway(tmp_path / "gateway") as running:
        running.cli("profile", "add", "doctor", "D1", "--attends", "*")
        running.cli("profile", "add", "doctor", "D2")
        yield running
