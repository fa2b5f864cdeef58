"""The PACS service in this process, over a state folder of its own; and studies to put into a PACS."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import yaml
from pydicom.data import get_testdata_file

from gateway import app
from gateway import config as configuration
from gateway.app_pacs import pacs_service
from gateway.config import Config
from gateway.management.entrance import Entrance
from gateway.management.index import retrieved
from gateway.middleware.intake import run_intake
from gateway.middleware.pacs.query import Retrieved
from gateway.middleware.pacs.retrieval import Scope
from gateway.middleware.pacs.service import PacsService
from gateway.middleware.scp_settings import ScpSettings
from tests.support.broker_process import free_port
from tests.support.pacs import Orthanc, Qrscp

STUDY = "1.2.826.0.1.3680043.8.498.1"
HONG = "Hong^Gildong=洪^吉洞=홍^길동"


def make_study(
    folder: Path,
    per_series: Sequence[int] = (3, 2),
    study: str = STUDY,
    patient: str = "P-1",
    name: str = HONG,
    side: int = 128,
    **more: Any,
) -> list[Path]:
    """CT series of small slices in ISO 2022 IR 149; UIDs: STUDY.series.instance.

    ``side`` in pixels is a multiple of 128; ``more`` are values by keyword.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    data.SpecificCharacterSet = ["", "ISO 2022 IR 149"]
    tile = np.tile(data.pixel_array, (side // 128, side // 128))
    data.Rows = data.Columns = side
    data.PixelData = tile.tobytes()
    data.PatientName, data.PatientID, data.StudyInstanceUID = name, patient, study
    for keyword, value in more.items():
        setattr(data, keyword, value)
    files = []
    for series, count in enumerate(per_series, 1):
        data.SeriesInstanceUID, data.SeriesNumber = f"{study}.{series}", series
        for number in range(1, count + 1):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{study}.{series}.{number}"
            data.InstanceNumber = number
            files.append(folder / f"{study}.{series}.{number}.dcm")
            data.save_as(files[-1])
    return files


def settings_of(peer: Orthanc | Qrscp, way: str, **more: Any) -> dict[str, Any]:
    """An entry of the list ``pacs``: ``way`` is get, move or web."""
    if way == "web":
        assert isinstance(peer, Orthanc)
        return {"name": "main", "dicomweb": peer.dicomweb, "tries": 1, **more}
    place = {"aet": peer.aet, "host": "127.0.0.1", "port": peer.port}
    return {"name": "main", **place, "via": way, "tries": 1, "timeout_s": 20.0, **more}


@dataclass
class Desk:
    """A gateway's state without its processes."""

    state: app.State
    config: Config
    engine: Any
    service: PacsService

    def retrieve(self, study: str = STUDY, series: str = "", tell: Any = None, **more: Any) -> Retrieved:
        scope = Scope(study, series, more.get("pacs", ""), more.get("must_ask", False))
        return self.service.retrieve(scope, tell or (lambda _: None))

    def here(self, study: str = STUDY) -> set[str]:
        with self.engine.connect() as connection:
            return {uid for uid, is_here in retrieved.here(connection, study).items() if is_here}


@contextlib.contextmanager
def desk(folder: Path, *pacs: dict[str, Any], intake: ScpSettings | None = None, **sections: Any) -> Iterator[Desk]:
    """A state folder with these PACS; with ``intake`` also a storage SCP, to which C-MOVE sends."""
    state = app.State(folder)
    app.init(state, Config(site="desk", https=configuration.Https(port=free_port())))
    path = folder / configuration.FILE_NAME
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "pacs": list(pacs), **sections}))
    config, opened, _ = app.open_registry(state)
    with contextlib.ExitStack() as stack:
        stack.callback(opened.dispose)
        if intake is not None:
            stack.enter_context(_intake(state, opened, intake))
        service = stack.enter_context(pacs_service(state, config, opened))
        yield Desk(state, config, opened, service)


@contextlib.contextmanager
def _intake(state: app.State, opened: Any, settings: ScpSettings) -> Iterator[None]:
    entrance = Entrance(opened, lambda: None)
    stop, ready = threading.Event(), threading.Event()
    arguments = (settings, state.archive, entrance.on_arrival, entrance.settle, entrance.on_refused)
    options = {"on_commitment": entrance.on_commitment}
    thread = threading.Thread(target=run_intake, args=(*arguments, lambda _: ready.set(), stop), kwargs=options)
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        stop.set()
        thread.join()


def take_in(folder: Path, files: Sequence[Path]) -> None:
    """Into the store of a gateway whose state is ``folder``, as an import would."""
    from gateway.app_import import doorway

    state = app.State(folder)
    _, opened, _ = app.open_registry(state)
    with doorway(state, opened) as (admission, _):
        for path in files:
            admission.admit_file(path, "test")
    opened.dispose()
