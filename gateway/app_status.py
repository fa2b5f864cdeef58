"""What the command line shows of a running gateway: its parts' health, its studies."""

import json
from typing import Any

from sqlalchemy.engine import Engine

from gateway import config as configuration
from gateway.app import State
from gateway.control import Client
from gateway.management import routing
from gateway.management.index import arrivals_read, deliveries
from gateway.management.registry import Registry


def probe(state: State) -> list[dict[str, Any]]:
    """``{"part", "healthy", "detail"}`` for core, broker, intake and index."""
    config = configuration.load(state.root)
    client = Client(state.socket)
    core = client.status()
    client.close()
    connected = bool(core and core["broker"])
    return [
        _part("core", core is not None, f"{core['devices_online']} devices online" if core else "does not answer"),
        _part("broker", connected, config.broker_url if connected else "the core is not connected to it"),
        _probe_intake(config.dicom.host, config.dicom.port, config.dicom.aet),
        _probe_index(state, config),
    ]


def _part(name: str, healthy: bool, detail: str) -> dict[str, Any]:
    return {"part": name, "healthy": healthy, "detail": detail}


def _probe_intake(host: str, port: int, aet: str) -> dict[str, Any]:
    """By C-ECHO, as a modality would see it; a bare connection would only pile up in the SCP."""
    from gateway.middleware.echo import echo

    where = f"{aet}@{host}:{port}"
    answered = echo("127.0.0.1" if host == "0.0.0.0" else host, port, aet)  # noqa: S104  # compared, not bound
    return _part("intake", answered, where if answered else f"{where} does not answer a C-ECHO")


def _probe_index(state: State, config: configuration.Config) -> dict[str, Any]:
    from gateway.app import open_index

    opened = open_index(state, config)
    with opened.connect() as connection:
        count = len(arrivals_read.studies(connection, limit=100_000))
    opened.dispose()
    return _part("index", True, f"{count} studies")


def list_studies(opened: Engine, registry: Registry) -> list[dict[str, Any]]:
    """All studies as ``mpacs-gateway studies --json`` prints them."""
    profiles = registry.profiles()
    found = []
    with opened.connect() as connection:
        for study in arrivals_read.studies(connection, limit=100_000):
            layers: dict[str, dict[str, int]] = {}
            for sealed in deliveries.objects_of(connection, study.id):
                layer = layers.setdefault(sealed.layer, {"objects": 0, "frames": 0, "bytes": 0})
                layer["objects"] += 1
                layer["frames"] += sealed.frames
                layer["bytes"] += sealed.size
            states: dict[str, int] = {}
            for instance in arrivals_read.instances_of(connection, study.id):
                states[instance.state] = states.get(instance.state, 0) + 1
            entitled = routing.recipients(json.loads(study.attributes), study.PatientID, profiles)
            found.append(
                {
                    "StudyInstanceUID": study.StudyInstanceUID,
                    "PatientID": study.PatientID,
                    "PatientName": study.PatientName,
                    "NumberOfStudyRelatedInstances": study.NumberOfStudyRelatedInstances,
                    "settled": study.settled,
                    "layers": layers,
                    "instances": states,
                    "recipients": [f"{p.kind}:{p.identifier}" for p in entitled],
                }
            )
    return found
