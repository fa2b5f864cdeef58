"""What the command line shows of a running gateway: its parts' health, its studies."""

import socket
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway import config as configuration
from gateway.app import State, open_index
from gateway.app_pacs import status_of
from gateway.cli_support import local_time
from gateway.config_hl7 import Hl7
from gateway.control import Client
from gateway.management.census import People
from gateway.management.index import arrivals_read, deliveries, grants, movements, retrieved
from gateway.management.index.arrivals_tables import studies
from gateway.management.index.grants import Grant
from gateway.management.index.people import Profile
from gateway.management.registry import Registry
from gateway.management.sharing import with_shared
from gateway.management.standing import holds
from gateway.management.whereabouts import entitled, is_released

_GB = 1_000_000_000
_MOST = 100_000
_FEW_DAYS = 7
_CONNECT_S = 2.0


def probe(state: State) -> list[dict[str, Any]]:
    """``{"part", "healthy", "detail"}`` for core, broker, console, intake, index and each PACS."""
    config = configuration.load(state.root)
    client = Client(state.socket)
    core = client.status()
    client.close()
    connected = bool(core and core.get("broker"))
    return [
        _core_part(core),
        *_store_parts(core),
        _part("broker", connected, config.broker_url if connected else "the core is not connected to it"),
        _console_part(core, config),
        _probe_intake(config.dicom, is_running=core is not None),
        *_probe_hl7(config.hl7, is_running=core is not None),
        _probe_index(state, config),
        *_pacs_parts(state),
    ]


def _core_part(core: dict[str, Any] | None) -> dict[str, Any]:
    if core is None:
        return _part("core", False, "does not answer: start it with `mpacs-gateway run`")
    troubles = core.get("troubles") or {}
    if troubles:
        return _part("core", False, "; ".join(f"{part}: {text}" for part, text in sorted(troubles.items())))
    return _part("core", True, f"{core.get('devices_online', 0)} devices online")


def _console_part(core: dict[str, Any] | None, config: configuration.Config) -> dict[str, Any]:
    console = (core or {}).get("console") or {}
    if not console.get("listening"):
        return _part("console", False, f"does not listen on port {config.https.port}")
    days = int((console["certificate_ends"] - time.time()) / 86400)
    if days < _FEW_DAYS:
        ends = f"ends in {days} days" if days >= 0 else "has ended"
        return _part("console", False, f"its certificate {ends}: put a new one in place of https.certificate")
    web = "" if console["web"] else "; the web application is not installed"
    return _part("console", True, f"{config.origin}, certificate for {days} days{web}")


def _store_parts(core: dict[str, Any] | None) -> list[dict[str, Any]]:
    found = []
    for name, store in sorted(((core or {}).get("store") or {}).items()):
        detail = f"{store['used'] / _GB:.2f} of {store['quota'] / _GB:.2f} GB"
        if store["over"]:
            detail += "; above its quota, and nothing can be evicted now: raise it, or the disk will be full"
        elif store["squeezed"]:
            detail += f"; too small for the announcement window: raise store.{name}_gb or lower delivery.window_days"
        if "dropped" in store:
            detail += f" in {store['files']} refused files; {store['dropped']} dropped for want of room"
        found.append(_part(name, not (store["over"] or store["squeezed"]), detail))
    return found


def _pacs_parts(state: State) -> list[dict[str, Any]]:
    """A PACS that is away is said, and is no fault of the gateway: what is here is served all the same."""
    found = []
    for one in status_of(state):
        if not one["is_asked"]:
            return [_part("pacs", False, "the process that talks to PACS does not answer")]
        if one["error"]:
            since = f", last at {local_time(one['answered_at'])}" if one["answered_at"] else ""
            detail = f"AWAY{since}: {one['error']}; what is here stays usable"
        elif one["answered_at"]:
            detail = f"{one['how']}, {one['where']}, answered at {local_time(one['answered_at'])}"
        else:
            detail = f"{one['how']}, {one['where']}, not asked yet"
        found.append(_part(f"pacs {one['pacs']}", True, detail))
    return found


def _part(name: str, healthy: bool, detail: str) -> dict[str, Any]:
    return {"part": name, "healthy": healthy, "detail": detail}


def _probe_intake(dicom: configuration.Dicom, is_running: bool) -> dict[str, Any]:
    """By C-ECHO, as a modality would see it; a bare connection would only pile up in the SCP."""
    where = f"{dicom.aet}@{dicom.host}:{dicom.port}"
    if not dicom.port:
        return _part("intake", is_running, "on a port that the system chose")
    answered = False
    if is_running or _listens(_reachable(dicom.host), dicom.port):
        from gateway.middleware.echo import echo

        answered = echo(_reachable(dicom.host), dicom.port, dicom.aet)
    return _part("intake", answered, where if answered else f"{where} does not answer a C-ECHO")


def _probe_hl7(hl7: Hl7, is_running: bool) -> list[dict[str, Any]]:
    """By a bare connection, where the port is known; nothing where it is off."""
    if hl7.port is None:
        return []
    where = f"{hl7.host}:{hl7.port}"
    if not hl7.port:
        return [_part("hl7", is_running, "on a port that the system chose")]
    answers = _listens(_reachable(hl7.host), hl7.port)
    return [_part("hl7", answers, where if answers else f"{where} takes no connection")]


def _reachable(host: str) -> str:
    """The address under which this machine reaches what listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound


def _listens(host: str, port: int) -> bool:
    """Whether anybody does, which is quicker found out than by a C-ECHO; only asked where no core runs."""
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError:
        return False
    return True


def _probe_index(state: State, config: configuration.Config) -> dict[str, Any]:
    try:
        opened = open_index(state, config)
        with opened.connect() as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(studies)).scalar()
        opened.dispose()
    except SQLAlchemyError as error:
        return _part("index", False, f"cannot be read or written ({type(error).__name__})")
    return _part("index", True, f"{count} studies")


def list_studies(opened: Engine, registry: Registry) -> list[dict[str, Any]]:
    """All studies as ``mpacs-gateway studies --json`` prints them.

    ``instances`` counts them by state; its ``pending`` are those of ``received`` that have pixels to be rendered.
    ``incomplete``: a fetch of it from a PACS goes on or was cut. ``shares``: those that hold now.
    """
    with opened.connect() as connection:
        there = registry.census.look_within(connection)
        rules = there.rules
        layers = deliveries.layer_totals(connection)
        states = deliveries.state_counts(connection)
        located, now = movements.located(connection), time.time()
        cut = retrieved.all_cut(connection)
        given = grants.by_study(connection, int(now * 1000))
        found = []
        for study in arrivals_read.studies(connection, limit=_MOST):
            by_right = entitled(study, rules, located)
            mine = [one for one in given.get(study.id, ()) if holds(one, by_right, there)]
            found.append(
                {
                    "StudyInstanceUID": study.StudyInstanceUID,
                    "PatientID": study.PatientID,
                    "PatientName": study.PatientName,
                    "NumberOfStudyRelatedInstances": study.NumberOfStudyRelatedInstances,
                    "settled": study.settled,
                    "incomplete": study.StudyInstanceUID in cut,
                    "layers": layers.get(study.id, {}),
                    "instances": states.get(study.id, {}),
                    "released": is_released(study, rules.access, located, now - study.last_arrival_at),
                    "recipients": [_named(p) for p in with_shared(by_right, mine, there)],
                    "shares": [_share(one, there) for one in mine],
                }
            )
    return found


def _share(grant: Grant, there: People) -> dict[str, Any]:
    until = local_time(grant.until / 1000) if grant.until else None
    return {
        "with": _named(there.by_reference[grant.recipient]),
        "by": _named(there.by_reference[grant.giver]),
        "until": until,
    }


def _named(profile: Profile) -> str:
    return f"{profile.kind}:{profile.identifier}"
