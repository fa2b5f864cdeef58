"""Wires the HL7 listener: configuration, index, census; for the intake process and for the command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.config_hl7 import Hl7
    from gateway.management.adt_desk import AdtDesk
    from gateway.middleware.adt.listener import Listener


def open_desk(settings: Hl7, opened: Engine, wake: Callable[[], None]) -> AdtDesk:
    """What carries messages out, whether the gateway runs or not."""
    from gateway.management.adt_desk import AdtDesk
    from gateway.management.occupancy import Occupancy
    from gateway.middleware.adt import charset
    from gateway.middleware.adt.message import Reading

    if settings.charset and not charset.is_known(settings.charset):
        raise ConfigError("hl7.charset: of HL7 table 0211, such as KS X 1001 or 8859/1, or empty")
    reading = Reading(settings.authority, settings.issuer == "keep", settings.charset, settings.time_zone)
    return AdtDesk(opened, Occupancy(opened, wake), reading, time.time)


def make_listener(settings: Hl7, folder: Path, opened: Engine, wake: Callable[[], None]) -> Listener | None:
    """The listener, not started yet; None where it is off. Its files lie relative to ``folder``, the state folder."""
    if settings.port is None:
        return None
    from gateway.middleware.adt.listener import Listener, ListenerSettings
    from gateway.middleware.scp_settings import TlsSettings

    tls = None
    if settings.certificate:
        authority = folder / settings.client_authority if settings.client_authority else None
        tls = TlsSettings(folder / settings.certificate, folder / settings.key, authority)
    return Listener(
        ListenerSettings(
            host=settings.host,
            port=settings.port,
            allow_addresses=tuple(settings.allow_addresses),
            max_message_bytes=settings.max_message_kb * 1024,
            max_connections=settings.max_connections,
            idle_s=settings.idle_s,
            tls=tls,
        ),
        open_desk(settings, opened, wake).receive,
    )
