"""The gateway's own certificate authority, constrained to its own names, and the server certificate it issues."""

import datetime as dt
import hashlib
import ipaddress
import logging
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.management.files import write_private

_log = logging.getLogger(__name__)

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 397
_RENEW_DAYS = 30
_BACKDATE = dt.timedelta(days=1)


def ensure(folder: Path, host: str) -> bool:
    """Make authority and server certificate for ``host``, or renew the latter when it nears its end.

    Files: ``authority.pem``, ``authority.key``, ``server.pem`` (with its chain), ``server.key``; keys of mode 0600.
    An authority is made for one host: another ``host`` gets a new one, and devices must be enrolled anew.

    Returns:
        True if the server certificate is a new one.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_authority_for(folder, host):
        if (folder / "authority.pem").exists():
            _log.warning("a new certificate authority is made: devices must be enrolled anew")
        _make_authority(folder, host)
    if _is_server_good(folder, host):
        return False
    _make_server(folder, host)
    return True


def _load(folder: Path, name: str) -> x509.Certificate | None:
    """The first certificate of ``name``.pem, if ``name``.key is its key; None where either is missing or damaged."""
    try:
        certificate = x509.load_pem_x509_certificates((folder / f"{name}.pem").read_bytes())[0]
        key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return None
    # A cut between the two files leaves a key that is not the certificate's.
    return certificate if key.public_key() == certificate.public_key() else None


def _is_authority_for(folder: Path, host: str) -> bool:
    certificate = _load(folder, "authority")
    if certificate is None:
        return False
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    return constraints == _constraint(host) and not _nears_end(certificate)


def _is_server_good(folder: Path, host: str) -> bool:
    certificate, authority = _load(folder, "server"), _load(folder, "authority")
    if certificate is None or authority is None or _nears_end(certificate):
        return False
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return list(names) == [_general_name(host)]


def authority_pem(folder: Path) -> bytes:
    """What devices trust after enrolment; empty where there is no TLS."""
    path = folder / "authority.pem"
    return path.read_bytes() if path.exists() else b""


def server_digest(folder: Path) -> bytes:
    """SHA-256 of the server certificate (DER), which an enrolment link pins; empty where there is no TLS."""
    path = folder / "server.pem"
    if not path.exists():
        return b""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


def authority_der(folder: Path) -> bytes:
    """The authority's certificate as devices install it."""
    certificate = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    return certificate.public_bytes(serialization.Encoding.DER)


def fingerprint(folder: Path) -> str:
    """SHA-256 of the authority's certificate as systems show it: pairs of hexadecimal digits in upper case."""
    return hashlib.sha256(authority_der(folder)).digest().hex(":").upper()


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _constraint(host: str) -> x509.NameConstraints:
    """Only this host: a stolen authority key is of no use against any other site (RFC 5280 section 4.2.1.10)."""
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_network(host))
        other: x509.GeneralName = x509.DNSName("invalid")
    except ValueError:
        name = x509.DNSName(host)
        other = x509.IPAddress(ipaddress.ip_network("192.0.2.0/32"))
    # A kind of name that is not constrained would be free: both kinds are.
    return x509.NameConstraints(permitted_subtrees=[name, other], excluded_subtrees=None)


def _nears_end(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) < dt.timedelta(days=_RENEW_DAYS)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


_AUTHORITY_NAME = "mPACS Edge authority"


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _make_authority(folder: Path, host: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_AUTHORITY_NAME, _AUTHORITY_NAME, key, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(_constraint(host), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / "authority.key", _pem(key))
    write_private(folder / "authority.pem", certificate.public_bytes(serialization.Encoding.PEM))


def _make_server(folder: Path, host: str) -> None:
    authority_key = serialization.load_pem_private_key((folder / "authority.key").read_bytes(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    authority = (folder / "authority.pem").read_bytes()
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("mPACS Edge gateway", _AUTHORITY_NAME, key, _SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    write_private(folder / "server.key", _pem(key))
    write_private(folder / "server.pem", certificate.public_bytes(serialization.Encoding.PEM) + authority)
