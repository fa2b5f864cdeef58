"""The PACS that are asked for what is not here: their part of the configuration."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

_AET = re.compile(r"[ -\[\]-~]{1,16}")
_Seconds = Annotated[float, Meta(gt=0, le=3600)]
_Port = Annotated[int, Meta(ge=1, le=65535)]
CHARSETS = ("ISO_IR 192", "ISO 2022 IR 149")


class PacsTls(Struct, frozen=True, forbid_unknown_fields=True):
    """DICOM over TLS to the PACS (PS3.15 annex B, BCP 195). PEM files, relative to the state folder or absolute.

    ``authority`` vouches for the PACS; empty: the system's. ``certificate`` and ``key`` are shown to it where it asks.
    """

    authority: str = ""
    certificate: str = ""
    key: str = ""
    check_name: bool = True
    """Whether the PACS's certificate must name ``host``."""


class Pacs(Struct, frozen=True, forbid_unknown_fields=True):
    """One PACS: by DIMSE (``aet``, ``host``, ``port``) or by DICOMweb (``dicomweb``).

    ``at_once`` fetches and as many searches at most, ``per_minute`` of them begun: no ward stops a hospital.
    """

    name: Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    aet: str = ""
    host: str = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    via: Literal["get", "move"] = "get"
    calling: str = ""
    """Our AE title towards this PACS; empty: the gateway's. C-MOVE sends to the gateway's, whatever stands here."""
    tls: PacsTls | None = None
    dicomweb: str = ""
    user: str = ""
    password_file: str = ""
    token_file: str = ""
    at_once: Annotated[int, Meta(ge=1, le=16)] = 2
    per_minute: Annotated[int, Meta(ge=1, le=6000)] = 240
    timeout_s: _Seconds = 30.0
    """So long the PACS may be silent."""
    tries: Annotated[int, Meta(ge=1, le=10)] = 4
    charsets: list[str] = field(default_factory=lambda: list(CHARSETS))
    """SpecificCharacterSet of queries with other letters than ASCII: one query in each."""


class Retrieval(Struct, frozen=True, forbid_unknown_fields=True):
    """``fresh_h``: a study that was fetched whole is not compared with the PACS again for so long."""

    fresh_h: Annotated[float, Meta(ge=0, le=8784)] = 24.0
    echo_s: _Seconds = 60.0


class Uploads(Struct, frozen=True, forbid_unknown_fields=True):
    """What devices send up. ``pacs`` is where it goes; empty: it stays here. Sizes of one file, of all on their way."""

    pacs: str = ""
    max_mb: Annotated[int, Meta(ge=1, le=1024)] = 256
    most_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 2048


class Priors(Struct, frozen=True, forbid_unknown_fields=True):
    """Earlier studies of a patient of whom a study arrives. ``most`` 0: none are fetched.

    ``same``: what a prior must share with it; ``years``: how old it may be.
    """

    most: Annotated[int, Meta(ge=0, le=50)] = 0
    same: Literal["patient", "modality", "body part", "modality or body part"] = "modality or body part"
    years: Annotated[float, Meta(gt=0, le=100)] = 5.0


class Daily(Struct, frozen=True, forbid_unknown_fields=True):
    """Studies that are fetched at a time of day (local time, ``HH:MM``): what ``filters`` find, by DICOM keywords.

    In dates ``today`` and ``yesterday`` stand for these days.
    """

    at: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    filters: dict[str, str]
    pacs: str = ""
    most: Annotated[int, Meta(ge=1, le=500)] = 50


class Prefetch(Struct, frozen=True, forbid_unknown_fields=True):
    """Off unless set."""

    priors: Priors = field(default_factory=Priors)
    daily: list[Daily] = field(default_factory=list)


def check(several: list[Pacs], prefetch: Prefetch, uploads: Uploads) -> None:
    """What types do not say; ValueError names the key."""
    names = [one.name for one in several]
    if uploads.pacs and uploads.pacs not in names:
        raise ValueError("uploads.pacs: no PACS of that name")
    for one in several:
        if names.count(one.name) > 1:
            raise ValueError(f"pacs: two are named {one.name}")
        _check_one(one)
    for daily in prefetch.daily:
        if daily.pacs and daily.pacs not in names:
            raise ValueError("prefetch.daily.pacs: no PACS of that name")
        if not daily.filters:
            raise ValueError("prefetch.daily.filters: at least one keyword, or the whole PACS would be fetched")


def check_aet(key: str, title: str) -> None:
    """An AE title as PS3.5 section 6.2 has it; else ValueError."""
    if not _AET.fullmatch(title) or not title.strip():
        raise ValueError(f"{key}: an AE title has 1 to 16 ASCII letters, digits or signs, and no backslash")


def _check_one(one: Pacs) -> None:
    where = f"pacs {one.name}"
    if one.dicomweb:
        if one.aet or one.host or one.port:
            raise ValueError(f"{where}: either dicomweb, or aet, host and port")
        if not one.dicomweb.startswith(("https://", "http://")):
            raise ValueError(f"{where}.dicomweb: a URL that begins with https:// or http://")
        if one.token_file and one.user:
            raise ValueError(f"{where}: either token_file or user")
        if bool(one.user) != bool(one.password_file):
            raise ValueError(f"{where}: user and password_file go together")
    else:
        if not (one.aet and one.host and one.port):
            raise ValueError(f"{where}: aet, host and port, or dicomweb, are needed")
        if one.token_file or one.user or one.password_file:
            raise ValueError(f"{where}: user, password_file and token_file go with dicomweb")
        check_aet(f"{where}.aet", one.aet)
        if one.calling:
            check_aet(f"{where}.calling", one.calling)
    if one.tls and bool(one.tls.certificate) != bool(one.tls.key):
        raise ValueError(f"{where}.tls: certificate and key go together")
