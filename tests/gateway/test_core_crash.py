"""Processes of a whole gateway killed, its broker restarted, its disk filled: nothing twice, nothing lost."""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.studies import HONG, LEE, long_ct, real_file, relabel
from tests.support.broker_process import wait_until
from tests.support.gateway_devices import WireDevice
from tests.support.gateways import RunningGateway, Study, is_rendered
from wire.messages import Synced

SETTINGS = {"delivery": {"settle_s": 0.5, "head_ward_s": 5.0}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("crash") / "state", settings=SETTINGS) as running:
        running.cli("profile", "add", "ward", "W3", "--attends", "*")
        yield running


@pytest.fixture(scope="module")
def ward(gateway: RunningGateway) -> Iterator[WireDevice]:
    device = WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", "ward:W3", json=True)["uri"]).connect()
    yield device
    device.stop()


def index_rows(gateway: RunningGateway, query: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(f"sqlite:///{gateway.folder / 'index.db'}")
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sa.text(query))]
    engine.dispose()
    return rows


def check_frames(gateway: RunningGateway) -> None:
    """Every frame of every rendered instance stands in exactly one object of the layer display, and files fit rows."""
    stood: Counter[tuple[object, int]] = Counter()
    spans = index_rows(
        gateway,
        "select f.instance_id, f.first_frame, f.frame_count from object_frames f"
        " join objects o on o.object = f.object where o.layer = 'display'",
    )
    for instance, first, count in spans:
        assert isinstance(first, int) and isinstance(count, int)
        stood.update((instance, frame) for frame in range(first, first + count))
    assert set(stood.values()) <= {1}, "a frame stands in two objects"
    rendered = index_rows(gateway, "select id, \"NumberOfFrames\" from instances where state = 'rendered'")
    for instance, frames in rendered:
        assert isinstance(frames, int)
        assert all((instance, frame) in stood for frame in range(max(frames, 1)))
    rows = {str(name) for (name,) in index_rows(gateway, "select object from objects")}
    files = {path.name.partition(".")[0] for path in (gateway.folder / "objects").glob("*/*.sealed")}
    assert rows == files


def of(studies: list[Study], uid: str) -> Study | None:
    return next((study for study in studies if study["StudyInstanceUID"] == uid), None)


@pytest.mark.long
def test_core_killed_again_and_again_while_it_renders(gateway: RunningGateway, tmp_path: Path) -> None:
    study = long_ct(tmp_path, 110, HONG, "killed")
    gateway.store(study.files)
    frames: list[int] = []
    for _ in range(3):
        # Each time when it has made more than before: in mid-write, mid-index or mid-announcement.
        def went_on(least: int = frames[-1] if frames else 0) -> bool:
            found = of(gateway.studies(), study.StudyInstanceUID)
            made = found["layers"].get("display", {}).get("frames", 0) if found else 0
            frames.append(made)
            return made > least or (found is not None and is_rendered(found))

        wait_until(went_on, 60, "progress after a kill")
        before = gateway.kill("core")
        gateway.wait_part("core", not_pid=before)
    found = gateway.wait_studies(
        lambda studies: (one := of(list(studies), study.StudyInstanceUID)) is not None and is_rendered(one)
    )
    one = of(found, study.StudyInstanceUID)
    assert one is not None and one["layers"]["display"]["frames"] == 110 and one["instances"] == {"rendered": 110}
    gateway.wait_studies(lambda studies: all("thumbnail" in study["layers"] for study in studies))
    gateway.wait_healthy()
    check_frames(gateway)


def test_multi_frame_instance_over_several_objects_and_a_kill(gateway: RunningGateway, tmp_path: Path) -> None:
    import numpy as np
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = pydicom.dcmread(real_file("examples_ybr_color.dcm"))
    pixels = dataset.pixel_array[:, ::2, ::2]
    relabel(dataset, LEE, "cine", "1", 1, "a long cine")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    frames = np.concatenate([np.roll(pixels, shift, axis=1) for shift in range(3)])
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape[:3]
    dataset.PhotometricInterpretation = "RGB"
    dataset.set_pixel_data(np.ascontiguousarray(frames), "RGB", 8, generate_instance_uid=False)
    path = tmp_path / "cine.dcm"
    dataset.save_as(path, enforce_file_format=True)
    gateway.store([path])
    uid = str(dataset.StudyInstanceUID)

    def begun() -> bool:
        found = of(gateway.studies(), uid)
        return found is not None and "display" in found["layers"]

    wait_until(begun, 60, "a first object of the cine")
    gateway.wait_part("core", not_pid=gateway.kill("core"))
    found = gateway.wait_studies(lambda studies: (one := of(list(studies), uid)) is not None and is_rendered(one))
    one = of(found, uid)
    assert one is not None
    assert one["layers"]["display"]["frames"] == len(frames) and one["layers"]["display"]["objects"] >= 2
    check_frames(gateway)


def test_device_is_current_again_after_core_and_broker_fell(gateway: RunningGateway, ward: WireDevice) -> None:
    assert isinstance(ward.sync(), Synced)
    ward.wait(ward.is_current, "all announcements")
    sequence = max(head.sequence for head in ward.heads())
    gateway.wait_part("broker", not_pid=gateway.kill("broker"))
    assert ward.mqtt is not None
    connection = ward.mqtt
    connection.wait(lambda: connection.is_connected, "the device's connection")
    # A new broker has nothing; the gateway publishes key set, keys, heads and its presence again.
    late = WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", "ward:W3", json=True)["uri"]).connect()
    late.wait(lambda: late.heads(), "the retained head")
    assert late.mqtt is not None
    retained = late.mqtt.retained
    late.wait(lambda: {topic.rpartition("/")[2] for topic in retained} >= {"keys", "head"}, "what is retained")
    assert f"mpacs/1/{gateway.site}/gateway/keys" in retained
    assert max(head.sequence for head in late.heads()) > sequence
    assert isinstance(late.sync(), Synced)
    late.wait(late.is_current, "all announcements")
    assert late.current().keys() == ward.current().keys()
    gateway.wait_healthy()
    late.stop()


def test_broken_files_fail_alone_and_nothing_stays_pending(gateway: RunningGateway, tmp_path: Path) -> None:
    study = long_ct(tmp_path, 6, LEE, "broken")
    import pydicom

    for position in (1, 4):
        dataset = pydicom.dcmread(study.files[position])
        dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 3]
        dataset.save_as(study.files[position], enforce_file_format=True)
    gateway.store(study.files)
    found = gateway.wait_studies(
        lambda studies: (one := of(list(studies), study.StudyInstanceUID)) is not None and is_rendered(one)
    )
    one = of(found, study.StudyInstanceUID)
    assert one is not None
    assert one["instances"] == {"rendered": 4, "failed": 2}
    assert one["layers"]["display"]["frames"] == 4
    reasons = index_rows(gateway, "select reason from instances where state = 'failed'")
    assert len(reasons) == 2 and all(reason for (reason,) in reasons)


def test_killing_the_supervisor_leaves_no_process(gateway: RunningGateway, ward: WireDevice) -> None:
    pids = gateway.all_pids()
    assert len(pids) >= 5
    began = time.monotonic()
    gateway.kill("supervisor")
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 15, "all processes are gone")
    gone_s = time.monotonic() - began
    # And the same state folder starts again at once, whatever is left of the first.
    gateway.start()
    assert gone_s < 10
    gateway.wait_healthy()
    assert isinstance(ward.sync(), Synced)
    check_frames(gateway)


def test_sigterm_ends_all_within_seconds(gateway: RunningGateway) -> None:
    pids = gateway.all_pids()
    began = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - began < 8
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    gateway.start()
    gateway.wait_healthy()
    assert "Traceback" not in gateway.log, gateway.log


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_is_survived_shown_and_overcome(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    study = long_ct(tmp_path, 24, HONG, "full")
    try:
        with RunningGateway(disk / "state", settings=SETTINGS) as gateway:
            gateway.cli("profile", "add", "ward", "W3", "--attends", "*")
            ballast = disk / "ballast"
            # Room for the study, not for its pictures.
            free = shutil.disk_usage(disk).free - 26 * 1024 * 1024
            with ballast.open("wb") as file:
                file.write(bytes(max(free, 0)))
            gateway.store(study.files)
            core = gateway.pids()["core"]

            def shown() -> bool:
                return "No space left" in gateway.run_cli("status").stdout

            wait_until(shown, 30, "the trouble in status")
            before = gateway.cpu_s("core")
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > 2, 5, "two seconds")
            assert gateway.cpu_s("core") - before < 1, "it spins on a full disk"
            assert gateway.pids()["core"] == core, "the core ended"
            ballast.unlink()
            found = gateway.wait_studies(1)
            assert found[0]["layers"]["display"]["frames"] == 24
            assert gateway.pids()["core"] == core
            gateway.wait_healthy()
            check_frames(gateway)
            assert "Traceback" not in gateway.log, gateway.log
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
