"""Profiles, invitations, devices: what is taken, what is refused with a reason, and what is bound to what."""

import os
import time
import unicodedata
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.management.index import people
from gateway.management.registry import NotTaken, Unknown
from tests.support.gateway_office import Office
from wire import enrolment, hpke
from wire.enrolment import CodeKeys
from wire.names import encode_reference


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "state") as made:
        yield made


@pytest.mark.parametrize(
    "identifier",
    ["P-1", "/+#", "../../x", "환자-1", "患者", "a b", "'; drop table profiles; --", "🩻", "x" * 256, "=^\\"],
)
def test_any_text_is_an_identifier(office: Office, identifier: str) -> None:
    made, is_new = office.registry.put_profile("patient", identifier, identifier, ())
    assert is_new and made.identifier == identifier and len(made.reference) == 26
    assert office.registry.profiles() == [made]
    assert office.registry.invite("patient", identifier).uri
    office.registry.remove_profile("patient", identifier)
    assert office.registry.profiles() == []


@pytest.mark.parametrize(
    "identifier", ["", "   ", "x" * 257, "a\nb", "a\x00b", "a\x1b[31m", "a\u2028b", "\udc80", "*", "\x7f"]
)
def test_what_is_no_identifier_is_refused_without_repeating_it(office: Office, identifier: str) -> None:
    with pytest.raises(NotTaken) as caught:
        office.registry.put_profile("patient", identifier, "", ())
    assert identifier not in str(caught.value) or identifier.strip() in ("", "*")
    assert office.registry.profiles() == []
    with pytest.raises(Unknown):
        office.registry.invite("patient", identifier)


@pytest.mark.parametrize(("name", "attends"), [("x" * 257, ()), ("a\nb", ()), ("", ("",)), ("", ("a\x00",))])
def test_names_and_patients_are_looked_at_too(office: Office, name: str, attends: tuple[str, ...]) -> None:
    with pytest.raises(NotTaken):
        office.registry.put_profile("doctor", "D", name, attends)


def test_a_patient_of_an_issuer_is_a_profile_of_its_own(office: Office) -> None:
    bare, _ = office.registry.put_profile("patient", "P-1", "", ())
    stated, is_new = office.registry.put_profile("patient", " P-1 ^^^ A ", "", ())
    assert is_new and stated.identifier == "P-1^^^A" and stated.reference != bare.reference
    assert office.registry.reference("patient", "P-1^^^A") == stated.reference
    assert not office.registry.put_profile("patient", "P-1^^^A", "", ())[1]
    doctor, _ = office.registry.put_profile("doctor", "D^^^x", "", ("P-1^^^A ", "P-1"))
    assert doctor.identifier == "D^^^x" and doctor.attends == ("P-1^^^A", "P-1")
    for odd in ("^^^A", "P-1^^^", " ^^^ ", "P-1^^", "P-1^^A", "P-1^", "P-1^^^^A", "P-1^^^A^"):
        with pytest.raises(NotTaken):
            office.registry.put_profile("patient", odd, "", ())
        with pytest.raises(NotTaken):
            office.registry.put_profile("doctor", "D", "", (odd,))


def test_a_patient_attends_nobody(office: Office) -> None:
    with pytest.raises(NotTaken):
        office.registry.put_profile("patient", "P", "", ("*",))


def test_spellings_of_one_identifier_are_one_profile(office: Office) -> None:
    first, _ = office.registry.put_profile("ward", "병동", "", ())
    second, is_new = office.registry.put_profile("ward", f" {unicodedata.normalize('NFD', '병동')} ", "N", ("*", "*"))
    assert second.reference == first.reference and not is_new
    assert office.registry.profiles() == [second] and second.attends == ("*",)
    assert office.registry.put_profile("doctor", "병동", "", ())[0].reference != first.reference


def test_what_is_not_given_stays(office: Office) -> None:
    office.registry.put_profile("doctor", "D-17", "Kim^Minsu", ("*",))
    renamed, is_new = office.registry.put_profile("doctor", "D-17", "Kim^Minsoo")
    assert not is_new and renamed.attends == ("*",)
    moved, _ = office.registry.put_profile("doctor", "D-17", None, ("P-1",))
    assert (moved.name, moved.attends) == ("Kim^Minsoo", ("P-1",))
    nobody, _ = office.registry.put_profile("doctor", "D-17", None, ())
    assert nobody.attends == () and nobody in office.registry.profiles()


def test_an_unchanged_profile_wakes_nobody(office: Office) -> None:
    office.profile("ward", "W", "N", ("*",))
    before = office.census.look()
    office.profile("ward", "W", "N", ("*",))
    assert office.census.look() is before
    office.registry.invite("ward", "W")
    after = office.census.look()
    assert after.version[0] > before.version[0] and after.version[1] == before.version[1]


def test_unknown_is_said(office: Office) -> None:
    for attempt in (
        lambda: office.registry.invite("ward", "W"),
        lambda: office.registry.remove_profile("ward", "W"),
        lambda: office.registry.revoke(""),
        lambda: office.registry.revoke("mfzh"),
    ):
        with pytest.raises(Unknown):
            attempt()
    ward = office.profile("ward", "W")
    one, two = office.device(ward), office.device(ward)
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one.device, two.device, strict=True))
    common = "".join(first for first, _ in pairs)
    with pytest.raises(Unknown):
        office.registry.revoke(common)
    assert office.registry.revoke(one.device[: len(common) + 1]).device == one.device


# ── enrolment ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Candidate:
    """A device that holds a link."""

    def __init__(self, office: Office, uri: str) -> None:
        self.link = enrolment.parse_link(uri)
        self.reference = encode_reference(self.link.enrolment)
        self.exchange = ec.generate_private_key(ec.SECP256R1())
        keys = CodeKeys.derive(self.link.code, self.reference)
        self.request = enrolment.pack_request(
            keys, "office", self.reference, Ed25519PrivateKey.generate(), hpke.raw_public(self.exchange), "phone"
        )

    def open(self, answer: bytes) -> enrolment.Enrolled:
        now_ms = int(time.time() * 1000)
        return enrolment.open_answer(self.link, self.reference, self.exchange, self.request, now_ms, answer).enrolled


def test_a_code_enrols_one_device_and_repeats_its_answer(office: Office) -> None:
    ward = office.profile("ward", "W", "Ward 3")
    uri = office.registry.invite("ward", "W").uri
    first, second = Candidate(office, uri), Candidate(office, uri)
    answer = office.registry.enrolments.enrol(first.reference, first.request)
    assert answer is not None
    enrolled = first.open(answer)
    assert [encode_reference(one.recipient) for one in enrolled.recipients] == [ward.reference]
    assert enrolled.recipients[0].label == "Ward 3"
    # The answer was lost: the same request gets the same answer; another device's gets none.
    assert office.registry.enrolments.enrol(first.reference, first.request) == answer
    assert office.registry.enrolments.enrol(first.reference, second.request) is None
    assert len(office.registry.devices()) == 1


def test_failures_expiry_and_removal_end_a_code(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.profile("ward", "W")
    failed = Candidate(office, office.registry.invite("ward", "W").uri)
    for number in range(people.MAX_FAILURES):
        assert office.registry.enrolments.enrol(failed.reference, os.urandom(100 + number)) is None
    assert office.registry.enrolments.enrol(failed.reference, failed.request) is None

    removed = Candidate(office, office.registry.invite("ward", "W").uri)
    office.registry.remove_profile("ward", "W")
    assert office.registry.enrolments.enrol(removed.reference, removed.request) is None
    assert office.registry.enrolments.enrol("a" * 26, b"") is None

    office.profile("ward", "W")
    invitation = office.registry.invite("ward", "W")
    late = Candidate(office, invitation.uri)
    monkeypatch.setattr(time, "time", lambda: invitation.expires_at + 1)
    assert office.registry.enrolments.enrol(late.reference, late.request) is None
    assert office.registry.devices() == []


def test_a_revoked_device_has_no_lease(office: Office) -> None:
    device = office.device(office.profile("ward", "W"))
    assert office.registry.lease(device, time.time()).secret == device.lease_secret
    office.registry.revoke(device.device)
    with office.engine.connect() as connection:
        revoked = people.device_by_reference(connection, device.device)
    assert revoked is not None and revoked.lease_secret is None
    with pytest.raises(Unknown):
        office.registry.lease(revoked, time.time())
