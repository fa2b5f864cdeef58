"""Enrolment over real brokers: what works, and what is refused with words that help."""

import datetime
import hashlib
import ipaddress
import threading

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from device_broker import Mosquitto, free_port
from device_gateway import ScriptedGateway, make_study

from wire import enrolment


def make_certificates(folder, address="127.0.0.1"):
    """An authority and a server certificate of it: ``(authority PEM, server DER, (chain file, key file))``."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def builder(name, public_key):
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    authority = (
        builder(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, SHA256())
    )
    server = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")]), server_key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(authority_key, SHA256())
    )
    certificate, key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(server.public_bytes(Encoding.PEM))
    key.write_bytes(server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for path in (certificate, key):
        path.chmod(0o644)
    return authority.public_bytes(Encoding.PEM), server.public_bytes(Encoding.DER), (certificate, key)


def relink(uri, **changes):
    link = msgspec.structs.replace(enrolment.parse_link(uri), **changes)
    return enrolment.format_link("https://gateway.test", link)


@pytest.fixture
def secured(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    authority, server, paths = make_certificates(folder)
    broker = Mosquitto(folder, tls=paths)
    (folder / "authority.pem").write_bytes(authority)
    gateway = ScriptedGateway(broker.port, ca=str(folder / "authority.pem"))
    gateway.broker_url = f"mqtts://127.0.0.1:{broker.port}"
    gateway.certificate = hashlib.sha256(server).digest()
    gateway.authority = authority
    gateway.start()
    yield gateway
    gateway.stop()
    broker.stop()


def test_tls_pinned_at_first_then_by_the_authority(secured, device):
    device.call("enrol", secured.invite())
    secured.announce(make_study(secured, "1.2.3.4", 3_000_000))
    device.call("run", "--once", "--timeout", "10")
    (listed,) = device.json("studies")
    assert listed["series"][0]["layers"]["display"]["complete"]


def test_another_certificate_than_the_pinned_one_is_refused(secured, device):
    uri = relink(secured.invite(), certificate=bytes(32))
    done = device.call("enrol", uri, code=1)
    assert "another certificate" in done.stderr
    assert not (device.folder / "identity.json").exists()
    assert not secured.used


def test_afterwards_a_certificate_of_another_authority_is_refused(secured, device, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    secured.authority, _, _ = make_certificates(other)
    device.call("enrol", secured.invite())
    done = device.call("run", "--once", "--timeout", "1", code=1)
    assert "certificate is not its authority's" in done.stderr


def test_afterwards_a_certificate_for_another_address_is_refused(tmp_path, device):
    folder = tmp_path / "tls"
    folder.mkdir()
    authority, server, paths = make_certificates(folder, "127.0.0.2")
    (folder / "authority.pem").write_bytes(authority)
    broker = Mosquitto(folder, tls=paths)
    gateway = ScriptedGateway(broker.port, ca=str(folder / "authority.pem"))
    gateway.client.tls_insecure_set(True)
    gateway.broker_url, gateway.authority = f"mqtts://127.0.0.1:{broker.port}", authority
    gateway.certificate = hashlib.sha256(server).digest()
    try:
        gateway.start()
        device.call("enrol", gateway.invite())
        done = device.call("run", "--once", "--timeout", "1", code=1)
        assert "not for its name" in done.stderr
    finally:
        gateway.stop()
        broker.stop()


def test_a_link_is_good_once(gateway, enrolled, device):
    used = gateway.invite()
    device.call("enrol", used, "--replace")
    done = device.call("enrol", used, "--replace", "--timeout", "1", code=1)
    assert "used already" in done.stderr
    # The failed attempt has not taken the device away.
    device.call("studies")


def test_already_enrolled(gateway, enrolled):
    before = (enrolled.folder / "identity.json").read_bytes()
    done = enrolled.call("enrol", gateway.invite(), code=1)
    assert "--replace" in done.stderr
    assert (enrolled.folder / "identity.json").read_bytes() == before


def test_replace_forgets_what_was_received(gateway, enrolled):
    gateway.announce(make_study(gateway, "1.2.3.4"))
    enrolled.call("run", "--once", "--timeout", "10")
    before = (enrolled.folder / "identity.json").read_bytes()
    enrolled.call("enrol", gateway.invite(), "--replace")
    assert (enrolled.folder / "identity.json").read_bytes() != before
    assert enrolled.json("studies") == []
    enrolled.call("run", "--once", "--timeout", "10")
    assert len(enrolled.json("studies")) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expires": 1}, "expired"),
        ({"broker": "mqtt://192.0.2.1:1883"}, "without TLS"),
        ({"broker": "mqtt://broker.example:1883"}, "without TLS"),
        ({"broker": "http://127.0.0.1:80"}, "a broker is mqtt"),
        ({"broker": "mqtts://127.0.0.1:99999999"}, "a broker is mqtt"),
        ({"certificate": b"short"}, "a certificate digest"),
    ],
)
def test_links_that_are_refused_before_anything_is_sent(gateway, device, changes, words):
    done = device.call("enrol", relink(gateway.invite(), **changes), code=1)
    assert words in done.stderr
    assert not gateway.used


@pytest.mark.parametrize(
    "uri", ["", "https://gateway.test/", "https://gateway.test/#enrol=abc", "#enrol=" + "A" * 3000]
)
def test_not_a_link(device, uri):
    assert "cannot be used" in device.call("enrol", uri, code=1).stderr


def test_unreachable(gateway, device):
    uri = relink(gateway.invite(), broker=f"mqtt://127.0.0.1:{free_port()}")
    assert "cannot be reached" in device.call("enrol", uri, code=1).stderr


def test_an_answer_of_another_root_is_refused(gateway, device):
    done = device.call("enrol", relink(gateway.invite(), root=bytes(32)), code=1)
    assert "not of the gateway in the link (untrusted)" in done.stderr
    assert not (device.folder / "identity.json").exists()


@pytest.fixture
def guarded(tmp_path):
    """A broker with a password file, and a gateway that is known there."""
    folder = tmp_path / "guarded"
    folder.mkdir()
    broker = Mosquitto(folder, passwords=True)
    gateway = ScriptedGateway(broker.port)
    broker.add_user(gateway.name, "gateway-password")
    gateway.client.username_pw_set(gateway.name, "gateway-password")
    gateway.on_enrolled = broker.add_user
    gateway.start()
    yield broker, gateway
    gateway.stop()
    broker.stop()


def test_a_broker_that_learns_of_the_link_a_moment_late(guarded, device):
    broker, gateway = guarded
    uri = gateway.invite()
    ((name, (_, keys)),) = gateway.codes.items()
    late = threading.Timer(1.0, broker.add_user, (name, keys.password))
    late.start()
    device.call("enrol", uri)
    late.join()
    gateway.announce(make_study(gateway, "1.2.3.4"))
    device.call("run", "--once", "--timeout", "15")
    assert device.json("studies")[0]["current"]


def test_a_broker_that_does_not_know_the_link(guarded, device, monkeypatch):
    monkeypatch.setattr("device_client.enrol.REFUSED_FOR_S", 0.5)
    _, gateway = guarded
    done = device.call("enrol", gateway.invite(), code=1)
    assert "does not take this link" in done.stderr


def test_refused_credentials_are_said_and_not_hammered(guarded, device):
    broker, gateway = guarded
    uri = gateway.invite()
    ((name, (_, keys)),) = gateway.codes.items()
    broker.add_user(name, keys.password)
    device.call("enrol", uri)
    broker.add_user(next(iter(gateway.devices)), "another password")
    process = device.start("run")
    assert "does not take this device's credentials" in process.stderr.readline()
    process.terminate()
    assert process.wait(30) == 0
