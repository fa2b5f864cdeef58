"""The gateway's configuration: one YAML file in the state folder, validated before anything starts."""

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from wire.errors import NameInvalid
from wire.names import check_site

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0)]
FILE_NAME = "gateway.yaml"


class ConfigError(Exception):
    """The configuration is missing or not valid; the text says where and what to do."""


class Dicom(Struct, frozen=True, forbid_unknown_fields=True):
    """The storage SCP. Empty allow-lists admit everybody; set them in a hospital."""

    host: str = "127.0.0.1"
    port: Port = 11112
    aet: Annotated[str, Meta(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")] = "MPACS"
    allow_calling: list[str] = field(default_factory=list)
    allow_addresses: list[str] = field(default_factory=list)
    max_associations: Annotated[int, Meta(ge=1, le=200)] = 20
    network_timeout_s: Positive = 30.0


class Mqtt(Struct, frozen=True, forbid_unknown_fields=True):
    """Where devices reach the broker (``port``), and where the gateway does (``local_port``, loopback, plain TCP).

    Both are the same listener as long as ``host`` of the gateway is a loopback address.
    """

    port: Port = 1883
    local_port: Port = 0


class Https(Struct, frozen=True, forbid_unknown_fields=True):
    """The port of the console, which enrolment links name."""

    port: Port = 8443


class Rendering(Struct, frozen=True, forbid_unknown_fields=True):
    """Pictures of the layer ``display``: longest side in pixels, JPEG quality; and how many workers make them."""

    workers: Annotated[int, Meta(ge=1, le=16)] = 2
    max_side: Annotated[int, Meta(ge=64, le=8192)] = 1600
    quality: Annotated[int, Meta(ge=50, le=100)] = 90
    thumbnail_side: Annotated[int, Meta(ge=32, le=512)] = 256


class Delivery(Struct, frozen=True, forbid_unknown_fields=True):
    """Times of delivery: heads fall due every ``head_ward_s`` or ``head_s``; a study settles after ``settle_s``."""

    head_ward_s: Positive = 15.0
    head_s: Positive = 300.0
    settle_s: Positive = 3.0
    window_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    lease_h: Positive = 72.0
    invite_min: Positive = 10.0


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings; every one but ``site`` has a default."""

    site: str
    host: str = "127.0.0.1"
    index: str = "index.db"
    dicom: Dicom = field(default_factory=Dicom)
    mqtt: Mqtt = field(default_factory=Mqtt)
    https: Https = field(default_factory=Https)
    rendering: Rendering = field(default_factory=Rendering)
    delivery: Delivery = field(default_factory=Delivery)

    @property
    def tls(self) -> bool:
        """Whether devices come over the network, and so over TLS."""
        return not is_loopback(self.host)

    @property
    def local_port(self) -> int:
        """The broker's loopback port."""
        if not self.tls:
            return self.mqtt.port
        return self.mqtt.local_port or self.mqtt.port + 1

    @property
    def broker_url(self) -> str:
        """What a device connects to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.mqtt.port}"

    @property
    def origin(self) -> str:
        """The console's origin, which enrolment links start with."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.https.port}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine itself: ``localhost``, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(state: Path) -> Config:
    """The configuration of a state folder; ConfigError says what is wrong with it."""
    path = state / FILE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there: run `mpacs-gateway init --state {state}` first") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return parse(data, str(path))


def parse(data: bytes, where: str) -> Config:
    """A configuration from YAML; ``where`` names it in errors."""
    try:
        config = msgspec.yaml.decode(data, type=Config)
        check_site(config.site)
        for network in config.dicom.allow_addresses:
            ipaddress.ip_network(network)
    except (msgspec.DecodeError, NameInvalid, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    return config
