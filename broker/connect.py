"""CONNECT: judged whole before anything that belongs to another connection is touched."""

from dataclasses import dataclass

from amqtt.mqtt.connack import NOT_AUTHORIZED, UNACCEPTABLE_PROTOCOL_VERSION

from broker.access import Users, authenticate
from broker.hub import MAX_QOS, Will
from broker.packets import ConnectPacket
from broker.rights import Rights

PROTOCOL_LEVEL = 4
"""MQTT 3.1.1 (section 3.1.2.2)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a CONNECT is refused; ``code`` None: the connection is closed without a CONNACK."""

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """An authenticated client."""

    name: str
    digest: bytes
    rights: Rights
    will: Will | None
    keepalive_s: int


def judge(packet: ConnectPacket, users: Users) -> Admitted | Refusal:
    """Check protocol, credentials, client identifier and will, in this order.

    Reasons hold nothing that a stranger sent, so the log cannot be made to carry an identity.
    """
    header, payload = packet.variable_header, packet.payload
    if header.proto_name != "MQTT" or header.reserved_flag:
        return Refusal(None, "not MQTT")
    if header.proto_level != PROTOCOL_LEVEL:
        return Refusal(UNACCEPTABLE_PROTOCOL_VERSION, "not MQTT 3.1.1")
    name, password = payload.username, payload.password
    if not isinstance(name, str) or not isinstance(password, str):
        return Refusal(NOT_AUTHORIZED, "no user name or no password")
    principal = authenticate(users, name, password)
    if principal is None:
        return Refusal(NOT_AUTHORIZED, "unknown user or wrong password")
    if payload.client_id != name:
        # A client identifier is the name of a session: with another's, one would take its place.
        return Refusal(NOT_AUTHORIZED, f"{name}: the client identifier is not the user name")
    rights = Rights(principal)
    will: Will | None = None
    if header.will_flag:
        if payload.will_topic is None or payload.will_message is None:
            return Refusal(None, f"{name}: an incomplete will")
        will = Will(payload.will_topic, bytes(payload.will_message), header.will_qos, header.will_retain_flag)
        if will.qos > MAX_QOS:
            return Refusal(NOT_AUTHORIZED, f"{name}: a will with QoS 2")
        if not rights.may_publish(will.topic) or (will.retain and not rights.may_retain(will.topic)):
            return Refusal(NOT_AUTHORIZED, f"{name}: a will that it may not publish")
    return Admitted(name, users[name][0], rights, will, header.keep_alive)
