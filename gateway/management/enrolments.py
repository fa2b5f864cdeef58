"""Enrolment: from a device's request to its identity, at once or after an operator's word. All methods block."""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine import Connection, Engine

from gateway.audit import Event
from gateway.config import Config
from gateway.management.index import devices, people, told, trail
from gateway.management.index.devices import Waiting
from gateway.management.index.people import Device, Invite, Profile
from gateway.management.vault import Vault
from wire import enrolment, sign
from wire.enrolment import CodeKeys, Enrolled, EnrolRequest, Recipient
from wire.errors import WireError
from wire.messages import Lease
from wire.names import decode_reference, encode_reference

_MS = 1000


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer for the device whose enrolment this is."""

    enrolment: str
    payload: bytes


class Enrolments:
    """Part of the registry."""

    def __init__(
        self, engine: Engine, vault: Vault, config: Config, authority: bytes, lease: Callable[[Device, float], Lease]
    ) -> None:
        """``authority`` (PEM) is the broker's for devices; ``lease`` gives a device its lease."""
        self._engine = engine
        self._vault = vault
        self._config = config
        self._authority = authority
        self._lease = lease

    def enrol(self, enrolment_ref: str, data: bytes) -> bytes | None:
        """The answer to an enrolment request, or None where there is none (yet). The code dies with the answer."""
        now = time.time()
        with self._engine.begin() as connection:
            invite = people.invite_by_reference(connection, enrolment_ref)
            if invite is None or not invite.has_login(now):
                return None
            digest = hashlib.sha256(data).digest()
            if invite.used_at is not None:
                if invite.request_sha256 == digest:
                    return invite.answer
                # Another device knows the code: with the login gone, the broker tells it so at once.
                people.end_login(connection, invite.enrolment)
                return None
            profile = people.profile_by_reference(connection, invite.reference)
            if profile is None:
                return None
            request = self._open(connection, invite, data)
            if request is None:
                return None
            if self._config.enrolment.confirm == "operator":
                # The first one under a code waits; whoever comes after it is left to the operator's eyes.
                fingerprint = sign.key_id(request.sign).hex()
                one = Waiting(enrolment_ref, fingerprint, request.name, data, now, None)
                devices.put_waiting(connection, one)
                return None
            return self._welcome(connection, invite, profile, request, data, now)

    def _open(self, connection: Connection, invite: Invite, data: bytes) -> EnrolRequest | None:
        """The request, if whoever sent it knows the code; what does not open counts against it."""
        keys = CodeKeys.derive(invite.code, invite.enrolment)
        try:
            return enrolment.open_request(keys.request_key, self._config.site, invite.enrolment, data)
        except WireError:
            people.fail_invite(connection, invite.enrolment)
            return None

    def _welcome(
        self,
        connection: Connection,
        invite: Invite,
        profile: Profile,
        request: EnrolRequest,
        data: bytes,
        now: float,
    ) -> bytes:
        """Enter the device and use the code up; the answer to it."""
        password, digest = os.urandom(32), hashlib.sha256(data).digest()
        device = Device(
            device=encode_reference(os.urandom(16)),
            reference=profile.reference,
            name=request.name,
            sign_key=request.sign,
            exchange_key=request.exchange,
            password_sha256=hashlib.sha256(password.hex().encode()).hexdigest(),
            lease_secret=os.urandom(32),
            enrolled_at=now,
            seen_at=now,
            revoked_at=None,
        )
        people.add_device(connection, device)
        recipient = Recipient(
            kind=profile.kind,
            recipient=decode_reference(profile.reference),
            label=profile.name or profile.identifier,
            head=told.head_sequence(connection, profile.reference),
        )
        enrolled = Enrolled(
            device=decode_reference(device.device),
            password=password,
            recipients=[recipient],
            lease=self._lease(device, now),
            authority=self._authority,
            issued=int(now * _MS),
            request=digest,
        )
        answer = enrolment.pack_answer(
            self._vault.online,
            self._vault.key_set(self._config.site),
            request.exchange,
            self._config.site,
            invite.enrolment,
            enrolled,
        )
        people.use_invite(connection, invite.enrolment, digest, answer, now)
        who = f"{profile.kind}:{profile.identifier}"
        trail.record(connection, Event("enrolled", who, device=device.device, what=request.name))
        return answer

    # ── an operator's word ────────────────────────────────────────────────────────────────────────────────────────

    def waiting(self) -> list[tuple[Waiting, str, str]]:
        """``(enrolment, kind, identifier)`` of all that wait for a word."""
        with self._engine.connect() as connection:
            return devices.all_waiting(connection, time.time())

    def decide(self, fingerprint: str, is_right: bool) -> Waiting | None:
        """Confirm or reject the enrolment with this whole fingerprint; None if no one waits with it.

        A fingerprint that several show is nobody's: all of them are rejected by a rejection, none is confirmed.
        """
        wanted = "".join(fingerprint.split()).lower()
        with self._engine.begin() as connection:
            found = [one for one, _, _ in devices.all_waiting(connection, time.time()) if one.fingerprint == wanted]
            if not found or (is_right and len(found) > 1):
                return None
            for one in found:
                if is_right:
                    devices.confirm(connection, one.enrolment, time.time())
                else:
                    devices.remove_waiting(connection, one.enrolment)
                    people.kill_invite(connection, one.enrolment)
            return found[0]

    def answer_confirmed(self) -> list[Answered]:
        """Enrol those that were confirmed; their answers are to be published once their logins stand."""
        with self._engine.connect() as connection:
            if not devices.confirmed(connection):
                return []
        now, found = time.time(), []
        with self._engine.begin() as connection:
            for one in devices.confirmed(connection):
                devices.remove_waiting(connection, one.enrolment)
                invite = people.invite_by_reference(connection, one.enrolment)
                profile = people.profile_by_reference(connection, invite.reference) if invite else None
                if invite is None or profile is None or not invite.is_open(now):
                    continue
                request = self._open(connection, invite, one.request)
                if request is not None:
                    payload = self._welcome(connection, invite, profile, request, one.request, now)
                    found.append(Answered(one.enrolment, payload))
        return found
