"""Two doctors and a patient, a gateway and Orthanc: search, request, share, read, take back, by the command line."""

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import HONG, LEE, Made, demo_studies, long_ct
from tests.support.broker_process import free_port, wait_until
from tests.support.devices import RunningDevice
from tests.support.gateways import RunningGateway, program
from tests.support.pacs import Modality, Orthanc

pytestmark = [pytest.mark.peer("Orthanc"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    return demo_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, made: list[Made]) -> Iterator[Orthanc]:
    """It has all studies; the gateway none."""
    with Orthanc(tmp_path_factory.mktemp("pacs") / "orthanc", [Modality("MPACS", free_port())]) as running:
        for study in made:
            running.put(study.files)
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[RunningGateway]:
    """D-1 attends all, D-2 nobody; both patients have profiles."""
    pacs = {"name": "main", "aet": orthanc.aet, "host": "127.0.0.1", "port": orthanc.port, "via": "get"}
    settings: dict[str, Any] = {
        "delivery": {"settle_s": 0.5, "head_s": 3.0},
        "pacs": [pacs],
        "access": {"release": "manual"},
    }
    with RunningGateway(tmp_path_factory.mktemp("core") / "state", settings=settings) as running:
        running.cli("profile", "add", "doctor", "D-1", "--name", "이^의사", "--attends", "*")
        running.cli("profile", "add", "doctor", "D-2", "--name", "Park^Doctor")
        running.cli("profile", "add", "patient", LEE.identifier)
        yield running


def ask(device: RunningDevice, *arguments: str) -> Any:
    return json.loads(device.call(*arguments, "--json"))


def refused(device: RunningDevice, *arguments: str) -> str:
    done = subprocess.run(
        [program("mpacs-device"), *arguments, "--state", str(device.folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done
    return done.stderr


def uids(device: RunningDevice) -> set[str]:
    return {study["StudyInstanceUID"] for study in device.studies()}


def of(studies: list[Made], orthanc: Orthanc, patient: str) -> list[Made]:
    ids = [one["MainDicomTags"]["StudyInstanceUID"] for one in orthanc.rest("/studies?expand")
           if one["PatientMainDicomTags"]["PatientID"] == patient]  # fmt: skip
    return [study for study in studies if study.StudyInstanceUID in ids]


def test_search_request_share_and_take_back(
    made: list[Made], orthanc: Orthanc, gateway: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the PACS has is found by a Korean name, lands complete, is shared, read, and taken back."""
    monkeypatch.setenv("COLUMNS", "240")  # wide enough for a table's words to stand whole
    first = RunningDevice(tmp_path / "first", gateway, "doctor:D-1")
    second = RunningDevice(tmp_path / "second", gateway, "doctor:D-2")
    patient = RunningDevice(tmp_path / "patient", gateway, f"patient:{LEE.identifier}")
    wanted = of(made, orthanc, LEE.identifier)[0]
    uid = str(wanted.StudyInstanceUID)
    with first, second, patient:
        for device in (first, second, patient):
            wait_until(lambda device=device: (device.folder / "control.sock").exists(), 30, "the device's process")
        found = ask(first, "search", "--name", "이영희")
        assert uid in {one["StudyInstanceUID"] for one in found["studies"]}
        assert all(one["pacs"] == ["main"] and not one["own"] for one in found["studies"])
        assert found["silent"] == []
        assert {one["PatientID"] for one in ask(first, "search")["studies"]} == {HONG.identifier, LEE.identifier}
        assert ask(second, "search")["studies"] == []
        table = first.call("search", "--name", "이*")
        assert "이 영희" in table
        assert "main" in table

        assert ask(first, "request", uid) == {"StudyInstanceUID": uid, "state": "here"}
        study = first.wait_complete(len(wanted.files))
        assert study["StudyInstanceUID"] == uid
        # The second request touches no PACS: its log stands still.
        gets = orthanc.log.count("C-GET")
        finds = orthanc.log.count("C-FIND")
        assert ask(first, "request", uid, "--fetch")["state"] == "here"
        assert (orthanc.log.count("C-GET"), orthanc.log.count("C-FIND")) == (gets, finds)
        lies = {one["StudyInstanceUID"]: one for one in ask(first, "search", "--patient", LEE.identifier)["studies"]}
        assert (lies[uid]["own"], lies[uid]["pacs"]) == (True, ["main"])

        assert "no such study" in refused(second, "request", uid)
        assert refused(second, "request", uid) == refused(second, "request", "1.2.3.4")
        assert [one["id"] for one in ask(first, "directory")] == ["D-2"]
        ask(first, "share", uid, "--with", "doctor:D-2", "--until", "+1h")
        assert second.wait_complete(len(wanted.files))["StudyInstanceUID"] == uid
        ((loan,),) = [one["shared"] for one in second.studies()]
        assert loan["by"] == "이^의사" and 3300 < datetime.fromisoformat(loan["until"]).timestamp() - time.time() < 3700
        assert "shared by 이^의사 until" in " ".join(second.call("studies").split())
        assert all(not one["shared"] for one in first.studies())
        second.call("export", uid, "--to", str(tmp_path / "read"))

        def is_opened() -> bool:
            read = ask(first, "receipts", uid)
            return ("D-2", "opened") in {(one["id"], one["event"]) for one in read}

        wait_until(is_opened, 30, "a receipt of who opened it")
        ask(first, "unshare", uid, "--with", "doctor:D-2")
        wait_until(lambda: uids(second) == set(), 30, "it leaves the other's device")
        assert uids(first) == {uid}


def test_the_patient_sees_what_is_released(
    made: list[Made], orthanc: Orthanc, gateway: RunningGateway, tmp_path: Path
) -> None:
    """Held back until a doctor releases it; emergency access opens what is not one's own, for a time."""
    first = RunningDevice(tmp_path / "first", gateway, "doctor:D-1")
    second = RunningDevice(tmp_path / "second", gateway, "doctor:D-2")
    patient = RunningDevice(tmp_path / "patient", gateway, f"patient:{LEE.identifier}")
    uid = str(of(made, orthanc, LEE.identifier)[0].StudyInstanceUID)
    ask(first, "request", uid, "--fetch")
    assert ask(patient, "search", "--patient", LEE.identifier)["studies"] == []
    patient.call("run", "--once")
    assert uids(patient) == set()
    assert "no such study" in refused(patient, "request", uid)
    assert "no such study" in refused(second, "release", uid)
    ask(first, "release", uid)
    patient.call("run", "--once")
    assert uids(patient) == {uid}
    assert ask(second, "search")["studies"] == []
    granted = ask(second, "break-glass", LEE.identifier, "--reason", "응급")
    assert granted["until"] > time.time() * 1000
    assert uid in {one["StudyInstanceUID"] for one in ask(second, "search")["studies"]}
    trail = gateway.cli("audit", "show", json=True)
    assert {"break-glass", "released", "search", "retrieve"} <= {one["event"] for one in trail}


def test_commands_connect_by_themselves(
    made: list[Made], orthanc: Orthanc, gateway: RunningGateway, tmp_path: Path
) -> None:
    """Without a running process a command connects for a moment; what it asked for comes with the next run."""
    device = RunningDevice(tmp_path / "alone", gateway, "doctor:D-1")
    device.call("run", "--once")
    wanted = of(made, orthanc, HONG.identifier)[0]
    uid = str(wanted.StudyInstanceUID)
    assert uid in {one["StudyInstanceUID"] for one in ask(device, "search", "--name", "hong*")["studies"]}
    ask(device, "request", uid)
    device.call("run", "--once")
    assert uid in uids(device)
    assert "no such doctor" in refused(device, "share", uid, "--with", "doctor:NOBODY")


def test_a_pacs_that_is_down_is_said(orthanc: Orthanc, gateway: RunningGateway, tmp_path: Path) -> None:
    """What is here is found and usable; what is not is not guessed."""
    device = RunningDevice(tmp_path / "down", gateway, "doctor:D-1")
    with device:
        wait_until(lambda: (device.folder / "control.sock").exists(), 30, "the device's process")
        here = {one["StudyInstanceUID"] for one in ask(device, "search")["studies"] if one["own"]}
        assert here
        orthanc.kill()
        try:
            found = ask(device, "search")
            assert found["silent"] == ["main"]
            assert {one["StudyInstanceUID"] for one in found["studies"]} == here
            assert ask(device, "request", min(here), "--fetch")["state"] == "here"
            assert "does not answer" in refused(device, "request", "1.2.3.4")
        finally:
            orthanc.start()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_300_slices_that_only_the_pacs_has(orthanc: Orthanc, gateway: RunningGateway, tmp_path: Path) -> None:
    """Asked for by a device, told of as they come, and complete on it; asked for again they touch no PACS."""
    study = long_ct(tmp_path, 300)
    orthanc.put(study.files)
    uid = str(study.StudyInstanceUID)
    device = RunningDevice(tmp_path / "device", gateway, "doctor:D-1")
    with device:
        wait_until(lambda: (device.folder / "control.sock").exists(), 30, "the device's process")
        # A PACS that was away is given a rest before it is asked again.
        wait_until(lambda: ask(device, "search")["silent"] == [], 60, "the PACS is asked again")
        assert ask(device, "request", uid)["state"] == "here"
        wait_until(lambda: any(is_whole(one, 300) for one in device.studies()), 600, "all slices")
        gets = orthanc.log.count("C-GET")
        assert ask(device, "request", uid, "--fetch")["state"] == "here"
        assert orthanc.log.count("C-GET") == gets


def is_whole(study: dict[str, Any], pictures: int) -> bool:
    layers = [series["layers"].get("display", {"complete": False, "frames": 0}) for series in study["series"]]
    return sum(layer["frames"] for layer in layers if layer["complete"]) == pictures
