"""Role by request by relation, through a gateway that runs and devices on the wire: each answer, and its audit line."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import Engine

from benchmarks.studies import LEE, long_ct
from device_client.sending import pack
from gateway.cli import main
from gateway.management.access import TABLE, Op, Relation
from gateway.management.index import trail
from gateway.management.index.engine import open_index
from tests.support.gateway_devices import WireDevice
from tests.support.gateways import RunningGateway
from wire import asks
from wire.messages import Done, Gone, ObjectEntry, Order, Receipt, Refused, Synced
from wire.names import decode_reference, encode_reference

COLUMNS: list[tuple[str, Relation]] = [
    (f"patient:{LEE.identifier}", "own"), ("patient:P-NONE", "none"),
    ("doctor:D-ATT", "attending"), ("doctor:D-REF", "referring"), ("doctor:D-EMG", "emergency"),
    ("doctor:D-SHR", "shared"), ("doctor:D-NON", "none"),
    ("ward:W-LIE", "ward"), ("ward:W-ATT", "attending"), ("ward:W-SHR", "shared"), ("ward:W-NON", "none"),
]  # fmt: skip
# As docs/operating.md says it: the patient, another; a doctor who attends, refers, in an emergency, by a share, none;
# the ward where the patient lies, one that attends, one by a share, another.
MATRIX: dict[str, str] = {
    "sync":           "++ +++++ ++++",
    "want":           "+- ++++- +++-",
    "receipt":        "+- ++++- +++-",
    "order display":  "+- +++-- +++-",
    "order original": "+- +++-- ----",
    "search":         "++ +++++ ----",
    "retrieve":       "+- ++++- ----",
    "directory":      "-- +++++ ----",
    "share":          "-- ++--- ----",
    "unshare":        "-- ++++- ----",
    "receipts":       "-- +++-- ----",
    "break_glass":    "-- +++++ ----",
    "upload":         "-- +-+-- ----",
    "release":        "-- +---- ----",
}  # fmt: skip
NOTED = {
    "sync": "lease-renewed", "want": "retrieve", "receipt": "accessed", "order display": "order",
    "order original": "order", "receipts": "audit-used", "share": "shared", "unshare": "unshared",
    "release": "released", "break_glass": "break-glass", "upload": "uploaded",
}  # fmt: skip
ABOUT_NO_STUDY = {"sync", "search", "directory", "break_glass"}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415478da63606060000000040001f61738550000000049454e44ae426082"
)


def referring(dataset: Any) -> None:
    dataset.ReferringPhysicianName = "Park^Referring"


@dataclass
class Site:
    """A gateway with one study, and a device for each column."""

    gateway: RunningGateway
    study: str
    picture: Path
    index: Engine
    devices: dict[str, WireDevice] = field(default_factory=dict)
    entry: Any = None
    reference: str = ""
    sequence: int = 0
    target: bytes = b""

    def lines(self, who: str, after: int) -> list[dict[str, str]]:
        """What the trail has of somebody since then."""
        with self.index.connect() as connection:
            latest = [one for one in trail.latest_first(connection) if one.sequence > after]
        return [one.event for one in reversed(latest) if one.event["who"] == who]

    def stands(self) -> int:
        with self.index.connect() as connection:
            return trail.standing(connection).sequence


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("matrix")
    made = long_ct(folder, 1, LEE, "matrix", change=referring)
    (folder / "picture.png").write_bytes(PNG)
    people = ["kind,id,name,attends", f"doctor,D-ATT,,{LEE.identifier}", f"ward,W-ATT,,{LEE.identifier}",
              "doctor,D-REF,Park^Referring,", "doctor,D-EMG,,", "doctor,D-SHR,,", "doctor,D-NON,,", "doctor,D-TO,,",
              "ward,W-LIE,,",
              "ward,W-SHR,,", "ward,W-NON,,", f"patient,{LEE.identifier},,", "patient,P-NONE,,"]  # fmt: skip
    (folder / "people.csv").write_text("\n".join(people))
    settings = {"delivery": {"settle_s": 0.5, "head_ward_s": 2.0, "head_s": 3.0}, "access": {"release": "manual"}}
    with RunningGateway(folder / "state", settings=settings) as gateway:
        call(gateway, "profile", "import", str(folder / "people.csv"))
        gateway.store(made.files)
        gateway.wait_studies(1)
        call(gateway, "admit", LEE.identifier, "--ward", "W-LIE")
        call(gateway, "release", made.StudyInstanceUID)
        here = Site(gateway, made.StudyInstanceUID, folder / "picture.png", open_index(gateway.folder / "index.db"))
        for who, _ in COLUMNS:
            device = WireDevice.enrol(gateway.mqtt_port, json.loads(call(gateway, "invite", who, "--json"))["uri"])
            here.devices[who] = device.connect()
        relate(here)
        yield here
        for device in here.devices.values():
            device.stop()
        here.index.dispose()


def relate(site: Site) -> None:
    """Emergency access and shares, as devices ask for them; then everybody has what its column says."""
    giver, emergency = site.devices["doctor:D-ATT"], site.devices["doctor:D-EMG"]
    ask = asks.BreakGlass(**by(emergency), PatientID=LEE.identifier, IssuerOfPatientID="", reason="unconscious")
    assert isinstance(emergency.ask(ask), asks.Granted)
    for who in ("doctor:D-SHR", "ward:W-SHR"):
        share = asks.Share(**by(giver), study=site.study, **to(site.devices[who]), until=0)
        assert giver.ask(share) == Done()
    people = giver.ask(asks.Directory(**by(giver), name="D-TO", page=0)).people
    site.target = next(one.recipient for one in people if one.identifier == "D-TO")
    giver.sync()
    giver.wait(lambda: giver.is_current() and giver.current(), "the study")
    ((site.reference, told),) = giver.current().items()
    site.sequence = told.sequence
    site.entry = next(one for one in told.objects if one.layer == "display")


def call(gateway: RunningGateway, *arguments: str) -> str:
    """The command line beside the running gateway, in this process: a dozen new ones would take longer."""
    result = CliRunner().invoke(main, [*arguments, "--state", str(gateway.folder)])
    assert result.exit_code == 0, result.output
    return result.stdout


def by(device: WireDevice) -> dict[str, Any]:
    return {"kind": device.kind, "recipient": device.welcome.enrolled.recipients[0].recipient}


def to(device: WireDevice) -> dict[str, Any]:
    return {"to_kind": device.kind, "to": device.welcome.enrolled.recipients[0].recipient}


# ── the requests: each says whether it was carried out ────────────────────────────────────────────────────────────


def done(answer: Any) -> bool:
    assert answer == Done() or answer == Refused(reason="forbidden"), answer
    return bool(answer == Done())


def told(answer: Any, kind: type) -> bool:
    assert isinstance(answer, kind) or answer == Refused(reason="forbidden"), answer
    return isinstance(answer, kind)


def want(site: Site, device: WireDevice) -> bool:
    entry: ObjectEntry = site.entry
    assert device.mqtt is not None
    root = f"{device.root}/object/{encode_reference(entry.object)}"
    device.mqtt.subscribe(f"{root}/+")
    device.send(device.pack(device.want(entry, [(0, 0)])))

    def heard() -> str:
        if any(topic == f"{root}/0" for topic, _ in list(device.seen)):
            return "served"
        return "gone" if any(one.body == Gone(object=entry.object) for one in device.answers()) else ""

    return bool(device.wait(heard, "a segment or no") == "served")


def upload(site: Site, device: WireDevice) -> bool:
    parcel = pack(site.picture, device.link.site, device.device.encode(), ())
    body = asks.Upload(
        **by(device), PatientID=LEE.identifier, IssuerOfPatientID="", study=site.study, media=parcel.media,
        description="", taken=parcel.taken_ms, object=parcel.object, key=parcel.key, size=parcel.size,
        manifest=parcel.manifest.digest(),
    )  # fmt: skip
    assert device.mqtt is not None
    root = f"mpacs/1/{device.link.site}/device/{device.device}/object/{encode_reference(parcel.object)}"
    deadline = time.monotonic() + 30
    while isinstance(answer := device.ask(body), asks.Wanted) and time.monotonic() < deadline:
        for page in answer.pages:
            device.mqtt.publish(f"{root}/m{page}", parcel.manifest.page_message(page))
        for first, last in answer.ranges:
            for index in range(first, last + 1):
                device.mqtt.publish(f"{root}/{index}", parcel.segment(index))
    return told(answer, asks.Stored)


def search(site: Site, device: WireDevice) -> bool:
    empty = dict.fromkeys(("PatientName", "AccessionNumber", "StudyDate", "BodyPartExamined", "StudyDescription"), "")
    answer = device.ask(asks.Search(**by(device), **empty, PatientID="", ModalitiesInStudy=[], page=0))
    if not told(answer, asks.Found):
        return False
    has_it = MATRIX["want"].replace(" ", "")[list(site.devices.values()).index(device)] == "+"
    assert [one.study for one in answer.studies] == ([site.study] if has_it else [])
    return True


def order(site: Site, device: WireDevice, layer: Any) -> bool:
    return done(device.ask(Order(**by(device), study=decode_reference(site.reference), layer=layer, series=[])))


def receipt(site: Site, device: WireDevice) -> bool:
    about = {"study": decode_reference(site.reference), "sequence": site.sequence, "layer": "display"}
    return done(device.ask(Receipt(**by(device), **about, event="opened", at=1)))


def release(site: Site, device: WireDevice) -> bool:
    if device is site.devices["doctor:D-ATT"]:
        call(site.gateway, "release", site.study, "--hold")
    return done(device.ask(asks.Release(**by(device), study=site.study)))


REQUESTS: dict[str, Callable[[Site, WireDevice], bool]] = {
    "sync": lambda _, device: told(device.sync(), Synced),
    "want": want,
    "receipt": receipt,
    "order display": lambda site, device: order(site, device, "display"),
    "order original": lambda site, device: order(site, device, "original"),
    "search": search,
    "retrieve": lambda site, device: done(device.ask(asks.Retrieve(**by(device), study=site.study))),
    "directory": lambda _, device: told(device.ask(asks.Directory(**by(device), name="", page=0)), asks.People),
    "share": lambda site, device: done(
        device.ask(asks.Share(**by(device), study=site.study, to_kind="doctor", to=site.target, until=0))
    ),
    "unshare": lambda site, device: done(
        device.ask(asks.Unshare(**by(device), study=site.study, to_kind="doctor", to=site.target))
    ),
    "receipts": lambda site, device: told(
        device.ask(asks.Receipts(**by(device), study=site.study)), asks.Account
    ),
    "break_glass": lambda _, device: told(
        device.ask(asks.BreakGlass(**by(device), PatientID="P-9", IssuerOfPatientID="", reason="why")), asks.Granted
    ),
    "upload": upload,
    "release": release,
}  # fmt: skip


@pytest.mark.parametrize("request_", MATRIX)
def test_each_cell_is_answered_as_the_profiles_say_and_noted(site: Site, request_: str) -> None:
    cells = MATRIX[request_].replace(" ", "")
    for (who, relation), expected in zip(COLUMNS, cells, strict=True):
        device, before = site.devices[who], site.stands()
        allowed = REQUESTS[request_](site, device)
        assert allowed == (expected == "+"), f"{request_} by {who} ({relation})"
        if request_ == "sync":  # noted once in an hour, whether it asked before or not
            assert [one["outcome"] for one in site.lines(who, 0) if one["event"] == "lease-renewed"] == ["success"]
            continue
        lines = site.lines(who, before)
        seen = [(one["event"], one["outcome"], one.get("study", "")) for one in lines]
        study = site.study if request_ not in ABOUT_NO_STUDY else ""
        if not allowed:  # of what it has not, a refusal names what is known of it
            study = seen[0][2] if seen else study
            assert study in ("", site.study)
        event = NOTED.get(request_, request_)
        assert seen == [(event, "success" if allowed else "refused", study)], f"{request_} by {who} ({relation})"


def test_a_share_brings_no_dicom_files(site: Site) -> None:
    """Whoever ordered them: who has the study by right is told of them; who has it by a share is not, nor given any."""
    attending, shared = site.devices["doctor:D-ATT"], site.devices["doctor:D-SHR"]
    assert order(site, attending, "original")

    def original() -> ObjectEntry | None:
        return next((o for one in attending.current().values() for o in one.objects if o.layer == "original"), None)

    entry = attending.wait(original, "the DICOM files are offered")
    shared.wait(lambda: shared.is_current() and any(one.settled for one in shared.current().values()), "all of it")
    assert {o.layer for one in shared.current().values() for o in one.objects} == {"display", "thumbnail", "diagnostic"}
    assert shared.ask(shared.want(entry, [(0, 0)])) == Gone(object=entry.object)


def test_the_matrix_is_the_table() -> None:
    """But for what is judged by the layer, and by whether there is anything to take back."""
    for request_, cells in MATRIX.items():
        op: Op = request_.split()[0]  # type: ignore[assignment]
        for (who, relation), cell in zip(COLUMNS, cells.replace(" ", ""), strict=True):
            role: Any = who.partition(":")[0]
            said = relation in TABLE[role].get(op, ())
            if (request_ == "order original" and role == "ward") or (op == "unshare" and relation == "none"):
                assert cell == "-"
            else:
                assert (cell == "+") == said, f"{request_} by {who} ({relation})"
    assert {request_.split()[0] for request_ in MATRIX} == set(TABLE["doctor"]) and not TABLE["administrator"]


def test_what_ends_while_devices_are_connected_ends_at_their_next_request(site: Site) -> None:
    call(site.gateway, "discharge", LEE.identifier)
    call(site.gateway, "profile", "leave", "doctor", "D-ATT", LEE.identifier)
    call(site.gateway, "profile", "leave", "doctor", "D-EMG", LEE.identifier)
    # Of who shared the study has it no more, so have those with whom it was shared.
    for who in ("ward:W-LIE", "doctor:D-ATT", "doctor:D-EMG", "doctor:D-SHR", "ward:W-SHR"):
        device = site.devices[who]
        assert device.ask(device.want(site.entry, [(0, 0)])) == Gone(object=site.entry.object), who
        if device.kind == "doctor":
            assert device.ask(asks.Retrieve(**by(device), study=site.study)) == Refused(reason="forbidden"), who
    for who in ("doctor:D-REF", f"patient:{LEE.identifier}"):
        device = site.devices[who]
        assert device.ask(asks.Retrieve(**by(device), study=site.study)) == Done(), who
