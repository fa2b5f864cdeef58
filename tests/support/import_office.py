"""The door of a gateway that does not run, and what came in by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset

from gateway import app
from gateway.app_import import doorway
from gateway.config import Config
from gateway.management.index import arrivals_quarantine, arrivals_read
from gateway.management.subjects import find_subject
from gateway.middleware.importing.importer import Importer, Report
from gateway.middleware.importing.subject import Subject, Wishes

KIM = Subject("P-1", "", "Kim^Min Su=金^民秀=김^민수", "19700101", "M")


@dataclass
class ImportOffice:
    """One state folder. Files are taken in this process, pictures decoded in their own."""

    folder: Path
    engine: Any = field(repr=False)
    admission: Any = field(repr=False)
    entrance: Any = field(repr=False)

    @property
    def archive(self) -> Path:
        return app.State(self.folder).archive

    def importer(self, subject: Subject | None = None, **options: Any) -> Importer:
        return Importer(self.admission, self.entrance.is_known, "test", subject, **options)

    def take(self, *paths: Path, subject: Subject | None = None, wishes: Wishes | None = None) -> list[Report]:
        return list(self.importer(subject, wishes=wishes).take(paths))

    def subject(self, patient: str = "", study: str = "", name: str = "", issuer: str = "") -> Subject:
        with self.engine.connect() as connection:
            return find_subject(connection, patient, study, name, issuer)

    def dataset(self, uid: str) -> FileDataset:
        """The instance's file, as any reader would read it."""
        return pydicom.dcmread(self.path(uid))

    def path(self, uid: str) -> Path:
        with self.engine.connect() as connection:
            row = arrivals_read.instance(connection, uid)
        assert row is not None
        return self.archive / row.path

    def counts(self) -> tuple[int, int]:
        """Instances that the index holds, and files that the archive does."""
        with self.engine.connect() as connection:
            instances = sum(study.NumberOfStudyRelatedInstances for study in arrivals_read.studies(connection))
        return instances, len(list(self.admission.archive.digests()))

    def quarantined(self) -> list[str]:
        with self.engine.connect() as connection:
            return [row.reason for row in arrivals_quarantine.list_quarantine(connection)]

    def left_over(self) -> list[Path]:
        """Temporary files that should be gone."""
        return list((self.archive / "spool").iterdir())


@contextmanager
def import_office(folder: Path) -> Iterator[ImportOffice]:
    """A state folder that was just made, and its door."""
    state = app.State(folder)
    config = Config(site="imports")
    app.init(state, config)
    engine = app.open_index(state, config)
    with doorway(state, engine) as (admission, entrance):
        yield ImportOffice(folder, engine, admission, entrance)
    engine.dispose()
