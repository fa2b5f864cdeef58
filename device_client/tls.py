"""Where the broker is, and what is trusted there."""

import hashlib
import hmac
import ipaddress
import socket
import ssl
import urllib.parse
from dataclasses import dataclass

from device_client.errors import EnrolmentFailed, LinkFailed


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's host and port; ``tls`` for mqtts."""

    host: str
    port: int
    tls: bool


def parse_broker(url: str) -> Address:
    """``mqtt://host:port`` or ``mqtts://host:port``, of a form that wire.enrolment has checked.

    EnrolmentFailed for another machine without TLS: the state folder may have been edited since.
    """
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or 0
    tls = parts.scheme == "mqtts"
    if not tls and not _is_loopback(host):
        raise EnrolmentFailed("the broker is on another machine and its address has no TLS: enrol again")
    return Address(host, port, tls)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authority_context(authority: bytes) -> ssl.SSLContext:
    """Trust what the enrolled authority (PEM) vouches for, host name or address included, and nothing else.

    An empty one says that the broker has a certificate of an authority that this system trusts.
    """
    if not authority:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority.decode("ascii"))
    return context


def first_context(address: Address, digest: bytes) -> ssl.SSLContext | None:
    """For the connection that enrols: none without TLS, the pinned certificate, or the system's authorities."""
    if not address.tls:
        return None
    return pinned_context(address, digest) if digest else ssl.create_default_context()


def pinned_context(address: Address, digest: bytes, timeout_s: float = 10.0) -> ssl.SSLContext:
    """For the first connection: trust exactly the certificate whose SHA-256 stands in the link; blocking.

    It is fetched without being believed, compared, and becomes the only anchor. The link names it, so no name is
    checked. EnrolmentFailed if the server shows another one.
    """
    certificate = _shown_certificate(address, timeout_s)
    if not hmac.compare_digest(hashlib.sha256(certificate).digest(), digest):
        raise EnrolmentFailed(
            "the broker shows another certificate than the one in the link: "
            "it was changed since, or somebody stands in between; ask for a new link"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(certificate))
    return context


def _shown_certificate(address: Address, timeout_s: float) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Nothing is sent over this connection; the certificate that it shows is compared with the link's digest.
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address.host, address.port), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=address.host) as secured,
        ):
            certificate = secured.getpeercert(binary_form=True)
    except OSError as error:
        raise LinkFailed(f"the broker cannot be reached ({type(error).__name__})") from None
    if not certificate:
        raise LinkFailed("the broker shows no certificate")
    return certificate
