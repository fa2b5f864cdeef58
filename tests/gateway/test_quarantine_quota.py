"""The quarantine within its quota: the oldest go first, nothing is left on the disk, and it is said."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import config
from gateway.management.index import arrivals_quarantine
from gateway.management.quarantine_quota import QuarantineQuota
from gateway.management.quota import limits_of
from gateway.middleware.archive import Archive
from gateway.middleware.refusal import Refusal, RefusalReason
from tests.support.gateway_office import Office

FILE_BYTES = 1000


class Refused:
    """Files of a thousand bytes that were refused one after the other."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.office = Office(folder / "state")
        self.archive = Archive(folder / "archive")
        self.quota = QuarantineQuota(self.office.engine, self.archive, limit)
        self.digests: list[str] = []

    def add(self, is_entered: bool = True) -> str:
        spool = self.archive.spool()
        spool.write_meta(f"{len(self.digests)}".encode().ljust(FILE_BYTES, b"."), "1.2.840.10008.1.2.1")
        kept = self.archive.quarantine(spool)
        self.digests.append(kept.digest)
        refusal = Refusal(RefusalReason.TRUNCATED, kept.digest, kept.path, "cut", kept.size_bytes)
        if is_entered:
            with self.office.engine.begin() as connection:
                arrivals_quarantine.add_quarantine(connection, refusal, float(len(self.digests)))
        return kept.digest

    @property
    def listed(self) -> list[str]:
        with self.office.engine.connect() as connection:
            return sorted(row.digest for row in arrivals_quarantine.list_quarantine(connection))

    @property
    def on_disk(self) -> list[str]:
        return sorted(digest for digest, _ in self.archive.quarantined())


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Refused]:
    made = Refused(tmp_path, 20 * FILE_BYTES)
    with made.office:
        yield made


def test_what_fits_stays(refused: Refused) -> None:
    for _ in range(20):
        refused.add()
    refused.quota.hold()
    assert refused.listed == refused.on_disk == sorted(refused.digests)
    assert refused.quota.status() == {"used": 20_000, "files": 20, "dropped": 0, "quota": 20_000}


def test_the_oldest_go_first_and_it_is_said(refused: Refused, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(200):
        refused.add()
    with caplog.at_level(logging.WARNING):
        refused.quota.hold()
    assert refused.listed == refused.on_disk == sorted(refused.digests[-19:]), "95 % of the quota"
    assert refused.quota.status() == {"used": 19_000, "files": 19, "dropped": 181, "quota": 20_000}
    assert [record.getMessage()[:38] for record in caplog.records] == ["181 refused files were dropped, the old"[:38]]
    refused.quota.hold()
    assert refused.quota.status()["dropped"] == 181, "once it fits nothing more goes"


def test_a_file_above_the_quota_goes_alone(tmp_path: Path) -> None:
    refused = Refused(tmp_path, FILE_BYTES // 2)
    with refused.office:
        refused.add()
        refused.quota.hold()
        assert refused.listed == refused.on_disk == []


def test_what_a_cut_left_is_swept_but_not_what_is_just_being_entered(refused: Refused) -> None:
    kept, stray, fresh = refused.add(), refused.add(is_entered=False), refused.add(is_entered=False)
    for digest in (kept, stray):
        long_ago = time.time() - 7200
        os.utime(refused.archive.quarantine_path(digest), (long_ago, long_ago))
    assert refused.quota.sweep() == 1
    assert refused.on_disk == sorted([kept, fresh])


def test_without_a_setting_it_is_a_share_of_the_disk(tmp_path: Path) -> None:
    assert 0 < limits_of(config.Store(), tmp_path).quarantine <= 5_000_000_000
    assert limits_of(config.Store(quarantine_gb=0.5), tmp_path).quarantine == 500_000_000
