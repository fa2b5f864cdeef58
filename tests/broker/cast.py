"""Who takes part in the broker's tests."""

from dataclasses import dataclass

from tests.support.brokers import SITE, Login, login
from wire import topics
from wire.names import encode_reference

VICTIMS_DOCTOR = encode_reference(b"doctor of victim")
ATTACKERS_DOCTOR = encode_reference(b"doctor of attack")
OBJECT = encode_reference(b"an object of it.")

VICTIMS_HEAD = topics.head(SITE, "doctor", VICTIMS_DOCTOR)
ATTACKERS_HEAD = topics.head(SITE, "doctor", ATTACKERS_DOCTOR)


@dataclass(frozen=True)
class Cast:
    """A gateway, a victim, and an attacker who has a login of its own; the rest are bystanders."""

    gateway: Login
    victim: Login
    attacker: Login
    bystanders: tuple[Login, ...]

    def logins(self) -> list[Login]:
        return [self.gateway, self.victim, self.attacker, *self.bystanders]


def make_cast(bystanders: int = 10) -> Cast:
    return Cast(
        login("gateway"),
        login("device", [("doctor", VICTIMS_DOCTOR)]),
        login("device", [("doctor", ATTACKERS_DOCTOR)]),
        tuple(login("device", [("doctor", VICTIMS_DOCTOR)]) for _ in range(bystanders)),
    )


def segment(index: int) -> str:
    """A segment of an object that the victim and the bystanders may read."""
    return topics.segment(SITE, "doctor", VICTIMS_DOCTOR, OBJECT, index)
