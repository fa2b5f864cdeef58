"""Forged, replayed, reordered, oversized and mutated requests at the real door: refused, and without effect."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.app_upload import outward
from gateway.delivery.core import Core
from gateway.management.index import people
from gateway.management.index.engine import metadata
from gateway.management.index.people import Profile
from gateway.management.stores import open_stores
from tests.support.gateway_devices import now_ms
from tests.support.gateway_office import Office
from tests.vectors.asking import REQUESTS
from wire import asks, envelope, hpke, messages, sign, topics
from wire.errors import WireError
from wire.limits import MAX_MESSAGE_BYTES
from wire.messages import Request
from wire.names import decode_reference

KINDS = [name for name in REQUESTS if " " not in name]
_NOT_COMPARED = {"requests_seen", "request_floors", "counters", "study_progress", "audit"}
"""What every request leaves, whether it does anything or not; and the audit trail, in which refusals stand."""


class Door:
    """A core that was not started, so nothing is published; with it a device whose keys are here."""

    def __init__(self, office: Office, profile: Profile) -> None:
        self.office, self.profile = office, profile
        self.signer = Ed25519PrivateKey.generate()
        made = office.device(profile)
        with office.engine.begin() as connection:
            public = sign.raw_public(self.signer)
            connection.execute(sa.update(people.devices).where(people.devices.c.device == made.device).values(
                sign_key=public))  # fmt: skip
            people.bump(connection)
        self.device = made
        stores = open_stores(office.engine, office.config, office.state.archive, office.state.objects)
        outside = outward(office.state, office.config, office.engine)
        self.core = Core(
            office.config, office.engine, office.vault, office.registry, *stores, [], office.state.broker, *outside
        )
        self.boot, self.counter = os.urandom(16), 0

    @property
    def by(self) -> dict[str, Any]:
        return {"kind": self.profile.kind, "recipient": decode_reference(self.profile.reference)}

    def plain(self, body: dict[str, Any]) -> bytes:
        """The next request as CBOR, on this device's own behalf."""
        self.counter += 1
        request = {"boot": self.boot, "counter": self.counter, "issued": now_ms(), "body": {**body, **self.by}}
        return cbor2.dumps(request)

    def packed(self, plaintext: bytes) -> bytes:
        """Sealed and signed as the device does it, whatever is in it."""
        site, device = self.office.config.site, self.device.device
        exchange = hpke.raw_public(self.office.vault.exchange)
        info = hpke.info("request", site.encode(), decode_reference(device))
        sealed = hpke.seal(exchange, info, plaintext)
        return sign.sign(self.signer, "request", topics.device_request(site, device), sealed)

    async def knock(self, payload: bytes) -> None:
        """As if it had come by the broker; anything but a declared error fails the test."""
        await self.core._requests.handle(self.device.device, payload)
        while tasks := list(self.core._asks._tasks):
            await asyncio.gather(*tasks)
        assert not self.core.status()["troubles"]

    def verdict(self, payload: bytes) -> str:
        """What the door makes of it: the code of an error, or ``legal``."""
        try:
            envelope.open_request(
                sign.raw_public(self.signer), self.office.vault.exchange, self.office.config.site,
                self.device.device, payload,
            )  # fmt: skip
        except WireError as error:
            return error.code
        return "legal"

    def state(self) -> dict[str, list[Any]]:
        """All that a request could have changed."""
        with self.office.engine.connect() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(sa.select(table))))
                for table in metadata.sorted_tables
                if table.name not in _NOT_COMPARED
            }


def scenario(folder: Path, work: Callable[[Door], Awaitable[None]], kind: Any = "doctor", attends: Any = ()) -> None:
    async def run() -> None:
        with Office(folder / "state") as office:
            office.profile("doctor", "D-9", "Other^One")
            office.profile("patient", "12345")
            office.arrive("1.2.840.1", "12345")
            await work(Door(office, office.profile(kind, "X-1", "Some^One", attends)))

    asyncio.run(run())


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One of many ways to spoil bytes."""
    place, other = sorted(chance.randrange(len(data)) for _ in range(2))
    match chance.randrange(7):
        case 0:
            return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
        case 1:
            return data[:place] + chance.randbytes(1) + data[place + 1 :]
        case 2:
            return data[:place]
        case 3:
            return data[:place] + data[other:]
        case 4:
            return data[:other] + data[place:]
        case 5:
            return data[:place] + chance.randbytes(chance.randrange(1, 9)) + data[place:]
    return data[:place] + data[place:other][::-1] + data[other:]


async def _spoil(door: Door, kind: str, times: int) -> None:
    chance, seen = random.Random(kind), Counter[str]()
    before = door.state()
    for _ in range(times):
        plaintext = door.plain(REQUESTS[kind])
        # Half within what the device signs itself, half on the way.
        payload = (
            door.packed(mutated(plaintext, chance))
            if chance.random() < 0.5
            else mutated(door.packed(plaintext), chance)
        )
        seen[door.verdict(payload)] += 1
        await door.knock(payload)
    assert door.state() == before
    assert {"malformed", "signature-invalid"} <= set(seen)
    assert set(seen) <= {"malformed", "signature-invalid", "seal-broken", "too-large", "name-invalid", "legal"}


@pytest.mark.parametrize("kind", KINDS)
def test_mutations_have_no_effect(kind: str, tmp_path: Path) -> None:
    """By somebody who may do nothing of it; emergency access is open to any doctor, so here a patient asks."""
    scenario(tmp_path, lambda door: _spoil(door, kind, 60), "patient" if kind == "break_glass" else "doctor")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_mutations_have_no_effect(kind: str, tmp_path: Path) -> None:
    scenario(tmp_path, lambda door: _spoil(door, kind, 1000), "patient" if kind == "break_glass" else "doctor")


def test_what_was_carried_out_is_not_carried_out_again(tmp_path: Path) -> None:
    """Share, take back, and then both again as recorded, in either order, by a core that was restarted."""

    async def work(door: Door) -> None:
        other = door.office.registry.reference("doctor", "D-9")
        to = {"to_kind": "doctor", "to": decode_reference(other)}
        study = {"study": "1.2.840.1", **to}
        share = door.packed(door.plain({"op": "share", **study, "until": 0}))
        unshare = door.packed(door.plain({"op": "unshare", **study}))
        empty = door.state()
        await door.knock(share)
        shared = door.state()
        assert len(shared["grants"]) == 1
        await door.knock(unshare)
        assert door.state()["grants"] == empty["grants"]
        for payload in (share, unshare, share):
            await door.knock(payload)
            assert door.state()["grants"] == empty["grants"]
        # A later counter came first: what was overtaken is not carried out any more.
        first = door.packed(door.plain({"op": "share", **study, "until": 0}))
        second = door.packed(door.plain({"op": "unshare", **study}))
        await door.knock(second)
        await door.knock(first)
        assert door.state()["grants"] == empty["grants"]

    scenario(tmp_path, work, attends=("12345",))


def test_forged_and_oversized(tmp_path: Path) -> None:
    """Another's signature, another's topic, and more than a message may hold."""

    async def work(door: Door) -> None:
        body = {"op": "share", "study": "1.2.840.1", "to_kind": "doctor", "until": 0,
                "to": decode_reference(door.office.registry.reference("doctor", "D-9"))}  # fmt: skip
        before = door.state()
        right = door.signer
        door.signer = Ed25519PrivateKey.generate()
        forged = door.packed(door.plain(body))
        door.signer = right
        assert door.verdict(forged) == "signature-invalid"
        await door.knock(forged)
        other = Door(door.office, door.office.profile("doctor", "D-8"))
        stolen = other.packed(door.plain(body))
        assert door.verdict(stolen) == "signature-invalid"
        await door.knock(stolen)
        # The other's own, but on behalf of this one.
        await other.knock(other.packed(door.plain(body)))
        large = door.packed(door.plain({**body, "study": "1" * MAX_MESSAGE_BYTES}))
        assert door.verdict(large) == "too-large"
        await door.knock(large)
        assert door.state()["grants"] == before["grants"]
        # And the same, rightly, has its effect: the test could have failed.
        await door.knock(door.packed(door.plain(body)))
        assert len(door.state()["grants"]) == 1

    scenario(tmp_path, work, attends=("12345",))


def test_every_kind_is_tried() -> None:
    """A new operation joins this test by its vectors."""
    assert {type_.__struct_config__.tag for type_ in asks.Asked.__args__} == set(KINDS)
    for name in KINDS:
        messages.convert({"boot": bytes(16), "counter": 0, "issued": 0, "body": REQUESTS[name]}, Request)
