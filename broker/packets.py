"""MQTT 3.1.1 packets, decoded and encoded by amqtt's classes, read within bounds that amqtt does not have.

A packet is read whole before any of it is parsed, never beyond its declared length, and nothing may be left over.
"""

from amqtt.adapters import BufferReader, ReaderAdapter
from amqtt.codecs_amqtt import read_or_raise
from amqtt.errors import AMQTTError, CodecError, MQTTError, NoDataError
from amqtt.mqtt import packet_class
from amqtt.mqtt.connack import ConnackPacket
from amqtt.mqtt.connect import ConnectPacket
from amqtt.mqtt.packet import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    MQTTFixedHeader,
    MQTTPacket,
)
from amqtt.mqtt.pingreq import PingReqPacket
from amqtt.mqtt.pingresp import PingRespPacket
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.publish import PublishPacket, PublishPayload, PublishVariableHeader
from amqtt.mqtt.suback import SubackPacket
from amqtt.mqtt.subscribe import SubscribePacket
from amqtt.mqtt.unsuback import UnsubackPacket
from amqtt.mqtt.unsubscribe import UnsubscribePacket

from broker.errors import PacketRefused

__all__ = [
    "ConnackPacket",
    "ConnectPacket",
    "MQTTPacket",
    "PingReqPacket",
    "PubackPacket",
    "PublishPacket",
    "ReaderAdapter",
    "SubscribePacket",
    "UnsubscribePacket",
    "encode_connack",
    "encode_pingresp",
    "encode_puback",
    "encode_publish",
    "encode_suback",
    "encode_unsuback",
    "is_disconnect",
    "read_packet",
]

# Fixed header flags that a client must send [MQTT-2.2.2-2]; what is absent here a client must not send at all.
# PUBREC, PUBREL and PUBCOMP are absent because QoS 2 is not offered.
_CLIENT_FLAGS = {CONNECT: 0, PUBACK: 0, SUBSCRIBE: 2, UNSUBSCRIBE: 2, PINGREQ: 0, DISCONNECT: 0}


class _WholePayload(PublishPayload):  # type: ignore[misc]  # amqtt's types are not followed
    """A PUBLISH payload read in one piece: amqtt copies it twice more."""

    @classmethod
    async def from_stream(
        cls,
        reader: ReaderAdapter,
        fixed_header: MQTTFixedHeader | None,
        variable_header: PublishVariableHeader | None,
    ) -> "_WholePayload":
        assert fixed_header is not None and variable_header is not None
        size = fixed_header.remaining_length - variable_header.bytes_length
        return cls(await read_or_raise(reader, size) if size > 0 else b"")


class _Publish(PublishPacket):  # type: ignore[misc]  # amqtt's types are not followed
    PAYLOAD = _WholePayload


async def read_packet(reader: ReaderAdapter, max_bytes: int) -> MQTTPacket | None:
    """Read one packet of a client; None at the end of the stream.

    PacketRefused if it is longer than ``max_bytes`` (its body is then not read at all), of a kind that a client must
    not send, or malformed. ``max_bytes`` bounds the remaining length of MQTT 3.1.1 section 2.2.3.
    """
    try:
        header = await MQTTFixedHeader.from_stream(reader)
        if header is None:
            return None
        if header.packet_type != PUBLISH and _CLIENT_FLAGS.get(header.packet_type) != header.flags:
            raise PacketRefused("a packet that clients do not send")
        if header.remaining_length > max_bytes:
            raise PacketRefused(f"a packet of more than {max_bytes} bytes")
        body = await read_or_raise(reader, header.remaining_length) if header.remaining_length else b""
    except NoDataError:
        return None
    except MQTTError:
        raise PacketRefused("a malformed length") from None
    return await _decode(header, body)


async def _decode(header: MQTTFixedHeader, body: bytes) -> MQTTPacket:
    reader = BufferReader(body)
    kind = _Publish if header.packet_type == PUBLISH else packet_class(header)
    try:
        packet = await kind.from_stream(reader, fixed_header=header)
        rest = await reader.read(1)
    # ValueError: amqtt's codecs let struct and unicode errors through.
    except (AMQTTError, CodecError, MQTTError, NoDataError, ValueError):
        raise PacketRefused("a malformed packet") from None
    if rest:
        raise PacketRefused("a packet with trailing bytes")
    return packet


def is_disconnect(packet: MQTTPacket) -> bool:
    """Whether the client says goodbye."""
    return bool(packet.fixed_header.packet_type == DISCONNECT)


def encode_publish(topic: str, payload: bytes, *, qos: int, packet_id: int | None, retain: bool) -> bytes:
    """A PUBLISH towards a client; ``packet_id`` with QoS 1 only."""
    return bytes(PublishPacket.build(topic, payload, packet_id, False, qos, retain).to_bytes())


def encode_connack(return_code: int) -> bytes:
    """A CONNACK; the session is never present, because sessions end with their connection."""
    return bytes(ConnackPacket.build(0, return_code).to_bytes())


def encode_puback(packet_id: int) -> bytes:
    """A PUBACK."""
    return bytes(PubackPacket.build(packet_id).to_bytes())


def encode_suback(packet_id: int, return_codes: list[int]) -> bytes:
    """A SUBACK."""
    return bytes(SubackPacket.build(packet_id, return_codes).to_bytes())


def encode_unsuback(packet_id: int) -> bytes:
    """An UNSUBACK."""
    return bytes(UnsubackPacket.build(packet_id).to_bytes())


def encode_pingresp() -> bytes:
    """A PINGRESP."""
    return bytes(PingRespPacket.build().to_bytes())
