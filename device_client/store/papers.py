"""Announcements and heads, each kept exactly as received: signed, sealed, and opened anew whenever they are read."""

from pathlib import Path

from device_client.store import files
from wire.errors import NameInvalid
from wire.names import check_reference

_WIDTH = 8


class Papers:
    """Two folders: ``heads/RECIPIENT`` and ``announcements/RECIPIENT.STUDY``."""

    def __init__(self, folder: Path) -> None:
        """Make the folders and remove what a crash left half written."""
        self._heads = files.make_folder(folder / "heads")
        self._announcements = files.make_folder(folder / "announcements")
        files.sweep(self._heads)
        files.sweep(self._announcements)

    # ── heads ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def save_head(self, recipient: str, sequence: int, data: bytes) -> None:
        """Keep the highest sequence and the head in one write: neither is ever here without the other."""
        files.write_atomic(self._heads / recipient, sequence.to_bytes(_WIDTH, "big") + data)

    def load_head(self, recipient: str) -> tuple[int, bytes]:
        """``(highest sequence, head as received)``; zero and nothing before the first."""
        try:
            data = (self._heads / recipient).read_bytes()
        except FileNotFoundError:
            return 0, b""
        return int.from_bytes(data[:_WIDTH], "big"), data[_WIDTH:]

    # ── announcements ─────────────────────────────────────────────────────────────────────────────────────────────

    def _path(self, recipient: str, study: str) -> Path:
        return self._announcements / f"{recipient}.{study}"

    def save_announcements(self, received: list[tuple[str, str, bytes]]) -> None:
        """``(recipient, study, bytes)`` each, in one group."""
        files.write_all((self._path(recipient, study), data) for recipient, study, data in received)

    def load_announcements(self) -> list[tuple[str, str, bytes]]:
        """All that is kept."""
        found = []
        for path in sorted(self._announcements.iterdir()):
            recipient, _, study = path.name.partition(".")
            try:
                found.append((check_reference(recipient), check_reference(study), path.read_bytes()))
            except NameInvalid:
                continue
        return found

    def remove(self, keys: list[tuple[str, str]]) -> None:
        """Delete the announcements of ``(recipient, study)`` pairs; with them go the keys of their objects."""
        files.remove(self._path(recipient, study) for recipient, study in keys)
