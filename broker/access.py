"""The access file: who may log in, and as what. The gateway writes it, the broker follows it.

::

    {"version": 1, "site": "slug",
     "users": {NAME: {"sha256": "hex", "role": "gateway"|"device"|"enrol", "recipients": ["doctor/REF", ...]}}}

Passwords are 256 random bits, so one SHA-256 is enough: there is nothing to guess, and nothing slow in the event loop.
"""

import hashlib
import hmac
import logging
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from broker.errors import AccessInvalid
from wire.errors import NameInvalid
from wire.names import Kind, check_kind, check_reference
from wire.topics import Principal, Role

MAX_FILE_BYTES = 32 * 1024 * 1024

log = logging.getLogger(__name__)

Users = dict[str, tuple[bytes, Principal]]
"""User name to the SHA-256 of the password and the principal."""


class _User(Struct, forbid_unknown_fields=True):
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    role: Role
    recipients: list[str] = []


class _Document(Struct, forbid_unknown_fields=True):
    version: Literal[1]
    site: str
    users: dict[str, _User]


_decoder = msgspec.json.Decoder(_Document)


def parse(raw: bytes, site: str) -> Users:
    """Decode the whole file; AccessInvalid if any entry is not of its form, so a half-written file changes nothing."""
    try:
        document = _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise AccessInvalid(str(error)) from None
    if document.site != site:
        raise AccessInvalid("site: not the one of the configuration")
    users: Users = {}
    for position, (name, user) in enumerate(document.users.items()):
        try:
            recipients = tuple(_recipient(text) for text in user.recipients)
            principal = Principal(site, user.role, check_reference(name), recipients)
        except NameInvalid as error:
            raise AccessInvalid(f"users, entry {position}: {error}") from None
        users[name] = bytes.fromhex(user.sha256), principal
    return users


def load(path: Path, site: str) -> Users:
    """Read and decode the file; AccessInvalid if it is absent, too large or not of its form."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise AccessInvalid(f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise AccessInvalid(f"larger than {MAX_FILE_BYTES} bytes")
    return parse(raw, site)


def _recipient(text: str) -> tuple[Kind, str]:
    kind, _, reference = text.partition("/")
    return check_kind(kind), check_reference(reference)


def authenticate(users: Users, name: str, password: str) -> Principal | None:
    """The principal whose password this is, or None; unknown names take as long as wrong passwords."""
    digest, principal = users.get(name, (bytes(32), None))
    given = hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()
    return principal if hmac.compare_digest(digest, given) else None


class AccessFile:
    """Follows the file by its inode, size and time of change; keeps the last good content."""

    def __init__(self, path: Path, site: str) -> None:
        self._path = path
        self._site = site
        self._seen: tuple[int, int, int] | None = None
        self.users: Users = {}

    def changed(self) -> bool:
        """Whether the file is another one than at the last ``refresh``. A file that vanished has not changed."""
        mark = self._mark()
        return mark is not None and mark != self._seen

    def refresh(self) -> bool:
        """Read the file again; False, with an error in the log, if it is not valid: then nothing changes."""
        # The mark is taken first: a file replaced while it is read is read once more.
        self._seen = self._mark()
        try:
            users = load(self._path, self._site)
        except AccessInvalid as error:
            log.error("access file: %s; the last good one stays in force", error)
            return False
        self.users = users
        return True

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
