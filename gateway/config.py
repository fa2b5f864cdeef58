"""The gateway's configuration: one YAML file in the state folder, validated before anything starts."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from gateway.config_check import HTTPS_PORT, check, is_address, is_loopback
from gateway.config_hl7 import Hl7
from gateway.config_pacs import Pacs, Prefetch, Retrieval, Uploads
from wire.errors import NameInvalid

Port = Annotated[int, Meta(ge=1, le=65535)]
AnyPort = Annotated[int, Meta(ge=0, le=65535)]
"""0: one that is free."""
Seconds = Annotated[float, Meta(gt=0, le=31 * 86400)]
Gigabytes = Annotated[float, Meta(gt=0, le=1_000_000)]
FILE_NAME = "gateway.yaml"


class ConfigError(Exception):
    """The configuration is missing or not valid; the text says where and what to do."""


class DicomTls(Struct, frozen=True, forbid_unknown_fields=True):
    """A second port of the storage SCP, over TLS (PS3.15 annex B, BCP 195). PEM files, relative to the state folder.

    ``authority``: senders must show a certificate of this one; empty: they need none. ``host`` empty: as the other.
    """

    certificate: str
    key: str
    authority: str = ""
    host: str = ""
    port: AnyPort = 2762


class Dicom(Struct, frozen=True, forbid_unknown_fields=True):
    """The storage SCP. Empty allow-lists admit everybody; set them in a hospital."""

    host: str = "127.0.0.1"
    port: AnyPort = 11112
    aet: str = "MPACS"
    allow_calling: list[str] = field(default_factory=list)
    allow_addresses: list[str] = field(default_factory=list)
    max_associations: Annotated[int, Meta(ge=1, le=200)] = 20
    network_timeout_s: Seconds = 30.0
    tls: DicomTls | None = None


class Mqtt(Struct, frozen=True, forbid_unknown_fields=True):
    """Where devices reach the broker (``port``), and where the gateway does (``local_port``, loopback, plain TCP).

    Both are the same listener as long as ``host`` of the gateway is a loopback address. ``listen`` is the address on
    which devices are awaited; empty: ``host`` where that is an address, all addresses where it is a name.
    """

    port: Port = 1883
    local_port: AnyPort = 0
    listen: str = ""


class Https(Struct, frozen=True, forbid_unknown_fields=True):
    """The console: where browsers load the web application and reach the broker.

    ``origin`` is what stands in enrolment links where a reverse proxy serves the console under another address;
    ``certificate`` and ``key`` are the hospital's own (PEM files), in place of one by the gateway's authority.
    """

    port: Port = 8443
    listen: str = ""
    origin: str = ""
    certificate: str = ""
    key: str = ""
    web: str = ""
    connections: Annotated[int, Meta(ge=8, le=400)] = 400
    """Each may take two descriptors, and paho's ``select()`` in the same process ends at descriptor 1,023."""
    metrics_token: Annotated[str, Meta(max_length=256, pattern=r"^[!-~]*$")] = ""


class Rendering(Struct, frozen=True, forbid_unknown_fields=True):
    """Pictures of the layer ``display``: longest side in pixels, JPEG quality; and how many workers make them.

    ``report``: whether the layer ``report`` is made; ``diagnostic``: whether that one is, every bit of every frame.
    ``pet``: pictures of PET as the file says, or in hot iron, from SUV 0 to 10 where the file allows to say so.
    """

    workers: Annotated[int, Meta(ge=1, le=16)] = 2
    max_side: Annotated[int, Meta(ge=64, le=8192)] = 1600
    quality: Annotated[int, Meta(ge=50, le=100)] = 90
    thumbnail_side: Annotated[int, Meta(ge=32, le=512)] = 256
    pet: Literal["grey", "hot-iron"] = "grey"
    report: bool = True
    diagnostic: bool = True


class Delivery(Struct, frozen=True, forbid_unknown_fields=True):
    """Times of delivery: heads fall due every ``head_ward_s`` or ``head_s``; a study settles after ``settle_s``."""

    head_ward_s: Seconds = 15.0
    head_s: Seconds = 300.0
    settle_s: Seconds = 3.0
    window_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    lease_h: Annotated[float, Meta(gt=0, le=8784)] = 72.0
    invite_min: Annotated[float, Meta(gt=0, le=1440)] = 10.0


class Import(Struct, frozen=True, forbid_unknown_fields=True):
    """The folder from which files are taken in: in the state folder, or anywhere by an absolute path; empty: none."""

    folder: str = "import"
    keep_days: Annotated[int, Meta(ge=0, le=3650)] = 7
    """So long files that were taken stay in its ``done``."""


class Enrolment(Struct, frozen=True, forbid_unknown_fields=True):
    """``operator``: a device waits until an operator has compared its fingerprint and confirmed it."""

    confirm: Literal["none", "operator"] = "none"


class Wards(Struct, frozen=True, forbid_unknown_fields=True):
    """What displays on a ward's wall may show.

    ``burned_in``: whether wards are told of series whose pixels may have a name in them: those that say so, and
    ultrasound and secondary captures that do not say otherwise. ``names``: what of a patient's name wards are told.
    ``blank_after_s``: so old may the last head be before a display hides pictures and names, where it does not do so
    earlier by itself; unset: each display's own limit alone.
    """

    burned_in: Literal["drop", "show"] = "drop"
    names: Literal["masked", "initials", "none"] = "masked"
    blank_after_s: Annotated[int, Meta(ge=30, le=86400)] | None = None


class Access(Struct, frozen=True, forbid_unknown_fields=True):
    """When patients get their studies, and how long access lasts that nobody gave for good.

    ``release``: ``manual`` holds a patient's study back until somebody releases it, ``after`` until ``release_after_h``
    have passed since its last image, ``automatic`` not at all. ``referring_days``: so long after a study's last image
    the doctors have it whom its header names. ``break_glass_h``: how long emergency access lasts.
    ``shares_outlive_giver``: a share holds until its time, whether or not its giver still has the study.
    """

    release: Literal["manual", "after", "automatic"] = "manual"
    release_after_h: Annotated[float, Meta(gt=0, le=8784)] = 72.0
    referring_days: Annotated[float, Meta(gt=0, le=3650)] = 30.0
    break_glass_h: Annotated[float, Meta(gt=0, le=168)] = 8.0
    shares_outlive_giver: bool = False


class Audit(Struct, frozen=True, forbid_unknown_fields=True):
    """``anchor``: a file, best on another machine's disk, to which the audit trail's anchors are written as well."""

    anchor: str = ""


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the disk is used, in GB (10^9 bytes). Unset: a share of the disk that the state folder lies on.

    ``archive_gb`` for DICOM files, ``objects_gb`` for sealed objects, ``quarantine_gb`` for what was refused;
    ``reserve_gb`` of the disk are kept free.
    """

    archive_gb: Gigabytes | None = None
    objects_gb: Gigabytes | None = None
    quarantine_gb: Gigabytes | None = None
    reserve_gb: Gigabytes | None = None


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
    imports: Import = field(default_factory=Import, name="import")
    enrolment: Enrolment = field(default_factory=Enrolment)
    store: Store = field(default_factory=Store)
    wards: Wards = field(default_factory=Wards)
    access: Access = field(default_factory=Access)
    audit: Audit = field(default_factory=Audit)
    pacs: list[Pacs] = field(default_factory=list)
    retrieval: Retrieval = field(default_factory=Retrieval)
    uploads: Uploads = field(default_factory=Uploads)
    prefetch: Prefetch = field(default_factory=Prefetch)
    hl7: Hl7 = field(default_factory=Hl7)

    @property
    def tls(self) -> bool:
        """Whether devices come over the network, and so over TLS."""
        return not is_loopback(self.host)

    @property
    def local_port(self) -> int:
        """The broker's loopback port."""
        if not self.tls:
            return self.mqtt.port
        return self.mqtt.local_port or (self.mqtt.port + 1 if self.mqtt.port < 65535 else self.mqtt.port - 1)

    @property
    def local_host(self) -> str:
        """Where the broker listens for this machine alone."""
        return self.host if not self.tls and self.host != "localhost" else "127.0.0.1"

    @property
    def listen_host(self) -> str:
        """Where the broker listens for devices on the network."""
        return self.mqtt.listen or self._any_host

    @property
    def console_host(self) -> str:
        """Where the console listens for browsers."""
        return self.https.listen or ("127.0.0.1" if self.host == "localhost" else self._any_host)

    @property
    def _any_host(self) -> str:
        return self.host if is_address(self.host) else "0.0.0.0"  # noqa: S104  # a name may stand for any interface

    @property
    def broker_url(self) -> str:
        """What a device connects to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.mqtt.port}"

    @property
    def own_origin(self) -> str:
        """The console's origin on this machine, as a browser writes it."""
        host = f"[{ipaddress.ip_address(self.host)}]" if ":" in self.host else self.host.lower()
        return f"https://{host}" + ("" if self.https.port == HTTPS_PORT else f":{self.https.port}")

    @property
    def origin(self) -> str:
        """The console's origin as users see it, which enrolment links start with."""
        return self.https.origin or self.own_origin


def load(state: Path) -> Config:
    """The configuration of a state folder; ConfigError says what is wrong with it."""
    path = state / FILE_NAME
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path} is not there: run `mpacs-gateway init --state {state}` first") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return parse(data, str(path))


def parse(data: bytes, where: str) -> Config:
    """A configuration from YAML; ``where`` names it in errors, which name the key."""
    try:
        config = msgspec.yaml.decode(data, type=Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())[:200]}") from None
    try:
        check(config)
    except (NameInvalid, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    return config
