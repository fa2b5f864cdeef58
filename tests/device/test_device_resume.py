"""A device that is killed, a broker that is killed, a gateway that starts anew: nothing kept is asked for twice."""

import hashlib
import os
import signal

import pytest
from device_broker import wait_until
from device_gateway import make_study

from wire import seal
from wire.names import encode_reference

UID = "1.2.826.0.1.3680043.8.498.2"


def display(gateway, study):
    return gateway.objects[encode_reference(study.entries[1].object)]


def kept(device, sealed) -> set[int]:
    """The segments whose right bytes are in the data file, whatever the bitmap says."""
    path = device.folder / "objects" / f"{encode_reference(sealed.entry.object)}.data"
    data = path.read_bytes() if path.exists() else b""
    found = set()
    for index, segment in enumerate(sealed.segments):
        offset, length = seal.segment_span(index, sealed.entry.size)
        if hashlib.sha256(data[offset : offset + length]).digest() == hashlib.sha256(segment).digest():
            found.add(index)
    return found


def exported(device, tmp_path, pictures):
    device.call("export", UID, "--to", str(tmp_path / "out"))
    return [(tmp_path / "out" / f"{UID}.1" / f"{UID}.1.{n + 1}.jpg").read_bytes() for n in range(pictures)]


def test_killed_at_several_points(gateway, enrolled, tmp_path):
    study = make_study(gateway, UID, 10_000_000, 3)
    sealed = display(gateway, study)
    gateway.pace_s = 0.002
    gateway.announce(study)
    for count in (2, 7, 31, 35, 40):
        gateway.limit = len(gateway.published) + count
        before = kept(enrolled, sealed)
        already = len(gateway.asked)
        offline = gateway.statuses.count(b"offline")
        process = enrolled.start("run")
        wait_until(lambda: len(gateway.published) >= gateway.limit, what=f"{count} segments")
        enough = len(before) + count - 2
        wait_until(lambda enough=enough: len(kept(enrolled, sealed)) >= enough, what=f"{enough} segments on the disk")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda offline=offline: gateway.statuses.count(b"offline") > offline, what="the will")
        gateway.forget()
        asked = {index for one, index, _ in gateway.asked[already:] if one == encode_reference(sealed.entry.object)}
        assert not asked & before
        assert before <= kept(enrolled, sealed)
    gateway.limit, gateway.pace_s = None, 0.0
    before = kept(enrolled, sealed)
    already = len(gateway.asked)
    enrolled.call("run", "--once", "--timeout", "20")
    asked = [index for one, index, _ in gateway.asked[already:] if one == encode_reference(sealed.entry.object)]
    assert sorted(asked) == sorted(set(range(len(sealed.segments))) - before)
    assert len(before) >= 100
    (listed,) = enrolled.json("studies")
    layer = listed["series"][0]["layers"]["display"]
    assert layer["complete"] and layer["refetched"] == 0
    plain = exported(enrolled, tmp_path, 3)
    assert len(plain) == 3 and all(len(one) == 3_333_333 for one in plain)


def test_corrupted_segments_are_refused_and_fetched_again(gateway, enrolled, tmp_path):
    study = make_study(gateway, UID, 600_000, 3)
    sealed = display(gateway, study)
    object_id = encode_reference(sealed.entry.object)
    gateway.corrupt = {(object_id, 0), (object_id, 4), (object_id, 9)}
    gateway.announce(study)
    done = enrolled.call("run", "--once", "--timeout", "20")
    assert done.stderr.count("segment refused: digest-mismatch") == 3
    assert {index for one, index, again in gateway.asked if again and one == object_id} == {0, 4, 9}
    assert kept(enrolled, sealed) == set(range(len(sealed.segments)))
    assert all(len(one) == 200_000 for one in exported(enrolled, tmp_path, 3))


def test_broker_killed_in_mid_transfer(gateway, broker, enrolled):
    study = make_study(gateway, UID, 10_000_000, 3)
    sealed = display(gateway, study)
    gateway.pace_s = 0.004
    gateway.announce(study)
    process = enrolled.start("run", "--once", "--timeout", "30")
    wait_until(lambda: len(gateway.published) >= 60, what="60 segments")
    broker.kill()
    broker.start()
    assert process.wait(40) == 0, process.stderr.read()
    assert kept(enrolled, sealed) == set(range(len(sealed.segments)))


def test_a_new_gateway_process_is_asked_anew(gateway, enrolled):
    """What was asked of the old one is lost; the new one's presence says so at once, before any repair time."""
    study = make_study(gateway, UID, 3_000_000, 3)
    sealed = display(gateway, study)
    gateway.limit = 20
    gateway.announce(study)
    process = enrolled.start("run", "--once", "--timeout", "30")
    wait_until(lambda: len(gateway.published) >= 20, what="20 segments")
    wait_until(lambda: len(kept(enrolled, sealed)) >= 18, what="20 segments on the disk")
    syncs = len(gateway.syncs)
    gateway.forget()
    gateway.limit = None
    gateway.publish_retained()
    assert process.wait(20) == 0, process.stderr.read()
    assert len(gateway.syncs) > syncs
    assert not any(again for _, _, again in gateway.asked)


def test_gone_then_announced_under_a_new_id(gateway, enrolled, tmp_path):
    study = make_study(gateway, UID, 500_000, 2)
    old = display(gateway, study)
    gateway.gone = {encode_reference(old.entry.object)}
    gateway.announce(study)
    process = enrolled.start("run", "--once", "--timeout", "20")
    wait_until(lambda: len(gateway.syncs) >= 2, what="a sync after the object was gone")
    fresh = gateway.seal_object("display", [f"{UID}.1"], [(f"{UID}.1.1", 0, 0, b"\xff\xd8" + bytes(70_000))], [0])
    study.entries = [study.entries[0], fresh.entry]
    study.sequence = 2
    gateway.announce(study)
    assert process.wait(30) == 0, process.stderr.read()
    names = {path.name.partition(".")[0] for path in (enrolled.folder / "objects").iterdir()}
    assert encode_reference(fresh.entry.object) in names
    assert encode_reference(old.entry.object) not in names
    assert exported(enrolled, tmp_path, 1)[0][:2] == b"\xff\xd8"


def test_a_study_that_the_head_no_longer_names_is_deleted(gateway, enrolled):
    study, other = make_study(gateway, UID), make_study(gateway, UID + ".7")
    gateway.announce(study)
    gateway.announce(other)
    enrolled.call("run", "--once", "--timeout", "10")
    assert len(enrolled.json("studies")) == 2
    process = enrolled.start("run")
    assert process.stdout.readline() == "connected\n"
    del gateway.studies[study.ref]
    gateway.publish_head()
    line = ""
    while not line.startswith("gone"):
        line = process.stdout.readline()
        assert line
    assert line == f"gone {study.ref}\n"
    wait_until(lambda: len(list((enrolled.folder / "objects").glob("*.data"))) == 2, what="the objects are deleted")
    assert [one["StudyInstanceUID"] for one in enrolled.json("studies")] == [UID + ".7"]
    assert not list((enrolled.folder / "announcements").glob(f"*{study.ref}*"))


def test_a_growing_study_keeps_once_waiting_until_it_settles(gateway, enrolled):
    study = make_study(gateway, UID)
    study.settled = False
    gateway.announce(study)
    process = enrolled.start("run", "--once", "--timeout", "30")
    wait_until(lambda: len(gateway.published) >= 8, what="the first batch")
    late = gateway.seal_object("display", [f"{UID}.1"], [(f"{UID}.1.9", 0, 0, os.urandom(90_000))], [0], batch=1)
    study.entries.append(late.entry)
    study.sequence, study.settled = 2, True
    assert process.poll() is None
    gateway.announce(study)
    assert process.wait(30) == 0, process.stderr.read()
    (listed,) = enrolled.json("studies")
    assert listed["settled"] and listed["series"][0]["layers"]["display"]["frames"] == 5


@pytest.mark.parametrize("silent", ["gateway", "segments", "broker"])
def test_once_says_why_it_gives_up(gateway, broker, enrolled, silent):
    gateway.announce(make_study(gateway, UID))
    if silent == "gateway":
        gateway.answers = False
    elif silent == "segments":
        gateway.limit = 0
    else:
        broker.kill()
    done = enrolled.call("run", "--once", "--timeout", "1", code=1)
    expected = {"gateway": "the gateway does not answer", "segments": "does not send", "broker": "no connection"}
    assert expected[silent] in done.stderr
    if silent == "broker":
        broker.start()
