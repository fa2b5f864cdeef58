"""Who there is: profiles with their routing rules, and the devices that are active. Read anew only when it changed."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sqlalchemy.engine import Connection, Engine

from gateway.config import Access
from gateway.management.index import people, terms
from gateway.management.index.devices import to_be_wiped
from gateway.management.index.people import Device, Profile
from gateway.management.routing import Rules


@dataclass(frozen=True)
class People:
    """A moment of the index. ``devices`` are those that are not revoked, ``wiping`` those that are to be wiped."""

    version: tuple[int, int]
    profiles: Sequence[Profile]
    devices: Mapping[str, Device] = field(default_factory=dict)
    wiping: Mapping[str, Device] = field(default_factory=dict)

    @cached_property
    def active(self) -> dict[str, frozenset[str]]:
        """For each recipient that has any, its devices."""
        found: dict[str, set[str]] = {}
        for device in self.devices.values():
            found.setdefault(device.reference, set()).add(device.device)
        return {reference: frozenset(devices) for reference, devices in found.items()}

    @cached_property
    def by_reference(self) -> dict[str, Profile]:
        """Profiles by their opaque reference."""
        return {profile.reference: profile for profile in self.profiles}

    access: Access = field(default_factory=Access)
    turns_at: float = float("inf")
    """When the next term of one of them begins or ends, in POSIX seconds."""

    @cached_property
    def rules(self) -> Rules:
        """What routes a study to these profiles."""
        return Rules(self.profiles, self.access)


class Census:
    """Keeps the last look; one for a process, used from any of its threads."""

    def __init__(self, engine: Engine, access: Access | None = None) -> None:
        """Nothing is read yet."""
        self._engine = engine
        self._access = access or Access()
        self._turned = 0
        self._lock = threading.Lock()
        self._people = People((-1, -1), ())

    def look(self) -> People:
        """Who there is now; costs one small query while nothing changed. Blocks on the database."""
        with self._engine.connect() as connection:
            return self.look_within(connection)

    def look_within(self, connection: Connection) -> People:
        """The same, as the caller's transaction sees it."""
        now = time.time()
        with self._lock:
            # What begins or ends with time is as a change of the profiles for whoever compares versions.
            if now >= self._people.turns_at:
                self._turned += 1
                self._people = replace(self._people, version=(-1, -1), turns_at=float("inf"))
            turned = self._turned
            version = _turned(people.version(connection), turned)
            if self._people.version == version:
                return self._people
        found = _read(connection, version, self._access, now)
        with self._lock:
            # Another thread's transaction may have begun later and seen more.
            if found.version >= self._people.version:
                self._people = found
        return found


def _turned(version: tuple[int, int], turns: int) -> tuple[int, int]:
    return version[0] + turns, version[1] + turns


def _read(connection: Connection, version: tuple[int, int], access: Access, now: float) -> People:
    open_terms = terms.all_open(connection, now)
    bounds = [at for found in open_terms.values() for one in found for at in (one.begins, one.ends) if at is not None]
    profiles = tuple(
        replace(profile, terms=tuple(one for one in open_terms.get(profile.reference, ()) if one.holds(now)))
        for profile in people.all_profiles(connection)
    )
    known = {profile.reference for profile in profiles}
    active = people.all_devices(connection, with_revoked=False)
    wiping = [people.device_by_reference(connection, device) for device in to_be_wiped(connection)]
    # On PostgreSQL a profile may be removed between the two queries; its devices go with it.
    return People(
        version,
        profiles,
        {one.device: one for one in active if one.reference in known},
        {one.device: one for one in wiping if one is not None},
        access,
        min((at for at in bounds if at > now), default=float("inf")),
    )
