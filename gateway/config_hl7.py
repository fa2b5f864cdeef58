"""The section ``hl7`` of the configuration: the listener for ADT messages."""

import ipaddress
import zoneinfo
from typing import Annotated, Literal

from msgspec import Meta, Struct, field


class Hl7(Struct, frozen=True, forbid_unknown_fields=True):
    """MLLP, off while ``port`` is null. Whoever may send here decides which ward sees whose pictures.

    ``authority`` is the assigning authority (PID-3.4, namespace or universal id) whose identifiers are the PatientIDs
    of DICOM headers; empty: any. ``issuer``: ``keep`` makes it the issuer, for headers that carry IssuerOfPatientID.
    ``charset`` (HL7 table 0211) is for messages that declare none and are no UTF-8; ``time_zone`` (IANA) for times
    that name none, empty: this machine's. ``certificate`` and ``key`` (PEM files, relative to the state
    folder) mean TLS, ``client_authority`` with certificates of the senders.
    """

    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    host: str = "127.0.0.1"
    allow_addresses: list[str] = field(default_factory=list)
    authority: Annotated[str, Meta(max_length=199)] = ""
    issuer: Literal["drop", "keep"] = "drop"
    charset: str = ""
    time_zone: str = ""
    max_message_kb: Annotated[int, Meta(ge=16, le=4096)] = 256
    max_connections: Annotated[int, Meta(ge=1, le=64)] = 16
    idle_s: Annotated[float, Meta(gt=0, le=31 * 86400)] = 14400.0
    certificate: str = ""
    key: str = ""
    client_authority: str = ""


def check_hl7(hl7: Hl7) -> None:
    """What types do not say; ValueError names the key."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if hl7.host == "localhost" else hl7.host)
    except ValueError:
        raise ValueError("hl7.host: an IP address to listen on, such as 0.0.0.0 for all") from None
    for network in hl7.allow_addresses:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ValueError(f"hl7.allow_addresses: {error}") from None
    if hl7.port is not None and not address.is_loopback and not (hl7.allow_addresses or hl7.client_authority):
        raise ValueError("hl7.allow_addresses: name who may send, for whoever can decides what wards show")
    if bool(hl7.certificate) != bool(hl7.key):
        raise ValueError("hl7.certificate and hl7.key: both are needed, or neither")
    if hl7.client_authority and not hl7.certificate:
        raise ValueError("hl7.client_authority: needs hl7.certificate and hl7.key too")
    if hl7.time_zone:
        try:
            zoneinfo.ZoneInfo(hl7.time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("hl7.time_zone: a name such as Asia/Seoul, or empty") from None
