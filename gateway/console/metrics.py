"""``/metrics``: what the core knows of itself, as Prometheus text (exposition format 0.0.4). It names nobody."""

from collections.abc import Iterator, Mapping
from typing import Any

TYPE = "text/plain; version=0.0.4; charset=utf-8"

_CORE = {
    "broker": ("mpacs_broker_connected", "gauge", "1 while the gateway is connected to the broker"),
    "devices_online": ("mpacs_devices_online", "gauge", "devices that are connected now"),
    "published": ("mpacs_segments_published_total", "counter", "segments that were published"),
    "requests_dropped": ("mpacs_requests_dropped_total", "counter", "requests of devices that asked too much"),
}
_CONSOLE = {
    "connections": ("mpacs_console_connections", "gauge", "HTTPS connections that stand now"),
    "refused": (
        "mpacs_console_connections_refused_total",
        "counter",
        "connections that found no room or had to make it",
    ),
    "bridges": ("mpacs_bridge_connections", "gauge", "browsers that are connected to the broker"),
    "to_devices_bytes": ("mpacs_bridge_to_devices_bytes_total", "counter", "bytes from the broker to browsers"),
    "from_devices_bytes": ("mpacs_bridge_from_devices_bytes_total", "counter", "bytes from browsers to the broker"),
    "certificate_ends": ("mpacs_certificate_expiry_seconds", "gauge", "when the certificate ends, POSIX time"),
}


def exposition(status: Mapping[str, Any]) -> str:
    """The text for a status as ``Core.status`` gives it, with the console's under ``console``."""
    return "".join(_lines(status))


def _lines(status: Mapping[str, Any]) -> Iterator[str]:
    for values, names in ((status, _CORE), (status.get("console") or {}, _CONSOLE)):
        for key, (name, kind, text) in names.items():
            if (value := values.get(key)) is not None:
                yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {float(value):.17g}\n"
    troubles = status.get("troubles") or {}
    name = "mpacs_troubles"
    yield f"# HELP {name} parts that have trouble now\n# TYPE {name} gauge\n{name} {len(troubles)}\n"
