"""Old, forged and foreign messages change nothing; what is not current says so."""

import hashlib
import os

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device_broker import wait_until
from device_gateway import KIND, SITE, make_study, now_ms

from device_client.ledger import GRACE_MS
from device_client.service import request
from wire import envelope, hpke, topics
from wire.messages import Head, HeadEntry, Keys
from wire.names import encode_reference

UID = "1.2.826.0.1.3680043.8.498.3"


class Watched:
    """A running device, its events, and a way to be sure that it has dealt with what was published."""

    def __init__(self, gateway, device) -> None:
        self.gateway, self.device = gateway, device
        self.process = device.start("run")
        assert self.process.stdout.readline() == "connected\n"
        wait_until(lambda: gateway.syncs, what="the first sync")

    def settle(self) -> None:
        """Publish a marker study behind everything else: once it is listed, all before it was dealt with."""
        uid = f"1.2.3.{len(self.gateway.studies)}"
        self.gateway.announce(make_study(self.gateway, uid, 1000, 1))
        wait_until(
            lambda: any(one["StudyInstanceUID"] == uid and one["current"] for one in self.listed()), what="marker"
        )

    def listed(self):
        return request(self.device.folder, {"op": "studies"}, lambda _message: None)

    def study(self, uid: str):
        return next(one for one in self.listed() if one["StudyInstanceUID"] == uid)


@pytest.fixture
def watched(gateway, enrolled):
    return Watched(gateway, enrolled)


def test_replayed_head_and_announcement_are_ignored(gateway, watched):
    study = make_study(gateway, UID)
    old_announcement = gateway.announce(study)
    old_head = gateway.head_payload
    study.sequence = 2
    study.attributes["study"]["00081030"]["Value"] = ["Chest, corrected"]
    gateway.announce(study)
    watched.settle()
    gateway.publish(topics.head(SITE, KIND, gateway.ref), old_head, True)
    gateway.publish(topics.study(SITE, KIND, gateway.ref, study.ref), old_announcement)
    watched.settle()
    found = watched.study(UID)
    assert found["StudyDescription"] == "Chest, corrected" and found["current"]


def test_a_replay_to_a_device_that_was_away_is_ignored(gateway, enrolled):
    """The broker keeps an old head; the device has seen a newer one before it slept."""
    study = make_study(gateway, UID)
    gateway.announce(study)
    old_head = gateway.head_payload
    gone = make_study(gateway, UID + ".9")
    gateway.announce(gone)
    enrolled.call("run", "--once", "--timeout", "10")
    gateway.answers = False
    gateway.publish(topics.head(SITE, KIND, gateway.ref), old_head, True)
    enrolled.call("run", "--once", "--timeout", "1", code=1)
    kept = (enrolled.folder / "heads" / gateway.ref).read_bytes()
    assert int.from_bytes(kept[:8], "big") == 2 and kept[8:] == gateway.head_payload
    assert {one["StudyInstanceUID"] for one in enrolled.json("studies")} == {UID, UID + ".9"}


def test_forged_and_foreign_messages_are_ignored(gateway, watched):
    study = make_study(gateway, UID)
    payload = gateway.announce(study)
    watched.settle()
    mallory = Ed25519PrivateKey.generate()
    head = Head(sequence=10**6, issued=now_ms(), next_due=now_ms() + 10**6, studies=[])
    forged = envelope.pack_head(mallory, SITE, KIND, gateway.ref, gateway.epoch, gateway.epoch_key, head)
    topic = topics.head(SITE, KIND, gateway.ref)
    gateway.publish(topic, forged, True)
    gateway.publish(topic, b"\0" * 300_000)
    gateway.publish(topic, b"")
    other = encode_reference(os.urandom(16))
    gateway.publish(topics.study(SITE, KIND, gateway.ref, other), payload)
    gateway.publish(topics.gateway_keys(SITE), b"\1" * 500, True)
    gateway.publish(f"{topics.recipient_root(SITE, KIND, gateway.ref)}/study/notareference", payload)
    watched.settle()
    assert watched.study(UID)["current"]
    assert {one["StudyInstanceUID"] for one in watched.listed()} >= {UID}
    assert watched.process.poll() is None


def test_a_head_that_names_another_announcement_is_not_current(gateway, watched):
    study = make_study(gateway, UID)
    # Issued a while ago, so that the grace time has passed when the head arrives.
    gateway.late_ms = 2 * GRACE_MS
    gateway.announce(study)
    watched.settle()
    assert watched.study(UID)["current"]
    gateway.head_sequence += 1
    head = Head(
        sequence=gateway.head_sequence,
        issued=now_ms() - GRACE_MS,
        next_due=now_ms() + 300_000,
        studies=[HeadEntry(study.reference, 9, hashlib.sha256(b"unseen").digest())],
    )
    payload = envelope.pack_head(gateway.signer, SITE, KIND, gateway.ref, 1, gateway.epoch_key, head)
    syncs = len(gateway.syncs)
    gateway.publish(topics.head(SITE, KIND, gateway.ref), payload, True)
    wait_until(lambda: len(gateway.syncs) > syncs, what="a sync, because an announcement is missing")
    wait_until(lambda: not watched.study(UID)["current"], what="not current after the grace time")
    assert all(encode_reference(ref) != study.ref for known in gateway.syncs[-1].known for ref, _ in known.studies)


def test_an_overdue_head_is_not_current(gateway, enrolled):
    study = make_study(gateway, UID)
    gateway.announce(study)
    enrolled.call("run", "--once", "--timeout", "10")
    assert enrolled.json("studies")[0]["current"]
    gateway.publish_head(next_due_ms=-GRACE_MS)
    enrolled.call("run", "--once", "--timeout", "10")
    wait_until(
        lambda: not request(enrolled.folder, {"op": "studies"}, lambda _message: None)[0]["current"], what="overdue"
    )


def test_a_key_set_rolls_on_and_never_back(gateway, watched):
    old = gateway.key_set_bytes()
    study = make_study(gateway, UID)
    gateway.announce(study)
    watched.settle()
    gateway.signer = Ed25519PrivateKey.generate()
    gateway.key_set_sequence = 2
    gateway.publish(topics.gateway_keys(SITE), gateway.key_set_bytes(), True)
    watched.settle()
    gateway.publish(topics.gateway_keys(SITE), old, True)
    watched.settle()
    assert watched.study(UID)["current"]
    watched.process.terminate()
    assert watched.process.wait(30) == 0
    # What the old key signed still opens, although the key set no longer names it.
    assert {one["StudyInstanceUID"] for one in watched.listed()} >= {UID}


def test_a_new_epoch_and_revocation(gateway, watched):
    study = make_study(gateway, UID)
    gateway.announce(study)
    watched.settle()
    gateway.epoch, gateway.epoch_key = 2, os.urandom(32)
    gateway.publish_keys()
    # The same announcement, sealed anew: same sequence, other bytes, named by the head.
    gateway.announce(study)
    watched.settle()
    assert watched.study(UID)["current"]
    devices, gateway.devices = gateway.devices, {}
    gateway.epoch = 3
    gateway.publish_keys()
    gateway.devices = devices
    lines = []
    while not lines or "revoked" not in lines[-1]:
        lines.append(watched.process.stderr.readline())
        assert lines[-1]
    wait_until(lambda: not watched.study(UID)["current"], what="revoked is not current")


def test_what_comes_before_its_epochs_key_is_no_fault_and_comes_again(gateway, watched):
    study = make_study(gateway, UID)
    gateway.announce(study)
    watched.settle()
    gateway.epoch, gateway.epoch_key = 2, os.urandom(32)
    gateway.announce(study)
    gateway.publish_keys()
    watched.settle()
    assert watched.study(UID)["current"]
    watched.process.terminate()
    assert "refused" not in watched.process.communicate(timeout=20)[1]


def test_an_older_message_of_the_same_epoch_takes_no_key_away(gateway, watched):
    """From before this device was enrolled: signed, of the current epoch, and without its entry."""
    gateway.announce(make_study(gateway, UID))
    watched.settle()
    before = Keys(suite=hpke.SUITE, epoch=gateway.epoch, issued=now_ms() - 60_000, devices=[])
    gateway.publish(
        topics.keys(SITE, KIND, gateway.ref), envelope.pack_keys(gateway.signer, SITE, KIND, gateway.ref, before), True
    )
    # What comes behind it is sealed under that epoch's key, and opens.
    watched.settle()
    assert watched.study(UID)["current"]
    watched.process.terminate()
    assert "revoked" not in watched.process.communicate(timeout=20)[1]


def test_unknown_fields_and_limits_do_not_stop_the_device(gateway, watched):
    study = make_study(gateway, UID)
    gateway.announce(study)
    watched.settle()
    root = topics.recipient_root(SITE, KIND, gateway.ref)
    object_id = encode_reference(study.entries[1].object)
    for part, payload in (("0", b"x"), ("999999", b"x"), ("m0", b"x"), ("m7", b""), ("0", os.urandom(319_000))):
        gateway.publish(f"{root}/object/{object_id}/{part}", payload)
    watched.settle()
    assert watched.process.poll() is None
    assert msgspec.json.encode(watched.study(UID))
