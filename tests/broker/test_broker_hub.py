"""Routing and queues alone, between two ends of a real socket."""

import asyncio
import socket
from collections import deque

import pytest

from broker.config import Limits
from broker.hub import Hub, Member
from broker.outbox import MAX_REPLY_BYTES, TRANSPORT_HIGH_BYTES, Budget, Outbox
from broker.rights import Rights
from tests.broker.cast import VICTIMS_HEAD, make_cast

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected() -> tuple[Streams, Streams]:
    near, far = socket.socketpair()
    return await asyncio.open_connection(sock=near), await asyncio.open_connection(sock=far)


async def delivered(*, changed: bool) -> bytes:
    """What reaches a subscriber whose rights changed, or not, without its subscription being judged again."""
    limits, cast = Limits(), make_cast()
    near, far = await connected()
    hub = Hub(limits)
    outbox = Outbox(near[1], limits, Budget(limits.pending_total_bytes))
    member = Member(cast.victim.name, b"", Rights(cast.victim.principal), outbox)
    hub.join(member)
    assert hub.subscribe(member, VICTIMS_HEAD, 0) == 0
    if changed:
        member.rights = Rights(cast.attacker.principal)
    hub.publish(VICTIMS_HEAD, b"secret", 0, True, Rights(cast.gateway.principal))
    hub.offer_retained(member, deque(hub.retained.topics_matching(VICTIMS_HEAD)), 0)
    near[1].close()
    received = await far[0].read()
    far[1].close()
    return received


def test_every_delivery_is_judged_live_and_retained() -> None:
    assert asyncio.run(delivered(changed=False)).count(b"secret") == 2
    assert asyncio.run(delivered(changed=True)) == b""


async def replies_wait_for_their_reader() -> None:
    limits = Limits()
    near, far = await connected()
    outbox = Outbox(near[1], limits, Budget(limits.pending_total_bytes))
    pump = asyncio.create_task(outbox.pump())
    transport = far[1].transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    total = 0
    # The kernel takes some; then one goes to the transport's buffer, which is full with it.
    while not near[1].transport.get_write_buffer_size():
        outbox.reply(bytes(32 * 1024))
        total += 32 * 1024
    outbox.reply(bytes(TRANSPORT_HIGH_BYTES))
    total += TRANSPORT_HIGH_BYTES
    await asyncio.wait_for(outbox.replies_read(), 5)
    outbox.reply(bytes(MAX_REPLY_BYTES + 1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.replies_read(), 0.2)
    waiting = asyncio.create_task(outbox.replies_read())
    transport.resume_reading()
    await far[0].readexactly(total + MAX_REPLY_BYTES + 1)
    await asyncio.wait_for(waiting, 5)
    pump.cancel()
    near[1].close()
    far[1].close()


def test_replies_wait_for_their_reader() -> None:
    asyncio.run(replies_wait_for_their_reader())
