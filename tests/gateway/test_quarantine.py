"""The quarantine's commands: what is here and why, once more through the door or the renderer, or away with it."""

import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from click.testing import CliRunner
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from gateway.cli import main
from gateway.management.index import arrivals_quarantine, arrivals_read, layers
from gateway.management.index.arrivals_rows import ConflictKind
from gateway.management.quarantine import Item
from gateway.management.quarantine_advice import advice, meaning
from gateway.management.rendering.refusal import REASONS
from gateway.middleware.importing.importer import Outcome
from gateway.middleware.refusal import RefusalReason
from gateway.middleware.summary import summarise
from tests.support.gateways import RunningGateway
from tests.support.import_office import ImportOffice, import_office

CT = Path(str(get_testdata_file("CT_small.dcm")))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[ImportOffice]:
    with import_office(tmp_path / "state") as made:
        yield made


def cli(office: ImportOffice, *arguments: str, code: int = 0, said: str | None = None) -> Any:
    """``quarantine ARGUMENTS --json``: what it printed, parsed."""
    runner = CliRunner(env={"MPACS_STATE": str(office.folder)})
    result = runner.invoke(main, ["quarantine", *arguments, "--json"], input=said)
    assert result.exit_code == code, (result.stdout, result.stderr)
    return json.loads(result.stdout) if result.stdout else None


def refuse(office: ImportOffice, tmp_path: Path) -> None:
    """One file that ends inside an element."""
    (tmp_path / "cut.dcm").write_bytes(CT.read_bytes()[:1200])
    assert office.take(tmp_path / "cut.dcm")[0].outcome is Outcome.REFUSED


def keep_apart(office: ImportOffice, tmp_path: Path) -> None:
    """Other bytes under a UID that is known."""
    other = pydicom.dcmread(CT)
    other.SeriesDescription = "other"
    other.save_as(tmp_path / "other.dcm")
    assert [report.outcome for report in office.take(CT, tmp_path / "other.dcm")] == [Outcome.NEW, Outcome.APART]


def fail_rendering(office: ImportOffice) -> int:
    """The CT, as if no worker could render it."""
    with office.engine.begin() as connection:
        row = arrivals_read.instance(connection, str(pydicom.dcmread(CT).SOPInstanceUID))
        assert row is not None
        arrivals_quarantine.set_instance_state(connection, [row.id], "failed", "decode")
        layers.close(connection, "display", [row.id], "decode")
        layers.close(connection, "thumbnail", [row.id])
    return row.id


def test_all_kinds_are_listed_and_shown(office: ImportOffice, tmp_path: Path) -> None:
    refuse(office, tmp_path)
    keep_apart(office, tmp_path)
    fail_rendering(office)
    found = {one["what"]: one for one in cli(office, "list")}
    assert found.keys() == {"refused", "kept apart", "not rendered"}
    assert (found["refused"]["reason"], found["refused"]["size_bytes"]) == ("truncated", 1200)
    assert found["kept apart"]["reason"] == "conflict-bytes" and found["not rendered"]["reason"] == "decode"
    for one in found.values():
        shown = cli(office, "show", one["id"][:6])
        assert shown["header"]["TransferSyntaxUID"] == "1.2.840.10008.1.2.1 (Explicit VR Little Endian)"
        assert shown["header"]["Modality"] == "CT" and ("Rows" in shown["header"]) == (one["what"] != "refused")
        assert "CompressedSamples" not in str(shown) and "1.3.6.1.4.1.5962" not in str(shown)
        assert shown["kind"] == "dicom" and shown["advice"] and shown["meaning"]
        if one["what"] == "not rendered":
            assert shown["header"]["SOPClassUID"] == "1.2.840.10008.5.1.4.1.1.2 (CT Image Storage)"
            assert (
                shown["meaning"] == "the pixel data is damaged, or does not fit what the header says of it"
                and "sent again" in shown["advice"]
            )
            assert shown["layers"] == {"display": "decode", "thumbnail": "made"}
        with_identity = cli(office, "show", one["id"], "--identity")
        assert with_identity["header"]["PatientName"] == "CompressedSamples^CT1"
    assert cli(office, "show", "ffff", code=1) is None and cli(office, "show", "", code=1) is None


def test_each_reason_has_its_meaning_and_its_advice() -> None:
    for reason in REASONS:
        item = Item("d", "not rendered", reason, "", "", 0, 1, 1, "", 1)
        assert meaning(item) and advice(item) != advice(replace(item, reason="?")), reason
    for refusal in RefusalReason:
        if refusal.quarantined:
            item = Item("d", "refused", refusal.value, "", "", 0, 1, 1, "", 1)
            assert advice(item) != advice(replace(item, reason="?")), refusal
    for conflict in ConflictKind:
        item = Item("d", "kept apart", f"conflict-{conflict.value}", "", "", 0, 1, 1, "", 1)
        assert advice(item) != advice(replace(item, reason="?")), conflict


def test_a_refused_file_is_refused_again_or_taken(office: ImportOffice, tmp_path: Path) -> None:
    refuse(office, tmp_path)
    (row,) = cli(office, "retry", "--all", code=1)
    assert row["outcome"] == "refused" and "ends inside" in row["why"]
    (item,) = cli(office, "list")
    assert item["times"] == 2
    # As if this version read what an earlier one did not.
    shutil.copy(CT, office.archive / item["path"])
    assert [row["outcome"] for row in cli(office, "retry", item["id"])] == ["new"]
    assert cli(office, "list") == [] and office.counts() == (1, 1)
    assert not list((office.archive / "quarantine").glob("*/*.dcm"))


def test_what_was_kept_apart_stays_apart_until_it_is_dropped(office: ImportOffice, tmp_path: Path) -> None:
    keep_apart(office, tmp_path)
    assert [row["outcome"] for row in cli(office, "retry", "--all")] == ["kept apart"]
    (item,) = cli(office, "list")
    assert cli(office, "drop", item["id"], code=1, said="n\n") is None
    assert len(cli(office, "list")) == 1
    assert cli(office, "drop", item["id"], said="y\n")[0]["outcome"] == "dropped"
    assert cli(office, "list") == [] and office.counts() == (1, 1)
    assert office.take(CT)[0].outcome is Outcome.KNOWN


def test_an_instance_that_was_not_rendered_is_queued_or_dropped(office: ImportOffice) -> None:
    office.take(CT)
    instance = fail_rendering(office)
    assert [row["outcome"] for row in cli(office, "retry", "--all")] == ["queued"]
    with office.engine.connect() as connection:
        row = arrivals_read.instance(connection, str(pydicom.dcmread(CT).SOPInstanceUID))
    assert row is not None and (row.id, row.state) == (instance, "received")
    fail_rendering(office)
    cli(office, "drop", "--all", "--yes")
    assert cli(office, "list") == [] and office.counts() == (1, 0)
    assert office.take(CT)[0].outcome is Outcome.NEW and office.counts() == (1, 1)


def test_usage(office: ImportOffice, tmp_path: Path) -> None:
    refuse(office, tmp_path)
    cli(office, "retry", code=2)
    cli(office, "drop", "abc", "--all", code=2)
    (item,) = cli(office, "list")
    (office.archive / item["path"]).unlink()
    assert cli(office, "show", item["id"])["header"] == {"unreadable": "its file is gone"}
    assert cli(office, "retry", item["id"], code=1)[0]["outcome"] == "gone"
    cli(office, "drop", item["id"], "--yes")
    assert cli(office, "list") == []


@pytest.mark.corpus
@pytest.mark.filterwarnings("ignore")
def test_a_summary_of_anything_raises_nothing() -> None:
    root = Path(os.environ["MPACS_CORPUS"])
    for path in [*(root / "malformed").rglob("*"), *(root / "charset").rglob("*")]:
        if path.is_file():
            assert all(isinstance(value, str) for value in summarise(path, with_identity=True).values())


def _photo(path: Path, frame: bytes) -> None:
    """The CT's header around one JPEG frame."""
    made = pydicom.dcmread(CT)
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.Rows = made.Columns = 64
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.save_as(path)


def test_a_running_gateway_renders_what_is_retried(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 99).save(buffer, "JPEG")
    _photo(tmp_path / "good.dcm", buffer.getvalue())
    _photo(tmp_path / "bad.dcm", b"\xff\xd8 no picture \xff\xd9")
    with RunningGateway(tmp_path / "state") as gateway:
        gateway.store([tmp_path / "bad.dcm"])
        gateway.wait_studies(lambda studies: bool(studies) and "failed" in studies[0]["instances"])
        (item,) = gateway.cli("quarantine", "list", json=True)
        assert item["what"] == "not rendered" and item["reason"] == "decode"
        # As if this version decoded what an earlier one did not.
        shutil.copy(tmp_path / "good.dcm", gateway.folder / "archive" / item["path"])
        assert [row["outcome"] for row in gateway.cli("quarantine", "retry", item["id"], json=True)] == ["queued"]
        gateway.wait_studies(lambda studies: "rendered" in studies[0]["instances"])
        assert gateway.cli("quarantine", "list", json=True) == []
