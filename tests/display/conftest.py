"""A ward with two studies of Korean patients, by real processes, once for all tests that only look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from benchmarks.studies import HONG, LEE, Made, long_ct
from tests.support.displays import RunningDisplay
from tests.support.gateways import RunningGateway
from tests.support.known import known_pictures  # noqa: F401  # for each module here

WARD = "3병동"


def in_bed(location: str, priority: str = "ROUTINE"):
    """What puts a header's patient there."""

    def change(dataset: Dataset) -> None:
        dataset.CurrentPatientLocation = location
        dataset.RequestedProcedurePriority = priority

    return change


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway with a ward that attends everybody."""
    with RunningGateway(
        tmp_path / "gateway", settings={"delivery": {"settle_s": 1.0}, "wards": {"blank_after_s": 900}}
    ) as gateway:
        gateway.cli("profile", "add", "ward", "W3", "--name", WARD, "--attends", "*")
        yield gateway


@pytest.fixture
def studies(ward: RunningGateway, tmp_path: Path) -> list[Made]:
    """Two series of CT, in the gateway."""
    made = [
        long_ct(tmp_path, 12, HONG, "first", change=in_bed("W3^301^2", "STAT")),
        long_ct(tmp_path, 6, LEE, "second", description="흉부 CT", change=in_bed("W3^302^1")),
    ]
    for one in made:
        ward.store(one.files)
    ward.wait_studies(2)
    return made


@pytest.fixture
def display(ward: RunningGateway, studies: list[Made], tmp_path: Path) -> Iterator[RunningDisplay]:
    """The ward's display, with all of it received; it runs."""
    with RunningDisplay(tmp_path / "display", ward, "ward:W3") as running:
        running.wait_line("complete", 2)
        yield running
