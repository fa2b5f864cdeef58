"""The embedded broker's configuration, made from the gateway's own. Light: the supervisor writes it."""

from pathlib import Path
from typing import Any

import yaml

from gateway.config import Config
from gateway.management.files import write_private

ACCESS_FILE = "access.json"
CONFIG_FILE = "broker.yaml"


def write_config(folder: Path, config: Config, tls_folder: Path) -> Path:
    """The embedded broker's configuration, from the gateway's own; returns its path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    listeners: dict[str, Any] = {"tcp": {"host": config.local_host, "port": config.local_port}}
    if config.tls:
        listeners["tls"] = {
            "host": config.listen_host,
            "port": config.mqtt.port,
            "certificate": str((tls_folder / "server.pem").absolute()),
            "key": str((tls_folder / "server.key").absolute()),
        }
    contents = {"site": config.site, "access": ACCESS_FILE, "listeners": listeners}
    path = folder / CONFIG_FILE
    write_private(path, yaml.safe_dump(contents, sort_keys=False).encode())
    return path
