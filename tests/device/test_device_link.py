"""The link against brokers that misbehave: raw sockets, because no real broker does this."""

import asyncio
import contextlib

import pytest

from device_client.errors import LinkFailed, LinkRefused
from device_client.link import Credentials, Link
from device_client.tls import Address
from wire.limits import MAX_PACKET_BYTES

CONNACK = b"\x20\x02\x00\x00"


class RawBroker:
    """Answers CONNECT with ``greeting``, then sends what it is given."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting
        self.writer: asyncio.StreamWriter | None = None
        self.sent = 0

    async def __aenter__(self) -> "RawBroker":
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self.server.sockets[0].getsockname()[1], False)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        if self.writer is not None:
            self.writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        await reader.read(100)
        writer.write(self.greeting)
        await writer.drain()

    async def send(self, data: bytes) -> None:
        assert self.writer is not None
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()
            self.sent += len(data)


def encode_length(value: int) -> bytes:
    encoded = b""
    while True:
        value, digit = divmod(value, 128)
        encoded += bytes([digit | (0x80 if value else 0)])
        if not value:
            return encoded


def publish(topic: bytes, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + payload
    return b"\x30" + encode_length(len(body)) + body


def run(work) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))


async def wait_for(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


def make_link(broker: RawBroker, got: list) -> Link:
    return Link(broker.address, None, Credentials("a" * 26, "p"), lambda *message: got.append(message))


def test_a_packet_beyond_the_contract_ends_the_link_before_it_is_read():
    async def work() -> None:
        async with RawBroker(CONNACK) as broker:
            got: list = []
            link = make_link(broker, got)
            await link.open()
            await broker.send(b"\x30" + encode_length(250_000_000) + b"\x00\x01t")
            sender = asyncio.ensure_future(broker.send(bytes(8_000_000)))
            assert "larger than the contract" in await link.closed()
            sender.cancel()
            assert got == []
            with pytest.raises(LinkFailed):
                link.post("t", b"x")

    run(work)


def test_the_largest_legal_payload_passes_and_one_byte_more_is_dropped():
    async def work() -> None:
        async with RawBroker(CONNACK) as broker:
            got: list = []
            link = make_link(broker, got)
            await link.open()
            await broker.send(publish(b"t", bytes(MAX_PACKET_BYTES)) + publish(b"t", bytes(MAX_PACKET_BYTES + 1)))
            await broker.send(publish(b"last", b"1"))
            await wait_for(lambda: got and got[-1][0] == "last")
            assert [(topic, len(payload)) for topic, payload, _ in got] == [("t", MAX_PACKET_BYTES), ("last", 1)]
            await link.close()

    run(work)


def test_what_is_not_read_stays_outside():
    async def work() -> None:
        async with RawBroker(CONNACK) as broker:
            got: list = []
            link = make_link(broker, got)
            await link.open()
            link.reading(False)
            flood = asyncio.ensure_future(broker.send(publish(b"t", bytes(100_000)) * 300))
            await asyncio.wait([flood], timeout=0.5)
            assert got == [] and not flood.done()
            link.reading(True)
            await flood
            await wait_for(lambda: len(got) == 300)
            await link.close()

    run(work)


@pytest.mark.parametrize(
    ("greeting", "kind"),
    [
        (b"\x20\x02\x00\x05", LinkRefused),
        (b"\x20\x02\x00\x04", LinkRefused),
        (b"\x20\x02\x00\x02", LinkRefused),
        (b"\x20\x02\x00\x03", LinkFailed),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LinkFailed),
    ],
)
def test_what_is_no_welcome(greeting, kind):
    async def work() -> None:
        async with RawBroker(greeting) as broker:
            link = make_link(broker, [])
            with pytest.raises(kind) as caught:
                await link.open(2)
            assert type(caught.value) is kind

    run(work)


def test_a_broker_that_never_answers():
    async def work() -> None:
        async with RawBroker(b"") as broker:
            with pytest.raises(LinkFailed, match="does not answer"):
                await make_link(broker, []).open(0.3)

    run(work)


def test_garbage_after_the_welcome_ends_the_link():
    async def work() -> None:
        async with RawBroker(CONNACK) as broker:
            link = make_link(broker, [])
            await link.open()
            await broker.send(b"\xff\xff\xff\xff\xff\xff")
            assert await link.closed()

    run(work)
