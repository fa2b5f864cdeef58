"""The configuration: a YAML file, decoded into frozen structures with every bound checked."""

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta, Struct

from broker.errors import ConfigInvalid
from wire.errors import NameInvalid
from wire.names import check_site

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1024, le=2**31)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]

KIB = 1024
MIB = 1024 * KIB


class RetainedLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """How much all principals of one role together may leave with the broker."""

    messages: Count
    total_bytes: Bytes
    message_bytes: Bytes


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on what a client can cost. The defaults suit a Raspberry Pi 4 that also runs the gateway."""

    connections: Count = 1000
    # Loopback is exempt: the gateway's WebSocket bridge brings every phone from there.
    connections_per_address: Count = 64
    unauthenticated_connections: Count = 128
    connect_timeout_s: Seconds = 10.0
    keepalive_max_s: Seconds = 600.0
    packet_bytes: Bytes = 320 * KIB
    pending_bytes: Bytes = 4 * MIB
    pending_total_bytes: Bytes = 64 * MIB
    qos1_pending_bytes: Bytes = 8 * MIB
    qos1_unacknowledged: Annotated[int, Meta(ge=1, le=60_000)] = 4096
    stalled_s: Seconds = 30.0
    subscriptions: Count = 1024
    subscribes_per_s: Count = 200
    device_publishes_per_s: Count = 1000
    retained_gateway: RetainedLimits = RetainedLimits(messages=20_000, total_bytes=32 * MIB, message_bytes=320 * KIB)
    retained_device: RetainedLimits = RetainedLimits(messages=10_000, total_bytes=4 * MIB, message_bytes=4 * KIB)


class TcpListener(Struct, frozen=True, forbid_unknown_fields=True):
    """Plain MQTT, on loopback only."""

    port: Port
    host: str = "127.0.0.1"


class TlsListener(Struct, frozen=True, forbid_unknown_fields=True):
    """MQTT over TLS 1.2 or later; certificate chain and key are PEM files."""

    port: Port
    certificate: str
    key: str
    host: str = "0.0.0.0"  # noqa: S104  devices come from other machines; the connection is TLS


class Listeners(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the broker listens; at least one."""

    tcp: TcpListener | None = None
    tls: TlsListener | None = None


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration; paths are absolute once ``load`` returned it."""

    site: str
    access: str
    listeners: Listeners
    limits: Limits = Limits()


def load(path: Path) -> Settings:
    """Read and check the file; ConfigInvalid names the key that is wrong."""
    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigInvalid(f"cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigInvalid(f"not YAML{f', line {mark.line + 1}' if mark else ''}") from None
    try:
        settings = msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        raise ConfigInvalid(_with_key(str(error))) from None
    return _check(settings, path.resolve().parent)


def _with_key(text: str) -> str:
    # msgspec says "… - at `$.limits.connections`"; the key comes first here, as in every other message.
    problem, _, place = text.partition(" - at `$.")
    return f"{place.rstrip('`')}: {problem}" if place else problem


def _check(settings: Settings, folder: Path) -> Settings:
    try:
        check_site(settings.site)
    except NameInvalid as error:
        raise ConfigInvalid(f"site: {error}") from None
    if settings.limits.pending_bytes < 2 * settings.limits.packet_bytes:
        raise ConfigInvalid("limits.pending_bytes: less than two packets of limits.packet_bytes")
    tcp, tls = settings.listeners.tcp, settings.listeners.tls
    if tcp is None and tls is None:
        raise ConfigInvalid("listeners: name tcp, tls or both")
    if tcp is not None and not _address("listeners.tcp.host", tcp.host).is_loopback:
        raise ConfigInvalid("listeners.tcp.host: plain MQTT listens on loopback only; use listeners.tls beyond it")
    if tls is not None:
        _address("listeners.tls.host", tls.host)
        tls = msgspec.structs.replace(
            tls,
            certificate=_file("listeners.tls.certificate", folder, tls.certificate),
            key=_file("listeners.tls.key", folder, tls.key),
        )
    return msgspec.structs.replace(
        settings, access=str(folder / settings.access), listeners=Listeners(tcp=tcp, tls=tls)
    )


def _address(key: str, host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ConfigInvalid(f"{key}: not an IP address") from None


def _file(key: str, folder: Path, name: str) -> str:
    path = folder / name
    if not path.is_file():
        raise ConfigInvalid(f"{key}: no such file")
    return str(path)
