"""Profiles, invitations and devices: what the command line and the delivery do to them. All methods block."""

import os
import time
import unicodedata
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection, Engine

from gateway import audit
from gateway.audit import Event
from gateway.config import Config
from gateway.management.census import Census
from gateway.management.enrolments import Enrolments
from gateway.management.index import devices, people, terms, told, trail
from gateway.management.index.devices import Wiping
from gateway.management.index.people import Device, Invite, Profile
from gateway.management.routing import ALL, canonical, join_patient, split_patient
from gateway.management.vault import Vault
from wire import enrolment
from wire.enrolment import Link
from wire.messages import Lease
from wire.names import Kind, decode_reference, encode_reference, recipient_reference

_MS = 1000


_MOST_CHARACTERS = 256
_MOST_DEVICES = 512
"""Of one recipient: each has its share in one message of epoch keys."""


class Unknown(Exception):
    """No such profile, device or invitation; the text is for the administrator."""


class NotTaken(Exception):
    """A profile or invitation that cannot be; the text says why, without repeating what was given."""


def check_text(what: str, text: str) -> str:
    """``text`` in its canonical form; NotTaken if it is too long or holds what no header can."""
    text = canonical(text)
    if len(text) > _MOST_CHARACTERS:
        raise NotTaken(f"{what} is longer than {_MOST_CHARACTERS} characters")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise NotTaken(f"{what} holds a control character or what is no text")
    return text


def check_identifier(kind: Kind, identifier: str) -> str:
    """The identifier as it is kept; NotTaken if it cannot stand for anybody."""
    identifier = check_text("the identifier", identifier)
    if not identifier:
        raise NotTaken("the identifier is empty")
    if kind != "patient":
        return identifier
    if split_patient(identifier)[0] == ALL:
        raise NotTaken("'*' stands for all patients, so it is no patient's identifier")
    return check_patient(identifier)


def check_patient(identifier: str) -> str:
    """``ID`` or ``ID^^^ISSUER`` in its canonical form; NotTaken if one of the two is empty."""
    patient, issuer = split_patient(check_text("a patient's identifier", identifier))
    if not patient:
        raise NotTaken("a patient's identifier is empty")
    if not issuer and identifier.rstrip().endswith("^^^"):
        raise NotTaken("the issuer is empty: write ID^^^ISSUER, or the ID alone")
    if any(part.startswith("^") or part.endswith("^") or "^^" in part for part in (patient, issuer)):
        raise NotTaken("a patient's identifier is ID^^^ISSUER, with three carets, or the ID alone")
    return join_patient(patient, issuer)


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link and until when it may be used (POSIX seconds)."""

    uri: str
    expires_at: float


class Registry:
    """The gateway's people and their devices."""

    def __init__(
        self,
        engine: Engine,
        vault: Vault,
        config: Config,
        authority: bytes,
        certificate: bytes,
        actor: str = "gateway",
    ) -> None:
        """``authority`` (PEM) and ``certificate`` (SHA-256) are the broker's for devices; empty without TLS.

        ``actor`` is who does what is done here, for the audit trail.
        """
        self._actor = actor
        self._engine = engine
        self._vault = vault
        self._config = config
        self._certificate = certificate
        self.census = Census(engine, config.access)
        self.enrolments = Enrolments(engine, vault, config, authority, self.lease)

    def reference(self, kind: Kind, identifier: str) -> str:
        """The opaque reference of a recipient."""
        patient, issuer = split_patient(identifier) if kind == "patient" else (canonical(identifier), "")
        return recipient_reference(self._vault.reference_key, kind, patient, issuer)

    def check_profile(self, kind: Kind, identifier: str, name: str, attends: tuple[str, ...]) -> Profile:
        """The profile as it would be kept; NotTaken if it cannot be."""
        identifier = check_identifier(kind, identifier)
        patients = tuple(dict.fromkeys(check_patient(text) for text in attends))
        if kind == "patient" and patients:
            raise NotTaken("a patient attends nobody: --attends is for doctors and wards")
        return Profile(self.reference(kind, identifier), kind, identifier, check_text("the name", name), patients)

    def find(self, kind: Kind, identifier: str) -> Profile | None:
        """The profile of an identifier."""
        with self._engine.connect() as connection:
            return people.profile_by_reference(connection, self.reference(kind, identifier))

    def put_profile(
        self,
        kind: Kind,
        identifier: str,
        name: str | None = None,
        attends: tuple[str, ...] | None = None,
        is_add: bool = False,
    ) -> tuple[Profile, bool]:
        """Add or change a profile; the second value is True if it is new. NotTaken if it cannot be.

        What is None stays as it is; of a new profile it is empty. ``is_add``: one that is there stays as it is.
        """
        profile = self.check_profile(kind, identifier, name or "", attends or ())
        with self._engine.begin() as connection:
            known = people.profile_by_reference(connection, profile.reference)
            if known is not None and is_add:
                return known, False
            if known is not None:
                profile = replace(
                    profile,
                    name=known.name if name is None else profile.name,
                    attends=known.attends if attends is None else profile.attends,
                )
            is_new = people.put_profile(connection, profile)
            if profile != known:
                self._record(connection, "profile-changed", profile, what=", ".join(profile.attends))
            return profile, is_new

    def _record(
        self, connection: Connection, kind: audit.Kind, profile: Profile, device: str = "", what: str = ""
    ) -> None:
        whom = f"{profile.kind}:{profile.identifier}"
        trail.record(connection, Event(kind, self._actor, device=device, whom=whom, what=what))

    def remove_profile(self, kind: Kind, identifier: str) -> None:
        """Remove a profile, its devices and all that it was told; Unknown if there is none."""
        reference = self.reference(kind, identifier)
        with self._engine.begin() as connection:
            known = people.profile_by_reference(connection, reference)
            if known is None or not people.remove_profile(connection, reference):
                raise Unknown("there is no such profile; `mpacs-gateway profile list` shows all")
            self._record(connection, "profile-removed", known)
            told.remove_recipient(connection, reference)
            terms.remove_recipient(connection, reference, time.time())

    def profiles(self) -> list[Profile]:
        """All profiles, with the terms that hold now or are to come."""
        with self._engine.connect() as connection:
            found = terms.all_open(connection, time.time())
            return [replace(p, terms=tuple(found.get(p.reference, ()))) for p in people.all_profiles(connection)]

    def devices(self) -> list[tuple[Device, Profile]]:
        """All devices with the profile that each belongs to."""
        with self._engine.connect() as connection:
            profiles = {p.reference: p for p in people.all_profiles(connection)}
            return [(d, profiles[d.reference]) for d in people.all_devices(connection) if d.reference in profiles]

    def invite(self, kind: Kind, identifier: str) -> Invitation:
        """A one-time link for a device of a profile; Unknown if there is none, NotTaken if it has too many."""
        code, now = os.urandom(16), time.time()
        expires_at = now + self._config.delivery.invite_min * 60
        invite = Invite(
            encode_reference(os.urandom(16)), self.reference(kind, identifier), code, expires_at, 0, None, None, None
        )
        with self._engine.begin() as connection:
            profile = people.profile_by_reference(connection, invite.reference)
            if profile is None:
                raise Unknown(f"there is no such {kind}: add it with `mpacs-gateway profile add {kind} ID --name NAME`")
            if len(people.devices_of(connection, invite.reference)) >= _MOST_DEVICES:
                raise NotTaken(f"it has {_MOST_DEVICES} devices already: revoke those that are not used any more")
            people.sweep_invites(connection, now)
            devices.sweep_waiting(connection)
            people.add_invite(connection, invite)
            self._record(connection, "invited", profile)
        link = Link(
            version=1,
            site=self._config.site,
            broker=self._config.broker_url,
            certificate=self._certificate,
            root=self._vault.root_digest,
            enrolment=decode_reference(invite.enrolment),
            code=code,
            expires=int(expires_at * _MS),
        )
        return Invitation(enrolment.format_link(self._config.origin, link), expires_at)

    def device(self, beginning: str) -> tuple[Device, Profile | None]:
        """The device whose reference begins so, and whose it is; Unknown if none or several do."""
        with self._engine.connect() as connection:
            found = _fitting(connection, beginning)
            return found, people.profile_by_reference(connection, found.reference)

    def revoke(self, device: str) -> Device:
        """Revoke a device by its reference or a unique beginning of it; Unknown if none fits.

        Login, lease and epoch end in one transaction; once more is no error.
        """
        with self._engine.begin() as connection:
            found = _fitting(connection, device)
            if people.revoke_device(connection, found.device, time.time()):
                self._record_device(connection, "revoked", found)
            return found

    def _record_device(self, connection: Connection, kind: audit.Kind, device: Device) -> None:
        profile = people.profile_by_reference(connection, device.reference)
        if profile is not None:
            self._record(connection, kind, profile, device.device)

    def wipe(self, device: str) -> Device:
        """Revoke a device, and have it erase itself when it comes the next time; Unknown if none fits."""
        with self._engine.begin() as connection:
            found = _fitting(connection, device)
            people.revoke_device(connection, found.device, time.time())
            devices.order_wipe(connection, found.device, time.time())
            self._record_device(connection, "wiped", found)
            return found

    def note_wiped(self, device: str) -> bool:
        """The device says that it has erased what it received; False if it was not ordered to."""
        with self._engine.begin() as connection:
            return devices.note_wiped(connection, device, time.time())

    def wipes(self) -> dict[str, Wiping]:
        """Which devices were ordered to erase themselves, and which have."""
        with self._engine.connect() as connection:
            return devices.all_wipes(connection)

    def lease(self, device: Device, now: float) -> Lease:
        """The lease of an active device, renewed from ``now`` on; Unknown if it was revoked."""
        if device.lease_secret is None:
            raise Unknown("this device was revoked")
        return Lease(secret=device.lease_secret, expires=int((now + self._config.delivery.lease_h * 3600) * _MS))


def _fitting(connection: Connection, beginning: str) -> Device:
    found = [d for d in people.all_devices(connection) if d.device.startswith(beginning)] if beginning else []
    if len(found) != 1:
        raise Unknown("no device, or more than one, has this reference; `mpacs-gateway devices` shows all")
    return found[0]
