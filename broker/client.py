"""One connected client: its packets, in order, one at a time.

amqtt starts a task for each packet and hands messages through three queues; packets then overtake each other, and what
a client sent just before DISCONNECT is lost. Here the next packet is read when the last one was served.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from broker.config import Limits
from broker.errors import PacketRefused
from broker.hub import MAX_QOS, REFUSED, Hub, Member
from broker.pace import Pace
from broker.packets import (
    ConnectPacket,
    MQTTPacket,
    PingReqPacket,
    PubackPacket,
    PublishPacket,
    ReaderAdapter,
    SubscribePacket,
    UnsubscribePacket,
    encode_pingresp,
    encode_puback,
    encode_suback,
    encode_unsuback,
    is_disconnect,
    read_packet,
)

# A full buffer of tiny packets is served without a wait; after so many the others get their turn.
PACKETS_IN_A_ROW = 64


class Client:
    """Serves one member's connection until it ends."""

    def __init__(
        self,
        hub: Hub,
        member: Member,
        reader: ReaderAdapter,
        limits: Limits,
        keepalive_s: int,
        clock: Callable[[], float],
    ) -> None:
        self.member = member
        self._hub = hub
        self._reader = reader
        self._limits = limits
        self._clock = clock
        # MQTT 3.1.1 section 3.1.2.10: one and a half times; 0 means never, which a half-open connection would use.
        self._silence_s = 1.5 * min(keepalive_s or limits.keepalive_max_s, limits.keepalive_max_s)
        self._heard_s = clock()
        self._subscribes = Pace(limits.subscribes_per_s, limits.subscriptions, self._heard_s)
        self._later: deque[tuple[deque[str], int]] = deque()
        self._later_task: asyncio.Task[None] | None = None
        is_gateway = member.rights.principal.role == "gateway"
        self._publishes = (
            None if is_gateway else Pace(limits.device_publishes_per_s, limits.device_publishes_per_s, self._heard_s)
        )

    def overdue(self, now_s: float) -> str | None:
        """Why the connection must end now, or None. Asked regularly by the server."""
        if self.member.state != "live":
            return self.member.reason
        if now_s - self._heard_s > self._silence_s:
            return "nothing came for one and a half times its keepalive"
        if self.member.outbox.is_stalled(now_s):
            return "it has not read for too long"
        return None

    async def serve(self) -> bool:
        """Serve packets until the connection ends; True if the client said goodbye. PacketRefused if it misbehaved."""
        try:
            return await self._serve_all()
        finally:
            if self._later_task is not None:
                self._later_task.cancel()

    async def _serve_all(self) -> bool:
        served = 0
        while (packet := await read_packet(self._reader, self._limits.packet_bytes)) is not None:
            self._heard_s = self._clock()
            if self.member.state != "live":
                return False
            if is_disconnect(packet):
                return True
            await self._serve(packet)
            await self.member.outbox.replies_read()
            served += 1
            if served % PACKETS_IN_A_ROW == 0:
                await asyncio.sleep(0)
        return False

    async def _serve(self, packet: MQTTPacket) -> None:
        match packet:
            case PublishPacket():
                await self._publish(packet)
            case PubackPacket():
                self.member.outbox.acknowledge(packet.packet_id)
            case SubscribePacket():
                await self._subscribe(packet)
            case UnsubscribePacket():
                await self._unsubscribe(packet)
            case PingReqPacket():
                self.member.outbox.reply(encode_pingresp())
            case ConnectPacket():
                raise PacketRefused("a second CONNECT")  # [MQTT-3.1.0-2]
            case _:
                raise PacketRefused("a packet that clients do not send")

    async def _publish(self, packet: PublishPacket) -> None:
        topic, qos, rights = packet.topic_name, packet.qos, self.member.rights
        if qos > MAX_QOS:
            raise PacketRefused("a PUBLISH with QoS 2, which is not offered")
        # MQTT 3.1.1 has no negative PUBACK: acknowledging and discarding would hide the fault from its author.
        if not rights.may_publish(topic):
            raise PacketRefused("a PUBLISH that is not among its rights")
        if packet.retain_flag and not rights.may_retain(topic):
            raise PacketRefused("a retained PUBLISH that is not among its rights")
        if self._publishes is not None:
            await self._wait(self._publishes, 1)
        self._hub.publish(topic, packet.data, qos, packet.retain_flag, rights)
        if qos:
            self.member.outbox.reply(encode_puback(packet.packet_id))

    async def _subscribe(self, packet: SubscribePacket) -> None:
        topics = packet.payload.topics
        if not topics or any(qos > 2 for _, qos in topics):
            raise PacketRefused("a malformed SUBSCRIBE")  # [MQTT-3.8.3-3], [MQTT-3-8.3-4]
        await self._wait(self._subscribes, len(topics))
        codes = [self._hub.subscribe(self.member, topic_filter, qos) for topic_filter, qos in topics]
        self.member.outbox.reply(encode_suback(packet.variable_header.packet_id, codes))
        for (topic_filter, _), code in zip(topics, codes, strict=True):
            if code != REFUSED:
                self._send_retained(topic_filter, code)
        if len(self._later) > self._limits.subscriptions:
            await self._send_later()

    def _send_retained(self, topic_filter: str, granted: int) -> None:
        topics = deque(self._hub.retained.topics_matching(topic_filter))
        self._hub.offer_retained(self.member, topics, granted)
        if topics:
            # The rest follows as the client takes it, while its own packets, acknowledgements above all, are served.
            self._later.append((topics, granted))
            if self._later_task is None or self._later_task.done():
                self._later_task = asyncio.create_task(self._send_later())

    async def _send_later(self) -> None:
        while self._later and self.member.state == "live":
            topics, granted = self._later[0]
            self._hub.offer_retained(self.member, topics, granted)
            if topics:
                await self.member.outbox.progress()
            elif self._later and self._later[0][0] is topics:
                self._later.popleft()

    async def _unsubscribe(self, packet: UnsubscribePacket) -> None:
        if not packet.payload.topics:
            raise PacketRefused("a malformed UNSUBSCRIBE")  # [MQTT-3.10.3-2]
        await self._wait(self._subscribes, len(packet.payload.topics))
        for topic_filter in packet.payload.topics:
            self._hub.unsubscribe(self.member, topic_filter)
        self.member.outbox.reply(encode_unsuback(packet.variable_header.packet_id))

    async def _wait(self, pace: Pace, events: int) -> None:
        delay_s = pace.delay_s(self._clock(), events)
        if delay_s > 0:
            await asyncio.sleep(delay_s)
