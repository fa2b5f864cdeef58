"""A device from Python: the same answers and events that the command line prints.

with Device("/var/lib/mpacs-device") as device:
    for event in device.events("complete"):
        device.export(event["StudyInstanceUID"], "/srv/pictures")

The state folder's owner answers, ``mpacs-device run`` or ``display``; without one the store is opened for each call,
and there are no events. The plain installation is enough. All methods block; DeviceError says what to do.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from device_client import control, service
from device_client.errors import DeviceError, NotRunning
from wire.messages import Layer

__all__ = ["Device", "DeviceError"]


class Device:
    """One enrolled device, by its state folder."""

    def __init__(self, state: str | Path) -> None:
        """Nothing is opened yet."""
        self._folder = Path(state)

    def __enter__(self) -> Self:
        """For symmetry: nothing is held open between calls."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def studies(self) -> list[dict[str, Any]]:
        """What is here, as ``mpacs-device studies --json`` prints it."""
        found: list[dict[str, Any]] = self._ask({"op": "studies"})
        return found

    def show(self, study: str) -> dict[str, Any]:
        """One study with its attributes (DICOM JSON), pictures and reports. ``study``: its UID or reference."""
        found: dict[str, Any] = self._ask({"op": "show", "study": study})
        return found

    def export(self, study: str, to: str | Path, layer: Layer = "display", partial: bool = False) -> dict[str, Any]:
        """Write a layer's files into a folder; what was written where. ``partial``: of one that still comes, too."""
        request = {"op": "export", "study": study, "to": str(Path(to).absolute()), "layer": layer, "frame": None}
        written: dict[str, Any] = self._ask({**request, "level": 0, "partial": partial})
        return written

    def events(self, *names: str) -> Iterator[dict[str, Any]]:
        """What happens from now on, ``{"event": NAME, …}``; of these names, or all. NotRunning without a process.

        The first is always ``watching``: from there on nothing is missed, as long as the caller keeps up.
        """
        try:
            for message in control.stream(self._folder, {"op": "watch"}):
                event = message["event"]
                if not names or event["event"] in (*names, "watching"):
                    yield event
        except (FileNotFoundError, ConnectionError):
            raise NotRunning from None

    def _ask(self, request: dict[str, Any]) -> Any:
        return service.request(self._folder, request, lambda _message: None)
