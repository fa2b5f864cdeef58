"""The console against those who do not behave; the limits are the real ones, only shorter."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.console.limits import Limits
from tests.support.broker_process import wait_until
from tests.support.consoles import BINARY, CLOSE, PING, PONG, TEXT, RunningConsole, WebSocket

PIECE = bytes(64 * 1024)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[RunningConsole]:
    with RunningConsole(tmp_path) as one:
        yield one


def limited(folder: Path, **limits: float) -> RunningConsole:
    return RunningConsole(folder, Limits(**limits))  # type: ignore[arg-type]  # times and counts


def exactly(connection: socket.socket, count: int) -> bytes:
    """The next ``count`` bytes."""
    got = b""
    while len(got) < count and (more := connection.recv(count - len(got))):
        got += more
    return got


def ended(connection: socket.socket) -> bool:
    """Whether the other side ended it, waiting for that."""
    try:
        while connection.recv(65536):
            pass
    except OSError as error:
        return not isinstance(error, TimeoutError)
    return True


# ── the bridge ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bytes_pass_both_ways_whatever_the_frames(alone: RunningConsole) -> None:
    client = alone.websocket()
    broker = alone.broker.accept()
    assert client.headers["Sec-WebSocket-Protocol"] == "mqtt" and "Sec-WebSocket-Extensions" not in client.headers
    client.send(b"\x10\x01")
    client.send(b"a", is_last=False)
    client.send(b"bc", opcode=0)
    assert exactly(broker, 5) == b"\x10\x01abc"
    broker.sendall(PIECE * 5)
    got = b""
    while len(got) < len(PIECE) * 5:
        opcode, payload = client.receive()
        assert opcode == BINARY
        got += payload
    client.send(b"ping", opcode=PING)
    assert client.receive() == (PONG, b"ping")


def test_permessage_deflate_is_not_agreed_to(alone: RunningConsole) -> None:
    client = alone.websocket(Sec_WebSocket_Extensions="permessage-deflate")
    assert "Sec-WebSocket-Extensions" not in client.headers


def test_when_the_broker_ends_the_client_is_told(alone: RunningConsole) -> None:
    client = alone.websocket()
    broker = alone.broker.accept()
    broker.sendall(b"last")
    broker.close()
    assert client.receive() == (BINARY, b"last")
    assert client.close_code() == 1001


def test_when_the_client_vanishes_the_broker_sees_it_and_its_last_words(alone: RunningConsole) -> None:
    client = alone.websocket()
    broker = alone.broker.accept()
    client.send(b"\xe0\x00")
    client.send(struct.pack(">H", 1000), opcode=CLOSE)
    assert exactly(broker, 2) == b"\xe0\x00"
    other = alone.websocket()
    second = alone.broker.accept()
    other.connection.shutdown(socket.SHUT_RDWR)
    other.close()
    assert ended(second)
    wait_until(lambda: alone.facts()["bridges"] == 0, 10, "both bridges are gone")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:1", "*"])
def test_pages_of_other_origins_are_refused(alone: RunningConsole, origin: str) -> None:
    refused = WebSocket(alone.connect(), alone.port, Origin=origin)
    assert refused.status == 403 and alone.facts()["bridges"] == 0


def test_the_consoles_own_origins_are_admitted(tmp_path: Path) -> None:
    with RunningConsole(tmp_path, origin="https://images.example") as console:
        for origin in (console.origin, "https://images.example", ""):
            console.websocket(Origin=origin)
        assert WebSocket(console.connect(), console.port, Origin="https://images.example:444").status == 403


def test_what_is_no_mqtt_websocket_is_refused(alone: RunningConsole) -> None:
    assert WebSocket(alone.connect(), alone.port, Sec_WebSocket_Protocol="chat").status == 400
    assert WebSocket(alone.connect(), alone.port, Sec_WebSocket_Protocol="").status == 400
    assert WebSocket(alone.connect(), alone.port, Sec_WebSocket_Version="7x").status == 400
    assert alone.get("/mqtt")[0].status == 400
    assert alone.facts()["bridges"] == 0


def test_without_a_broker_the_client_is_told_to_come_again(alone: RunningConsole) -> None:
    alone.broker.close()
    refused = WebSocket(alone.connect(), alone.port)
    assert refused.status == 503 and refused.headers["Retry-After"]


def test_text_frames_end_the_connection(alone: RunningConsole) -> None:
    client = alone.websocket()
    client.send(b"hello", opcode=TEXT)
    assert client.close_code() == 1003


@pytest.mark.parametrize("declared", [512 * 1024 + 1, 100 * 2**20, 2**40, 2**63 - 1])
def test_a_huge_frame_ends_the_connection_before_it_is_read(alone: RunningConsole, declared: int) -> None:
    client = alone.websocket()
    broker = alone.broker.accept()
    client.send(b"few", declared=declared)
    assert client.close_code() == 1009
    assert ended(broker)


def test_a_huge_message_of_small_frames_ends_the_connection(alone: RunningConsole) -> None:
    client = alone.websocket()
    client.send(PIECE, is_last=False)
    with pytest.raises(OSError):  # it ends somewhere on the way
        for _ in range(200):
            client.send(PIECE, opcode=0, is_last=False)
        assert client.close_code() == 1009
        raise ConnectionError


# ── patience ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_websocket_that_never_says_connect_is_ended(tmp_path: Path) -> None:
    with limited(tmp_path, first_s=0.3) as console:
        client = console.websocket()
        broker = console.broker.accept()
        assert client.close_code() == 1008
        assert ended(broker)


def test_a_silent_client_is_ended_at_last(tmp_path: Path) -> None:
    with limited(tmp_path, idle_s=0.3) as console:
        client = console.websocket()
        client.send(b"\x10")
        assert client.close_code() == 1008


def test_a_header_that_trickles_is_cut_off(tmp_path: Path) -> None:
    with limited(tmp_path, header_s=1.0) as console:
        slow = console.connect()
        slow.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-")
        assert ended(slow)
        # The second request of a connection gets no more time than the first.
        slow = console.connect()
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in slow.recv(4096)
        slow.sendall(b"GET /healthz HTTP/1.1\r\nX-")
        assert ended(slow)


def test_a_handshake_that_does_not_come_is_cut_off_and_delays_nobody(tmp_path: Path) -> None:
    with limited(tmp_path, handshake_s=0.5) as console:
        silent = socket.create_connection(("127.0.0.1", console.port), 20)
        assert console.get("/healthz")[0].status == 200
        assert ended(silent)
        wait_until(lambda: console.facts()["connections"] == 0, 10, "no place is kept")


def test_plain_http_and_nonsense_are_cut_off(alone: RunningConsole) -> None:
    for text in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"a" * 100):
        plain = socket.create_connection(("127.0.0.1", alone.port), 20)
        plain.sendall(text)
        assert ended(plain)
    wait_until(lambda: alone.facts()["connections"] == 0, 10, "no place is kept")


def test_a_client_that_stops_reading_is_ended_and_costs_no_memory(tmp_path: Path) -> None:
    with limited(tmp_path, stall_s=0.5) as console:
        client = console.websocket()
        broker = console.broker.accept()
        sent = 0
        with pytest.raises(OSError):  # the console ends it
            while True:
                sent += broker.send(PIECE)
        # Buffers of three kernels' sockets, and ours; not what a broker may have.
        assert sent < 40 * 2**20, sent
        assert ended(client.connection)


def test_a_broker_that_stops_reading_stops_the_client(alone: RunningConsole) -> None:
    client = alone.websocket()
    broker = alone.broker.accept()
    client.connection.settimeout(1.0)
    sent = 0
    with pytest.raises(TimeoutError):  # the socket is full
        while True:
            client.send(PIECE)
            sent += len(PIECE)
    assert sent < 40 * 2**20, sent
    broker.close()


# ── how many ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_only_connects_makes_room_and_who_logged_in_stays(tmp_path: Path) -> None:
    with limited(tmp_path, passing=8) as console:
        client = console.websocket()
        broker = console.broker.accept()
        broker.sendall(b"\x20\x02\x00\x00")
        assert client.receive() == (BINARY, b"\x20\x02\x00\x00")
        silent = [socket.create_connection(("127.0.0.1", console.port), 20) for _ in range(20)]
        assert all(map(ended, silent[:10]))
        assert console.get("/healthz")[0].status == 200
        assert console.facts()["connections"] <= 9 and console.facts()["refused"] >= 12
        client.send(b"still here")
        assert broker.recv(100) == b"still here"


def test_opened_websockets_without_an_answer_of_the_broker_make_room_too(tmp_path: Path) -> None:
    with limited(tmp_path, passing=8) as console:
        opened = [console.websocket() for _ in range(12)]
        assert opened[0].close_code() == 0
        assert console.get("/healthz")[0].status == 200


def test_beyond_the_most_nobody_is_admitted_and_nobody_is_cut(tmp_path: Path) -> None:
    with RunningConsole(tmp_path, connections=8) as console:
        pairs = []
        for _ in range(8):
            client = console.websocket()
            pairs.append((client, console.broker.accept()))
            pairs[-1][1].sendall(b"\x20")
            assert client.receive() == (BINARY, b"\x20")
        with pytest.raises(OSError):
            console.connect()
        for client, broker in pairs:
            client.send(b"here")
            assert exactly(broker, 4) == b"here"
        pairs.pop()[0].connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: console.facts()["connections"] < 8, 10, "a place is free")
        assert console.get("/healthz")[0].status == 200


@pytest.mark.parametrize("text", [
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 10_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x00\x01\x02\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
])  # fmt: skip
def test_requests_that_are_none_are_refused(alone: RunningConsole, text: bytes) -> None:
    client = alone.connect()
    client.sendall(text)
    answer = client.recv(4096)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer
    assert alone.get("/healthz")[0].status == 200


def test_a_body_is_not_awaited(alone: RunningConsole) -> None:
    client = alone.connect()
    client.sendall(b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nabc")
    assert client.recv(4096).startswith(b"HTTP/1.1 405")
    assert ended(client)
