"""What a ward's devices never get, with real processes: pictures that may have a name burned in."""

from pathlib import Path

import pydicom

from benchmarks.studies import HONG, long_ct, real_file
from tests.support.gateway_devices import WireDevice, attributes_of
from tests.support.gateways import RunningGateway
from wire.messages import Gone


def test_a_ward_gets_the_ct_of_a_study_and_not_its_ultrasound(gateway: RunningGateway, tmp_path: Path) -> None:
    gateway.cli("profile", "add", "ward", "W1", "--attends", HONG.identifier)
    ct = long_ct(tmp_path, 4)
    echo = pydicom.dcmread(real_file("examples_ybr_color.dcm"))
    assert "BurnedInAnnotation" not in echo
    echo.SpecificCharacterSet = "ISO_IR 192"
    echo.StudyInstanceUID, echo.PatientID, echo.PatientName = ct.StudyInstanceUID, HONG.identifier, HONG.name
    echo.PatientBirthDate, echo.IssuerOfPatientID = HONG.birth_date, ""
    echo.save_as(tmp_path / "echo.dcm", enforce_file_format=True)
    gateway.store([*ct.files, tmp_path / "echo.dcm"])
    gateway.wait_studies(1)
    ward, doctor = (
        WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", one, json=True)["uri"]).connect()
        for one in ("ward:W1", "doctor:D1")
    )
    for device in (ward, doctor):
        device.sync()
        device.wait(lambda device=device: device.is_current() and device.current(), "the study")  # type: ignore[misc]
    (to_ward,), (to_doctor,) = ward.current().values(), doctor.current().values()
    modalities = [one["00080060"]["Value"] for one in attributes_of(to_ward)["series"]]
    assert modalities == [["CT"]]
    assert len(attributes_of(to_doctor)["series"]) == 2
    theirs = {one.object for one in to_ward.objects}
    assert theirs and theirs < {one.object for one in to_doctor.objects}
    # Nor does it get one of which it knows the name.
    for entry in to_doctor.objects:
        if entry.object not in theirs:
            assert isinstance(ward.ask(ward.want(entry, [(0, 0)])), Gone)
    for device in (ward, doctor):
        device.stop()
