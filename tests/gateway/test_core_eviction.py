"""A gateway whose stores are far too small, seen from a device: what was evicted is made again, or said to be gone."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from benchmarks.studies import Made, demo_studies
from gateway.management.index import retrieved
from gateway.management.index.engine import open_index
from tests.support.broker_process import free_port, wait_until
from tests.support.gateway_devices import WireDevice, header_of
from tests.support.gateways import RunningGateway
from tests.support.pacs import Modality, Orthanc
from tests.support.pacs_desk import settings_of
from wire.messages import Done, Gone, ObjectEntry, Order, Refused
from wire.names import encode_reference

SETTINGS = {"delivery": {"settle_s": 0.5, "head_ward_s": 2.0, "head_s": 3.0}, "store": {"reserve_gb": 0.001}}
TINY_GB = 1e-6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return min(demo_studies(tmp_path_factory.mktemp("studies")), key=lambda one: len(one.files))


@pytest.fixture
def gateway(tmp_path: Path, made: Made) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path / "state", settings=SETTINGS) as running:
        running.cli("profile", "add", "doctor", "D-1", "--attends", "*")
        running.store(made.files)
        running.wait_studies(1)
        yield running


def parts(gateway: RunningGateway) -> dict[str, dict[str, object]]:
    return {part["part"]: part for part in json.loads(gateway.run_cli("status", "--json").stdout)}


def squeeze(gateway: RunningGateway, **store: float) -> None:
    gateway.configure({"store": store})
    gateway.restart()


def doctor_of(gateway: RunningGateway) -> WireDevice:
    device = WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", "doctor:D-1", json=True)["uri"]).connect()
    device.sync()
    device.wait(lambda: device.is_current() and device.current(), "all announcements")
    return device


def another(made: Made, path: Path) -> Path:
    """One more instance of the study."""
    data = pydicom.dcmread(made.files[0])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{made.StudyInstanceUID}.99"[-64:].strip(".")
    data.save_as(path)
    return path


def displays(device: WireDevice) -> list[ObjectEntry]:
    return [one for announcement in device.current().values() for one in announcement.objects if one.layer == "display"]


def test_an_evicted_object_is_gone_and_made_again(gateway: RunningGateway) -> None:
    detail = str(parts(gateway)["objects"]["detail"])
    assert detail.endswith(" GB") and parts(gateway)["archive"]["healthy"]
    squeeze(gateway, objects_gb=TINY_GB)
    objects = gateway.folder / "objects"
    wait_until(lambda: not list(objects.glob("*/*.sealed")), 30, "everything is evicted")
    assert "announcement window" in str(parts(gateway)["objects"]["detail"])
    assert gateway.run_cli("status").returncode == 1
    squeeze(gateway, objects_gb=1.0)
    assert not list(objects.glob("*/*.sealed")), "a restart makes nothing of what nobody wants"
    device = doctor_of(gateway)
    try:
        before = {one.object for one in displays(device)}
        entry = displays(device)[0]
        assert device.ask(device.want(entry, [(0, 0)])) == Gone(object=entry.object)

        def made_again() -> list[ObjectEntry]:
            return [one for one in displays(device) if one.object not in before]

        device.wait(lambda: device.is_current() and made_again(), "it is announced under a new id", 60)
        fresh = made_again()[0]
        assert header_of(fresh, device.fetch(fresh)).parts
        assert f"{encode_reference(fresh.object)}.sealed" in {path.name for path in objects.glob("*/*.sealed")}
    finally:
        device.stop()


@pytest.mark.peer("Orthanc")
def test_an_evicted_study_comes_again_from_the_pacs(tmp_path: Path, made: Made) -> None:
    port = free_port()
    with Orthanc(tmp_path / "orthanc", [Modality("MPACS", port)]) as pacs:
        pacs.put(made.files)
        store = {**SETTINGS["store"], "archive_gb": TINY_GB, "objects_gb": TINY_GB}
        settings = {**SETTINGS, "store": store, "pacs": [settings_of(pacs, "get")]}
        with RunningGateway(tmp_path / "state", settings=settings, dicom_port=port) as gateway:
            gateway.cli("profile", "add", "doctor", "D-1", "--attends", "*")
            gateway.store(made.files)
            gateway.wait_studies(1)
            for files in ("archive/**/*.dcm", "objects/**/*.sealed"):
                wait_until(lambda: not list(gateway.folder.glob(files)), 30, "everything is evicted")  # noqa: B023
            squeeze(gateway, archive_gb=1.0, objects_gb=1.0)
            device = doctor_of(gateway)
            try:
                (study,) = device.current().values()
                recipient = device.welcome.enrolled.recipients[0].recipient
                order = Order(kind="doctor", recipient=recipient, study=study.study, layer="original", series=[])
                assert device.ask(order) == Refused(reason="busy")
                wait_until(lambda: isinstance(device.ask(order), Done), 60, "the files came")
                before = {one.object for one in displays(device)}
                entry = displays(device)[0]
                assert device.ask(device.want(entry, [(0, 0)])) == Gone(object=entry.object)
                device.wait(
                    lambda: any(one.object not in before for one in displays(device)), "its pictures are made again", 60
                )
                # A fetch that was cut left one instance out: the next order has it fetched, without being told to.
                pacs.put([another(made, tmp_path / "another.dcm")])
                with open_index(gateway.folder / "index.db").begin() as connection:
                    retrieved.note_begun(connection, made.StudyInstanceUID, "", "main")
                assert [one["incomplete"] for one in gateway.cli("studies", json=True)] == [True]
                assert device.ask(order) == Refused(reason="busy")
                wait_until(lambda: isinstance(device.ask(order), Done), 60, "the rest came")
                (whole,) = gateway.cli("studies", json=True)
                noted = gateway.cli("audit", "show", "--event", "retrieve", "--who", "gateway", json=True)
                assert noted and noted[0]["patient"] == whole["PatientID"] and noted[0]["whom"] == "pacs:main"
                assert (whole["incomplete"], whole["NumberOfStudyRelatedInstances"]) == (False, len(made.files) + 1)
            finally:
                device.stop()


@pytest.mark.long
def test_an_evicted_study_is_gone_until_it_comes_again(gateway: RunningGateway, made: Made) -> None:
    sent = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (gateway.folder / "archive").rglob("*.dcm")}
    assert len(sent) == len(made.files)
    squeeze(gateway, archive_gb=TINY_GB)
    wait_until(lambda: not list((gateway.folder / "archive").rglob("*.dcm")), 30, "everything is evicted")
    squeeze(gateway, archive_gb=1.0)
    device = doctor_of(gateway)
    try:
        (study,) = device.current().values()
        recipient = device.welcome.enrolled.recipients[0].recipient
        order = Order(kind="doctor", recipient=recipient, study=study.study, layer="original", series=[])
        assert device.ask(order) == Refused(reason="gone")
        # What was made of it is served as before.
        assert header_of(displays(device)[0], device.fetch(displays(device)[0])).parts
        gateway.store(made.files)
        gateway.wait_studies(1)
        assert isinstance(device.ask(order), Done)
        device.wait(
            lambda: any(one.layer == "original" for found in device.current().values() for one in found.objects),
            "the files are offered",
        )
        found = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (gateway.folder / "archive").rglob("*.dcm")}
        assert len(found) == len(made.files)
    finally:
        device.stop()
