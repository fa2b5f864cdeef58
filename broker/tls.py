"""The TLS listener's context. Certificate and key are files that the gateway makes and renews."""

import logging
import ssl
from pathlib import Path

from broker.config import TlsListener
from broker.errors import ConfigInvalid

log = logging.getLogger(__name__)


def tls_context(listener: TlsListener) -> ssl.SSLContext:
    """TLS 1.2 or later with Python's choice of ciphers; ConfigInvalid if certificate and key cannot be used together.

    amqtt hard-codes CERT_OPTIONAL, at which browsers abort; devices authenticate by password here.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would make OpenSSL ask at the terminal.
        context.load_cert_chain(listener.certificate, listener.key, password="")
    except (OSError, ValueError):
        raise ConfigInvalid("listeners.tls: certificate and key cannot be used together") from None
    return context


class Certificate:
    """A context whose certificate follows its files; new handshakes get the new one."""

    def __init__(self, listener: TlsListener) -> None:
        self._listener = listener
        self._seen = self._marks()
        self.context = tls_context(listener)

    def follow(self) -> None:
        """Load the files again if they changed and are good; else the last good ones stay in force."""
        marks = self._marks()
        if marks == self._seen or not all(marks):
            return
        self._seen = marks
        try:
            # In a context of its own first: a certificate without its key would spoil the one that serves.
            tls_context(self._listener)
            self.context.load_cert_chain(self._listener.certificate, self._listener.key, password="")
        except (ConfigInvalid, OSError, ValueError):
            log.error("the new certificate and key cannot be used together; the last good ones stay in force")

    def _marks(self) -> list[tuple[int, int] | None]:
        return [_mark(Path(name)) for name in (self._listener.certificate, self._listener.key)]


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
