"""The gateway's own authority: its certificates verified by OpenSSL as a device would, and of no use elsewhere."""

import datetime as dt
import ipaddress
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.management import authority
from tests.support.gateways import RunningGateway

HOSTS = ["192.0.2.10", "2001:db8::10", "gateway.hospital.example"]


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates((folder / f"{name}.pem").read_bytes())[0]


def issue(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate for ``host``, signed with the authority's key by somebody who stole it."""
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    stolen = serialization.load_pem_private_key((folder / "authority.key").read_bytes(), None)
    assert isinstance(stolen, ec.EllipticCurvePrivateKey)
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "forged")]))
        .issuer_name(certificate(folder, "authority").subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(stolen, hashes.SHA256())
    )
    paths = folder / "forged.pem", folder / "forged.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@contextmanager
def tls_server(chain: Path, key: Path) -> Iterator[int]:
    """A TLS listener of Python's on loopback that greets whoever completes the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(raw, server_side=True) as connection:
                        connection.sendall(b"hello")
                except OSError:
                    raw.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def greet(port: int, ca: Path, host: str, address: str = "127.0.0.1") -> bytes:
    """Connect as a device that trusts ``ca`` alone and wants ``host``."""
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection((address, port), 5) as raw,
        context.wrap_socket(raw, server_hostname=host) as connection,
    ):
        return connection.recv(5)


@pytest.mark.parametrize("host", HOSTS)
def test_the_chain_verifies_for_its_host_alone(tmp_path: Path, host: str) -> None:
    assert authority.ensure(tmp_path, host)
    assert not authority.ensure(tmp_path, host)
    with tls_server(tmp_path / "server.pem", tmp_path / "server.key") as port:
        assert greet(port, tmp_path / "authority.pem", host) == b"hello"
        for other in ("192.0.2.11", "other.example", "2001:db8::11"):
            with pytest.raises(ssl.SSLCertVerificationError):
                greet(port, tmp_path / "authority.pem", other)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("other", ["192.0.2.11", "2001:db8::11", "bank.example", "hospital.example"])
def test_a_stolen_authority_key_is_of_no_use_elsewhere(tmp_path: Path, host: str, other: str) -> None:
    authority.ensure(tmp_path, host)
    with tls_server(*issue(tmp_path, other)) as port, pytest.raises(ssl.SSLCertVerificationError) as caught:
        greet(port, tmp_path / "authority.pem", other)
    assert "permitted subtree violation" in str(caught.value)


@pytest.mark.parametrize("host", HOSTS)
def test_openssl_itself_agrees(tmp_path: Path, host: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    authority.ensure(tmp_path, host)
    forged, _ = issue(tmp_path, "other.example")

    def verify(path: Path) -> int:
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
        return subprocess.run([*command, str(tmp_path / "authority.pem"), str(path)], capture_output=True).returncode

    assert verify(tmp_path / "server.pem") == 0
    assert verify(forged) != 0


def test_keys_are_private_and_another_host_gets_another_authority(tmp_path: Path) -> None:
    authority.ensure(tmp_path, "192.0.2.10")
    before = certificate(tmp_path, "authority"), certificate(tmp_path, "server")
    for name in ("authority.key", "server.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert authority.ensure(tmp_path, "192.0.2.11")
    assert certificate(tmp_path, "authority") != before[0]
    with tls_server(tmp_path / "server.pem", tmp_path / "server.key") as port:
        assert greet(port, tmp_path / "authority.pem", "192.0.2.11") == b"hello"


@pytest.mark.parametrize("name", ["server.key", "server.pem", "authority.key", "authority.pem"])
@pytest.mark.parametrize("damage", [None, b"", b"not PEM", "other"])
def test_what_a_cut_left_is_made_good(tmp_path: Path, name: str, damage: bytes | str | None) -> None:
    authority.ensure(tmp_path, "192.0.2.10")
    if damage is None:
        (tmp_path / name).unlink()
    elif damage == "other":
        authority.ensure(tmp_path / "other", "192.0.2.10")
        shutil.copy(tmp_path / "other" / name, tmp_path / name)
    else:
        assert isinstance(damage, bytes)
        (tmp_path / name).write_bytes(damage)
    assert authority.ensure(tmp_path, "192.0.2.10")
    with tls_server(tmp_path / "server.pem", tmp_path / "server.key") as port:
        assert greet(port, tmp_path / "authority.pem", "192.0.2.10") == b"hello"
    if name.startswith("server"):
        assert not authority.ensure(tmp_path, "192.0.2.10")


def test_the_server_certificate_is_renewed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.ensure(tmp_path, "192.0.2.10")
    first = certificate(tmp_path, "server")
    later = first.not_valid_after_utc - dt.timedelta(days=29)

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Later":
            return cls.fromtimestamp(later.timestamp(), tz)

    monkeypatch.setattr(dt, "datetime", Later)
    assert authority.ensure(tmp_path, "192.0.2.10")
    second = certificate(tmp_path, "server")
    assert second.not_valid_after_utc > first.not_valid_after_utc
    assert second.issuer == first.issuer and authority.authority_pem(tmp_path)
    assert authority.server_digest(tmp_path) == second.fingerprint(hashes.SHA256())


def _own_address() -> str | None:
    """This machine's address on the network, if it has one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = one.getsockname()[0]
    return None if ipaddress.ip_address(address).is_loopback else address


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_gateway_on_the_network_serves_tls_with_its_own_certificate(tmp_path: Path) -> None:
    host = _own_address()
    if host is None:
        pytest.skip("this machine has no address but loopback")
    with RunningGateway(tmp_path / "state", host=host) as gateway:
        gateway.wait_healthy()
        ca = gateway.folder / "tls" / "authority.pem"
        context = ssl.create_default_context(cafile=str(ca))
        with (
            socket.create_connection((host, gateway.mqtt_port), 5) as raw,
            context.wrap_socket(raw, server_hostname=host) as connection,
        ):
            assert connection.version() in ("TLSv1.2", "TLSv1.3")
            digest = connection.getpeercert(binary_form=True)
            assert digest is not None
            connection.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00")  # no login
            assert connection.recv(4) in (b"", b"\x20\x02\x00\x05", b"\x20\x02\x00\x04", b"\x20\x02\x00\x02")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")  # or the client itself would not try
        old.load_verify_locations(ca)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with socket.create_connection((host, gateway.mqtt_port), 5) as raw, pytest.raises(ssl.SSLError) as caught:
            old.wrap_socket(raw, server_hostname=host)
        # The server said no, with an alert or by hanging up; the client had offered.
        assert "ALERT_PROTOCOL_VERSION" in str(caught.value) or "EOF" in str(caught.value)
        # The link pins this very certificate, and the plain listener is for this machine alone.
        from wire.enrolment import parse_link

        gateway.cli("profile", "add", "ward", "W")
        link = parse_link(gateway.cli("invite", "ward:W", json=True)["uri"])
        assert link.certificate == authority.server_digest(gateway.folder / "tls") != b""
        assert link.broker == f"mqtts://{host}:{gateway.mqtt_port}"
        with pytest.raises(OSError):
            socket.create_connection((host, gateway.mqtt_port + 1), 2)
