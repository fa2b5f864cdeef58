"""What a user gets: lists, volumes put together, files, and refusals."""

import json
import os

import pytest
from device_gateway import Study, make_study, study_attributes

from device_client import attributes
from device_client.pictures import check_uid
from wire.errors import Malformed
from wire.names import encode_reference

UID = "1.2.826.0.1.3680043.8.498.8"
CT, US = f"{UID}.1", f"{UID}.2"


@pytest.fixture
def received(gateway, enrolled):
    """A study in two volumes: one CT series of single frames, one US series of a cine, split over two batches."""
    attributes_ = study_attributes(UID, [CT, US])
    attributes_["series"][1]["00080060"]["Value"] = ["US"]
    first = Study(os.urandom(16), attributes_, 1, True)
    slices = [(f"{CT}.{n + 1}", 0, 0, b"slice%d" % n + bytes(30_000)) for n in range(3)]
    cine = [(f"{US}.1", 0, n, b"frame%d" % n + bytes(20_000)) for n in range(6)]
    first.entries = [
        gateway.seal_object(
            "thumbnail", [CT, US], [(slices[0][0], 0, 0, b"ct"), (cine[0][0], 1, 0, b"us")], [0, 1]
        ).entry,
        gateway.seal_object("display", [CT], slices, [0]).entry,
        gateway.seal_object("display", [US], cine[:1], [1]).entry,
        gateway.seal_object("display", [US], cine[1:], [1], batch=1).entry,
    ]
    late = f"{UID}.3"
    more = study_attributes(UID, [late])
    more["series"][0]["00200011"]["Value"] = [3]
    second = Study(os.urandom(16), more, 1, True)
    second.entries = [
        gateway.seal_object("display", [late], [(f"{late}.1", 0, 0, b"late")], [0]).entry,
        gateway.seal_object("video", [late], [(f"{late}.2", 0, 0, b"text")], [0]).entry,
    ]
    gateway.announce(first)
    gateway.announce(second)
    enrolled.call("run", "--once", "--timeout", "10")
    enrolled.study_refs = (first.ref, second.ref)
    enrolled.cine = [encode_reference(one.object) for one in first.entries[2:]]
    return enrolled


def test_volumes_are_one_study(received):
    (listed,) = received.json("studies")
    assert listed["references"] == sorted(received.study_refs)
    assert listed["ModalitiesInStudy"] == "CT\\US"
    assert listed["recipients"] == ["Dr. Nightingale"]
    assert listed["frames"] == 10
    frames = {one["SeriesInstanceUID"]: one["layers"]["display"]["frames"] for one in listed["series"]}
    assert frames == {CT: 3, US: 6, f"{UID}.3": 1}
    thumbnails = [one["layers"].get("thumbnail", {}).get("objects") for one in listed["series"]]
    assert thumbnails == [1, 1, None]
    # A layer that this device does not want is listed and not fetched.
    video = listed["series"][2]["layers"]["video"]
    assert video["received"] == 0 and not video["complete"]


def test_tables_for_people(received):
    table = received.call("studies").stdout
    assert "金 소라" in table and "P-4711" in table
    assert "display" in received.call("show", received.study_refs[0][:6]).stdout


def test_display_files(received, tmp_path):
    to = tmp_path / "out"
    said = received.call("export", UID, "--to", str(to)).stdout
    assert said == f"10 of layer display written to {to}\n"
    assert sorted(path.name for path in (to / CT).iterdir()) == [f"{CT}.{n}.jpg" for n in (1, 2, 3)] + ["series.json"]
    # Also the first frame has its number, although it came in an object of its own.
    assert sorted(path.name for path in (to / US).glob("*.jpg")) == [f"{US}.1.{n}.jpg" for n in range(1, 7)]
    assert (to / US / f"{US}.1.6.jpg").read_bytes()[:6] == b"frame5"
    assert (to / f"{UID}.3" / f"{UID}.3.1.jpg").read_bytes() == b"late"
    patient = json.loads((to / "patient.json").read_text(encoding="utf-8"))
    assert patient["00100010"]["Value"][0]["Ideographic"] == "金^소라"
    records = json.loads((to / US / "series.json").read_text())
    assert [(one["file"], one["frame"]) for one in records[:2]] == [(f"{US}.1.1.jpg", 1), (f"{US}.1.2.jpg", 2)]
    assert records[0]["attributes"]["00280010"]["Value"] == [512] and records[0]["ratio"] == 9.0
    assert not list(to.rglob("*.part"))


def test_one_frame_and_thumbnails(received, tmp_path):
    frame = received.json("export", UID, "--to", str(tmp_path / "frame"), "--frame", "4")
    assert [name for name in frame["files"] if name.endswith(".jpg")] == [f"{US}/{US}.1.4.jpg"]
    assert "no picture has a frame" in received.call("export", UID, "--to", "x", "--frame", "7", code=1).stderr
    received.call("export", UID, "--to", str(tmp_path / "thumb"), "--layer", "thumbnail")
    assert (tmp_path / "thumb" / US / "thumbnail.jpg").read_bytes() == b"us"


def test_what_is_not_here_or_not_known(received, tmp_path):
    to = ("--to", str(tmp_path / "out"))
    assert "is not here as a whole" in received.call("export", UID, *to, "--layer", "video", code=1).stderr
    assert received.json("export", UID, *to, "--layer", "video", "--partial")["pictures"] == 0
    assert "has no layer report" in received.call("export", UID, *to, "--layer", "report", code=1).stderr
    assert "no such study" in received.call("show", "9.9", code=1).stderr
    assert "no such study" in received.call("show", "", code=1).stderr


def test_a_prefix_must_be_unique(gateway, received):
    gateway.announce(make_study(gateway, UID + "8"))
    received.call("run", "--once", "--timeout", "10")
    assert "2 studies begin like this" in received.call("show", UID[:-1], code=1).stderr
    # A whole UID is meant even where another begins with it.
    assert received.json("show", UID)["StudyInstanceUID"] == UID


def test_partial_writes_what_is_here(gateway, enrolled, tmp_path):
    study = make_study(gateway, UID, 1_000_000, 4)
    gateway.limit = 9
    gateway.announce(study)
    enrolled.call("run", "--once", "--timeout", "1", code=1)
    assert "not here as a whole" in enrolled.call("export", UID, "--to", str(tmp_path / "no"), code=1).stderr
    assert not (tmp_path / "no").exists()
    written = enrolled.json("export", UID, "--to", str(tmp_path / "out"), "--partial")
    assert (written["pictures"], written["missing"]) == (2, 2)
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 2


def test_a_damaged_object_is_said_and_fetched_again(gateway, received, tmp_path):
    path = received.folder / "objects" / f"{received.cine[1]}.data"
    content = bytearray(path.read_bytes())
    content[70_000] ^= 1
    path.write_bytes(bytes(content))
    done = received.call("export", UID, "--to", str(tmp_path / "out"), code=1)
    assert "fetched again" in done.stderr
    asked = len(gateway.asked)
    received.call("run", "--once", "--timeout", "10")
    assert [(one, index) for one, index, _ in gateway.asked[asked:]] == [(received.cine[1], 1)]
    assert received.json("export", UID, "--to", str(tmp_path / "out"))["pictures"] == 10


def test_an_object_of_other_series_than_announced_is_not_written(gateway, enrolled, tmp_path):
    study = make_study(gateway, UID)
    study.entries.append(gateway.seal_object("display", ["1.9.9"], [("1.9.9.1", 0, 0, b"foreign")], [0], batch=1).entry)
    gateway.announce(study)
    enrolled.call("run", "--once", "--timeout", "10")
    assert "malformed" in enrolled.call("export", UID, "--to", str(tmp_path / "out"), code=1).stderr
    assert not (tmp_path / "out" / "1.9.9").exists()


@pytest.mark.parametrize("uid", ["", "..", "1/2", "1.2\n", "1..2", "1." * 40 + "1", "1.2 ", "１.２"])
def test_uids_that_may_not_stand_in_a_path(uid):
    with pytest.raises(Malformed):
        check_uid(uid)
    assert check_uid("1.2.840") == "1.2.840"


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ({"vr": "LO", "Value": ["a", "b"]}, "a\\b"),
        ({"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}, "A^B"),
        ({"vr": "PN", "Value": [{"Ideographic": "金"}]}, ""),
        ({"vr": "IS", "Value": [3.0]}, "3"),
        ({"vr": "LO"}, ""),
        ({"vr": "LO", "Value": [None]}, ""),
        ({"vr": "LO", "Value": "no list"}, ""),
        ("no element", ""),
    ],
)
def test_attributes_of_any_form_are_plain_text(element, expected):
    assert attributes.text({"00100010": element}, "PatientName") == expected
    assert attributes.name_groups({"00100010": element})["PatientName"] in (expected, expected.partition("\\")[0])
