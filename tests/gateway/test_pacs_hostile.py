"""Peers that say nothing, nonsense or too much: a declared error in a bounded time, and the other PACS answer."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from gateway.config_pacs import Pacs
from gateway.middleware.pacs.errors import PacsAway, PacsError
from gateway.middleware.pacs.peer import Peer
from gateway.middleware.pacs.query import Query
from tests.support.pacs_desk import STUDY, desk

SILENCE_S = 2.0
Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def peer(talk: Talk) -> Iterator[int]:
    """Answers each connection with ``talk`` in a thread of its own; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            talk(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def endless_pdu(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"\x02\x00\xff\xff\xff\xff")
    while True:
        connection.sendall(bytes(1 << 20))


def garbage(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(bytes(range(256)) * 64)


def hang_up(connection: socket.socket) -> None:
    connection.recv(65536)


def http(head: str, body: bytes = b"", endless: bool = False) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)
        while endless:
            connection.sendall(b" " * (1 << 20))

    return talk


HTTP = {
    "silent": silent,
    "hangs up": hang_up,
    "no HTTP": garbage,
    "endless JSON": http("200 OK\r\nContent-Type: application/dicom+json", b"[", endless=True),
    "no JSON": http("200 OK\r\nContent-Length: 5", b"<htm>"),
    "deep JSON": http("200 OK\r\nContent-Length: 100000", b"[" * 100000),
    "elsewhere": http("302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0"),
    "an error": http("500 Oh\r\nContent-Length: 0"),
}
DIMSE = {"silent": silent, "hangs up": hang_up, "endless PDU": endless_pdu, "garbage": garbage}


@pytest.mark.parametrize(("way", "name"), [*(("dimse", name) for name in DIMSE), *(("web", name) for name in HTTP)])
def test_a_peer_that_misbehaves_is_away_or_refuses(tmp_path: Path, way: str, name: str) -> None:
    with peer((DIMSE if way == "dimse" else HTTP)[name]) as port:
        place: dict[str, Any] = {"aet": "EVIL", "host": "127.0.0.1", "port": port}
        if way == "web":
            place = {"dicomweb": f"http://127.0.0.1:{port}/dicom-web"}
        before = psutil.Process().memory_info().rss
        with desk(tmp_path / "state", {"name": "evil", **place, "timeout_s": SILENCE_S, "tries": 1}) as at:
            with pytest.raises(PacsError):
                at.service.echo("evil")
            found = at.service.find(Query())
            assert not found.hits and found.away[0].reason
            assert at.retrieve().outcome == "absent"
        # 64 MiB of an answer in JSON are read at most, a PDU of DICOM up to 1 MiB.
        assert psutil.Process().memory_info().rss - before < 400 << 20


def test_answers_without_end_are_cut(tmp_path: Path) -> None:
    """A PACS that ignores C-CANCEL and goes on: as many hits as were asked for, and the association ends."""
    going = threading.Event()

    def find(event: Any) -> Iterator[tuple[int, Dataset]]:
        for number in range(2000):
            answer = Dataset()
            answer.QueryRetrieveLevel = "STUDY"
            answer.StudyInstanceUID = f"1.2.{number + 1}"
            yield 0xFF00, answer
        going.set()

    entity = AE("FULL")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.2.2.1")
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    try:
        place = {"aet": "FULL", "host": "127.0.0.1", "port": server.server_address[1]}
        with desk(tmp_path / "state", {"name": "full", **place}) as at:
            found = at.service.find(Query("STUDY", {}, most=10))
            assert (len(found.hits), found.cut) == (10, ["full"])
    finally:
        server.shutdown()


def test_values_that_are_none_cost_no_other_hit(tmp_path: Path) -> None:
    body = json.dumps(
        [
            {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "00100010": {"vr": "PN", "Value": ["no name object"]}},
            {"0020000D": {"vr": "UI"}},
            ["no object"],
            {"0020000D": "no element"},
            {"0020000D": {"vr": "UI", "Value": {"0": "no list"}}},
            {"0020000D": {"vr": "UI", "Value": ["1.2.4"]}, "00081030": {"vr": "LO", "Value": ["x" * 10_000]}},
        ]
    ).encode()
    with (
        peer(http(f"200 OK\r\nContent-Length: {len(body)}", body)) as port,
        desk(tmp_path / "state", {"name": "odd", "dicomweb": f"http://127.0.0.1:{port}"}) as at,
    ):
        hits = at.service.find(Query()).hits
        assert [hit.attributes["0020000D"]["Value"] for hit in hits] == [["1.2.3"], ["1.2.4"]]
        assert all("00081030" not in hit.attributes for hit in hits)


def test_no_more_is_asked_at_once_than_is_allowed() -> None:
    now, most = 0, 0
    lock = threading.Lock()

    class Way:
        def echo(self) -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            both.wait(5)
            with lock:
                now -= 1

    both = threading.Barrier(2)  # passes only when two are inside at the same time
    made = Peer(Pacs("a", aet="A", host="h", port=1, at_once=2, per_minute=6000), Way())  # type: ignore[arg-type]

    def turn() -> None:
        with made.turn() as way:
            way.echo()

    threads = [threading.Thread(target=turn) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2 and not both.broken


def test_a_burst_is_let_through_and_then_requests_come_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    at = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        at[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    made = Peer(Pacs("a", aet="A", host="h", port=1, per_minute=60), object())  # type: ignore[arg-type]
    for _ in range(31):
        with made.turn():
            pass
    assert len(slept) == 20 and sum(slept) == pytest.approx(20.0)


def test_a_search_does_not_wait_behind_what_is_fetched() -> None:
    made = Peer(Pacs("a", aet="A", host="h", port=1, at_once=1), object())  # type: ignore[arg-type]
    with made.turn(), made.turn(is_search=True):
        assert made.status()["tried_at"]


def test_one_that_was_away_a_moment_ago_keeps_no_other_waiting(tmp_path: Path) -> None:
    asked = threading.Event()

    def away(connection: socket.socket) -> None:
        connection.recv(65536)
        asked.set()

    with (
        peer(away) as port,
        desk(tmp_path / "state", {"name": "away", "aet": "AWAY", "host": "127.0.0.1", "port": port, "tries": 1}) as at,
    ):
        assert at.service.find(Query()).away and asked.is_set()
        asked.clear()
        assert at.service.find(Query()).away and not asked.is_set()
        assert at.service.find(Query(), ["away"]).away and asked.is_set(), "who names it has it asked"


def test_what_a_turn_raises_is_what_status_says() -> None:
    made = Peer(Pacs("a", aet="A", host="h", port=1), object())  # type: ignore[arg-type]
    with pytest.raises(PacsAway), made.turn():
        raise PacsAway("it cannot be reached")
    assert made.status()["error"] == "it cannot be reached" and made.status()["answered_at"] is None
    with made.turn():
        pass
    assert not made.status()["error"] and made.status()["answered_at"]
    assert STUDY not in json.dumps(made.status())
