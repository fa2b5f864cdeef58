"""The TLS listener, and the certificate faults of amqtt."""

import datetime
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.broker.cast import VICTIMS_HEAD, Cast
from tests.broker.raw import ACCEPTED, Raw, connect_packet, subscribe_packet
from tests.support.broker_process import wait_until
from tests.support.brokers import EmbeddedBroker, StockAmqtt, can_log_in

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Pem:
    certificate: Path
    key: Path


def make_certificate(folder: Path, name: str, issuer: tuple[x509.Name, Key] | None, *names: x509.GeneralName) -> Key:
    """Write ``name``.crt and ``name``.key; self-signed without an issuer."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
    return key


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory, cast: Cast) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    authority = make_certificate(folder, "authority", None)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]), authority
    make_certificate(folder, "broker", issuer, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    spiffe = f"spiffe://test.example/device/{cast.victim.name}"
    make_certificate(folder, "victim", issuer, x509.UniformResourceIdentifier(spiffe))
    return folder


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory, pki: Path, cast: Cast) -> Iterator[EmbeddedBroker]:
    folder = tmp_path_factory.mktemp("tls")
    limits = {"connect_timeout_s": 1.0}
    certificate, key = pki / "broker.crt", pki / "broker.key"
    with EmbeddedBroker(folder, cast.logins(), limits=limits, certificate=certificate, key=key) as broker:
        yield broker


def client_context(pki: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pki / "authority.crt"))


def secured(broker: EmbeddedBroker | StockAmqtt, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection((broker.host, broker.tls_port), 5)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_client_logs_in_and_receives_over_tls(over_tls: EmbeddedBroker, pki: Path, cast: Cast) -> None:
    one = cast.victim
    with secured(over_tls, client_context(pki)) as client, Raw(over_tls) as gateway:
        assert client.version() == "TLSv1.3"
        client.sendall(connect_packet(one.name, one.name, one.password))
        assert client.recv(4) == b"\x20\x02\x00\x00"
        client.sendall(subscribe_packet(VICTIMS_HEAD))
        assert client.recv(5) == b"\x90\x03\x00\x01\x00"
        assert gateway.log_in(cast.gateway) == ACCEPTED
        payload = bytes(range(256)) * 1000
        gateway.publish(VICTIMS_HEAD, payload)
        received = b""
        while not received.endswith(payload):
            received += client.recv(65536)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(over_tls: EmbeddedBroker, pki: Path) -> None:
    context = client_context(pki)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secured(over_tls, context)


def test_silent_handshakes_end_and_delay_nobody(over_tls: EmbeddedBroker, pki: Path) -> None:
    silent = [socket.create_connection((over_tls.host, over_tls.tls_port), 5) for _ in range(50)]
    before_s = time.monotonic()
    secured(over_tls, client_context(pki)).close()
    assert time.monotonic() - before_s < 1
    for one in silent:
        one.settimeout(5)
        assert one.recv(1) == b""
        one.close()


def test_plain_bytes_on_the_tls_port_are_ended(over_tls: EmbeddedBroker, cast: Cast) -> None:
    one = cast.victim
    with socket.create_connection((over_tls.host, over_tls.tls_port), 5) as plain:
        plain.sendall(connect_packet(one.name, one.name, one.password))
        assert b"\x20\x02" not in plain.recv(64)
    assert "Traceback" not in over_tls.process.log
    assert can_log_in(over_tls, one)


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path, pki: Path, cast: Cast) -> None:
    certificate, key = tmp_path / "broker.crt", tmp_path / "broker.key"
    for path in (certificate, key):
        path.write_bytes((pki / path.name).read_bytes())
    with EmbeddedBroker(tmp_path / "renewed", cast.logins(), certificate=certificate, key=key) as broker:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def served() -> bytes | None:
            with secured(broker, context) as client:
                return client.getpeercert(binary_form=True)

        before = served()
        make_certificate(tmp_path, "broker", None)
        wait_until(lambda: served() != before, 2, "the new certificate is served")
        certificate.write_text("not a certificate")
        wait_until(lambda: "certificate" in broker.process.log, 2, "the fault is logged")
        assert served() != before


def test_amqtt_asks_browsers_for_a_certificate_and_ours_does_not(pki: Path) -> None:
    from amqtt.broker import Broker
    from amqtt.contexts import ListenerConfig

    from broker.config import TlsListener
    from broker.tls import tls_context

    files = str(pki / "broker.crt"), str(pki / "broker.key")
    stock = Broker._create_ssl_context(ListenerConfig(certfile=files[0], keyfile=files[1]))
    assert stock.verify_mode == ssl.CERT_OPTIONAL
    ours = tls_context(TlsListener(0, *files))
    assert ours.verify_mode == ssl.CERT_NONE
    assert ours.minimum_version >= ssl.TLSVersion.TLSv1_2


def resumes_without_certificate(broker: StockAmqtt | EmbeddedBroker, pki: Path, cast: Cast) -> bool:
    """Whether one without certificate or password takes the persistent session of one who had them."""
    one, context = cast.victim, client_context(pki)
    password = one.password if isinstance(broker, EmbeddedBroker) else None
    context.load_cert_chain(pki / "victim.crt", pki / "victim.key")
    with secured(broker, context) as victim:
        victim.sendall(connect_packet(one.name, one.name, password, clean=False))
        assert victim.recv(4)[3] == ACCEPTED
        victim.sendall(b"\xe0\x00")
        assert victim.recv(1) == b""
    with secured(broker, client_context(pki)) as attacker:
        attacker.sendall(connect_packet(one.name, one.name, None, clean=False))
        return attacker.recv(4) == b"\x20\x02\x01\x00"


def test_amqtts_certificate_plugin_lets_a_client_without_certificate_resume(
    tmp_path: Path, pki: Path, cast: Cast
) -> None:
    plugins = {"amqtt.contrib.cert.UserAuthCertPlugin": {"uri_domain": "test.example"}}
    names = {"cafile": "authority.crt", "certfile": "broker.crt", "keyfile": "broker.key"}
    tls = {key: str(pki / name) for key, name in names.items()}
    with StockAmqtt(tmp_path / "stock", cast.logins(), plugins=plugins, tls=tls) as stock:
        assert resumes_without_certificate(stock, pki, cast)


def test_ours_knows_no_certificate_plugin(over_tls: EmbeddedBroker, pki: Path, cast: Cast) -> None:
    assert not resumes_without_certificate(over_tls, pki, cast)
