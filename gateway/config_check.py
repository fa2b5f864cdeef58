"""What the types of the configuration do not say: addresses, names, ports that must differ."""

from __future__ import annotations

import ipaddress
import itertools
import re
from typing import TYPE_CHECKING

from gateway import config_pacs
from gateway.config_hl7 import check_hl7
from wire.names import check_site

if TYPE_CHECKING:
    from gateway.config import Config, Https

HTTPS_PORT = 443
_MOST_PORT = 65535
_HOST_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MOST_HOST_CHARACTERS = 253
_ORIGIN = re.compile(r"https://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?")


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine itself: ``localhost``, 127.0.0.0/8 or ::1."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def check(config: Config) -> None:
    """What types do not say; NameInvalid or ValueError names the key."""
    check_site(config.site)
    config_pacs.check(config.pacs, config.prefetch, config.uploads)
    _check_host("host", config.host)
    if config.mqtt.listen and not is_address(config.mqtt.listen):
        raise ValueError("mqtt.listen: an IP address, or empty")
    _check_https(config.https)
    if not is_address(config.dicom.host) and config.dicom.host != "localhost":
        raise ValueError("dicom.host: an IP address to listen on, such as 0.0.0.0 for all")
    config_pacs.check_aet("dicom.aet", config.dicom.aet)
    for title in config.dicom.allow_calling:
        config_pacs.check_aet("dicom.allow_calling", title)
    for network in config.dicom.allow_addresses:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ValueError(f"dicom.allow_addresses: {error}") from None
    check_hl7(config.hl7)
    if config.wards.blank_after_s is not None and config.wards.blank_after_s < 2 * config.delivery.head_ward_s:
        raise ValueError("wards.blank_after_s: twice delivery.head_ward_s at least, or pictures hide between two heads")
    ports = {"dicom.port": config.dicom.port, "mqtt.port": config.mqtt.port, "https.port": config.https.port}
    if config.dicom.tls:
        ports["dicom.tls.port"] = config.dicom.tls.port
    if config.hl7.port:
        ports["hl7.port"] = config.hl7.port
    if config.tls:
        ports["mqtt.local_port"] = config.local_port
    for (one, port), (other, same) in itertools.combinations(ports.items(), 2):
        if port == same and port:
            raise ValueError(f"{one} and {other} are both {port}: each needs a port of its own")


def _check_https(https: Https) -> None:
    if https.listen and not is_address(https.listen):
        raise ValueError("https.listen: an IP address, or empty")
    if bool(https.certificate) != bool(https.key):
        raise ValueError("https.certificate and https.key: both are needed, or neither")
    if https.origin:
        match = _ORIGIN.fullmatch(https.origin)
        if match is None or int(match["port"] or HTTPS_PORT) > _MOST_PORT or match["port"] == str(HTTPS_PORT):
            raise ValueError("https.origin: https://name or https://name:port in lower case, without a path")
        _check_host("https.origin", match["host"].strip("[]"))


def _check_host(key: str, host: str) -> None:
    if is_address(host):
        address = ipaddress.ip_address(host)
        if address.is_unspecified or address.is_multicast or "%" in host:
            raise ValueError(f"{key}: one address or name under which devices reach this machine, not {host}")
        return
    labels = host.split(".")
    if len(host) > _MOST_HOST_CHARACTERS or not all(map(_HOST_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise ValueError(f"{key}: an IP address or a DNS name of a-z, 0-9, hyphens and dots")
