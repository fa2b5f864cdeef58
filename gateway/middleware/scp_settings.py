"""Settings of the storage SCP: plain values that cross into the intake process."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path

PDU_LIMIT_BYTES = 1 << 20
"""No PDU is larger: an A-ASSOCIATE-RQ with 128 contexts of 60 syntaxes stays below 512 KiB."""
_MIN_PDU_BYTES = 4096

UNCOMPRESSED_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian, retired
)

# Not among them: the JPIP referenced ones (...4.94, 4.95, 4.204, 4.205), whose pixel data are a URL.
COMPRESSED_SYNTAXES = (
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 92, 93)),  # JPEG, JPEG-LS, JPEG 2000
    *(f"1.2.840.10008.1.2.4.{n}" for n in (100, 101, 102, 103, 104, 105, 106, 107, 108)),  # MPEG-2, H.264, HEVC
    *(f"1.2.840.10008.1.2.4.{n}.1" for n in (100, 101, 102, 103, 104, 105, 106)),  # the same, fragmentable
    *(f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112, 201, 202, 203)),  # JPEG XL, HTJ2K
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS for DICOM (PS3.15 annex B, BCP 195): minimum 1.2, no maximum."""

    certificate: Path
    key: Path
    client_authority: Path | None = None
    """When given, senders must show a certificate of this authority."""

    def context(self) -> ssl.SSLContext:
        """Load the files. Raises OSError or ssl.SSLError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.client_authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.client_authority)
        return context


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """How the storage SCP listens and what it allows."""

    host: str = "0.0.0.0"  # noqa: S104  # modalities are on the network; who may send is said below
    port: int = 11112
    aet: str = "MPACS"
    allow_calling: tuple[str, ...] = ()
    """AE titles that may call; empty allows all. An AE title is a claim, not a proof: use addresses or TLS too."""
    allow_addresses: tuple[str, ...] = ()
    """Networks (``192.0.2.0/24``) or addresses that may connect; empty allows all."""
    require_called: bool = False
    """Refuse senders that call another AE title than ``aet``."""
    max_pdu: int = 131072
    max_associations: int = 20
    max_per_address: int = 20
    network_timeout_s: float = 30.0
    """An association that is silent this long is aborted; a PDU must be complete within it."""
    handshake_timeout_s: float = 5.0
    """A connection that has not asked for an association within it is closed."""
    transfer_syntaxes: tuple[str, ...] = UNCOMPRESSED_SYNTAXES + COMPRESSED_SYNTAXES
    labels: tuple[tuple[str, str], ...] = ()
    """(AE title, label) of known senders; the label is what logs and the index name them by."""
    tls: TlsSettings | None = field(default=None)

    def __post_init__(self) -> None:
        if not _MIN_PDU_BYTES <= self.max_pdu <= PDU_LIMIT_BYTES:
            raise ValueError(f"max_pdu must lie between {_MIN_PDU_BYTES} and {PDU_LIMIT_BYTES}")
        if not self.transfer_syntaxes:
            raise ValueError("transfer_syntaxes must not be empty")
        self.networks()

    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """``allow_addresses``, parsed. Raises ValueError."""
        return tuple(ipaddress.ip_network(text, strict=False) for text in self.allow_addresses)
