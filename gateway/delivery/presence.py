"""Which devices are there: by their presence messages, and by what they send."""

from collections import defaultdict

from wire.messages import ONLINE


class Presence:
    """Online devices, and how many a recipient has."""

    def __init__(self) -> None:
        """Nobody is there."""
        self._online: dict[str, str | None] = {}
        self._of_recipient: defaultdict[str, set[str]] = defaultdict(set)

    def status(self, device: str, payload: bytes, recipient: str | None) -> bool:
        """A ``status`` message came; ``recipient`` if the device is known. Returns whether it is online."""
        if payload == ONLINE:
            self._online[device] = recipient
            if recipient is not None:
                self._of_recipient[recipient].add(device)
            return True
        known = self._online.pop(device, None) or recipient
        if known is not None:
            self._of_recipient[known].discard(device)
        return False

    def saw(self, device: str, recipient: str) -> None:
        """The device sent a request, so it is there."""
        self._online[device] = recipient
        self._of_recipient[recipient].add(device)

    def count(self, recipient: str) -> int:
        """Devices of a recipient that are online; one at least, since somebody asks."""
        return max(1, len(self._of_recipient[recipient]))

    def online(self) -> set[str]:
        """All devices that are online."""
        return set(self._online)

    def clear(self) -> None:
        """The link was cut: presence is told again, because it is retained."""
        self._online.clear()
        self._of_recipient.clear()
