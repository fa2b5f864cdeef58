"""Which devices are there: by their presence messages, and by what they send."""

from gateway.management.census import People
from wire.messages import ONLINE

_MOST = 65536


class Presence:
    """Online devices, and which are a recipient's."""

    def __init__(self) -> None:
        """Nobody is there, and nobody is known."""
        self._online: set[str] = set()
        self._people = People((-1, -1), ())

    def follow(self, people: People) -> None:
        """Only devices of ``people`` count from now on."""
        self._people = people

    def status(self, device: str, payload: bytes) -> bool:
        """A ``status`` message came, perhaps before its device is known; returns whether it says ONLINE."""
        is_online = payload == ONLINE
        if not is_online:
            self._online.discard(device)
        elif len(self._online) < _MOST:
            self._online.add(device)
        return is_online

    def saw(self, device: str) -> None:
        """The device sent a request, so it is there."""
        self._online.add(device)

    def devices_of(self, recipient: str) -> set[str]:
        """Devices of a recipient that are online."""
        return self._online & self._people.active.get(recipient, frozenset())

    def online(self) -> set[str]:
        """All known devices that are online."""
        return self._online & self._people.devices.keys()

    def clear(self) -> None:
        """The link was cut: presence is told again, because it is retained."""
        self._online.clear()
