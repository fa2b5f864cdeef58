"""The certificate that the console presents: the gateway's own or the hospital's, read again when its files change."""

import contextlib
import datetime as dt
import errno
import ssl
from pathlib import Path

from cryptography import x509

from gateway.config import Config


class CertificateUnusable(OSError):
    """Certificate and key are missing, damaged or do not belong together; the text names the files alone."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EINVAL, text)


class ServerCertificate:
    """A TLS context that follows its files. The last good one stays in force while new files cannot be used."""

    def __init__(self, tls_folder: Path, config: Config) -> None:
        """Nothing is read before ``follow``."""
        https = config.https
        self.is_own = not https.certificate
        self._chain = Path(https.certificate) if https.certificate else tls_folder / "server.pem"
        self._key = Path(https.key) if https.key else tls_folder / "server.key"
        self._seen: tuple[tuple[int, int, int], ...] = ()
        self._context: ssl.SSLContext | None = None
        self.expires: dt.datetime | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """For a server; what it was at the last ``follow`` that succeeded."""
        assert self._context is not None, "follow() comes first"
        return self._context

    def follow(self) -> bool:
        """Load the files if they changed; True if they did. Blocks; CertificateUnusable says what is wrong."""
        marks = tuple(self._mark(path) for path in (self._chain, self._key))
        if marks == self._seen:
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with contextlib.suppress(NotImplementedError):
            context.set_alpn_protocols(["http/1.1"])
        try:
            # An encrypted key would make OpenSSL ask at the terminal.
            context.load_cert_chain(self._chain, self._key, password="")
            expires = x509.load_pem_x509_certificates(self._chain.read_bytes())[0].not_valid_after_utc
        except (OSError, ValueError):
            raise CertificateUnusable(f"{self._chain} and {self._key} are no certificate and its key") from None
        # Written between the two looks, the pair is of two kinds: it is loaded again at the next look.
        self._context, self.expires, self._seen = context, expires, marks
        return True

    def _mark(self, path: Path) -> tuple[int, int, int]:
        try:
            status = path.stat()
        except OSError as error:
            raise CertificateUnusable(f"{path} cannot be read: {error.strerror}") from None
        return status.st_ino, status.st_mtime_ns, status.st_size
