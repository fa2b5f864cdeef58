"""The MLLP listener and what stands behind it, over real sockets: frames, bounds, strangers, and a full disk."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hl7.client import MLLPClient

from gateway.management.adt_desk import AdtDesk
from gateway.management.index import refused_messages
from gateway.management.occupancy import Occupancy
from gateway.middleware.adt.listener import END, START, Listener, ListenerSettings
from gateway.middleware.adt.message import Reading
from gateway.middleware.scp_settings import TlsSettings
from tests.gateway.test_adt_message import message
from tests.support.broker_process import wait_until
from tests.support.certificates import self_signed
from tests.support.gateway_office import Office

TIMEOUT_S = 20.0


class Ward(Office):
    """An office whose census hears HL7."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.occupancy = Occupancy(self.engine, lambda: None)
        self.desk = AdtDesk(self.engine, self.occupancy, Reading(time_zone="Asia/Seoul"))

    def lies(self) -> list[tuple[str, str]]:
        return [(one.PatientID, one.stay.ward) for one in self.occupancy.inpatients()]

    def kept(self) -> list[tuple[str, str, int]]:
        with self.engine.connect() as connection:
            return [(one.name, one.reason, one.times) for one in refused_messages.all_kept(connection)]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    with Ward(tmp_path / "state") as made:
        yield made


@contextmanager
def listening(ward: Ward, **settings: Any) -> Iterator[int]:
    listener = Listener(ListenerSettings(**settings), ward.desk.receive)
    try:
        yield listener.start()
    finally:
        listener.stop()


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), TIMEOUT_S)


def answer_of(connection: socket.socket) -> str:
    """The next acknowledgement; empty if the connection ended instead."""
    data = b""
    while not data.endswith(END):
        more = connection.recv(1)
        if not more:
            assert not data
            return ""
        data += more
    return data.removeprefix(START).removesuffix(END).decode()


def code_of(acknowledgement: str | bytes) -> str:
    text = acknowledgement.decode() if isinstance(acknowledgement, bytes) else acknowledgement
    return next(one for one in text.split("\r") if one.startswith("MSA")).split("|")[1]


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


# ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_day_over_one_connection_by_the_library_s_client(ward: Ward) -> None:
    with listening(ward) as port, MLLPClient("127.0.0.1", port) as client:
        assert code_of(client.send_message(message("A01", EVN_2="20241124060000"))) == "AA"
        assert ward.lies() == [("P-1001", "W3")]
        later = {"MSH_10": "M-2", "EVN_2": "20241124070000"}
        assert code_of(client.send_message(message("A02", PV1_3="W5", **later))) == "AA"
        assert ward.lies() == [("P-1001", "W5")]
        assert code_of(client.send_message(message("A01", EVN_2="20241124060000"))) == "AA"  # sent again
        assert ward.lies() == [("P-1001", "W5")]
        assert code_of(client.send_message(message("A03", MSH_10="M-3", EVN_2="20241124080000"))) == "AA"
        assert ward.lies() == []
        assert code_of(client.send_message(message("A13", MSH_10="M-4", EVN_2="20241124090000"))) == "AA"
        assert ward.lies() == [("P-1001", "W5")]
    assert ward.kept() == []


def test_korean_in_euc_kr(ward: Ward) -> None:
    with listening(ward) as port, MLLPClient("127.0.0.1", port, encoding="euc_kr") as client:
        assert code_of(client.send_message(message(charset="KS X 1001", PID_5="김^민수", PV1_3="내과병동^1"))) == "AA"
    (one,) = ward.occupancy.inpatients()
    assert (one.PatientName, one.stay.ward) == ("김^민수", "내과병동")


def test_what_is_refused_is_kept_and_the_next_is_taken(ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
    bad = message("A24", PID_3="P-SECRET")
    with listening(ward) as port, MLLPClient("127.0.0.1", port) as client:
        assert code_of(client.send_message(bad)) == "AE"
        assert code_of(client.send_message(bad)) == "AE"
        assert code_of(client.send_message("hello")) == "AR"
        assert code_of(client.send_message(message(PID_3="P" * 300))) == "AE"
        assert code_of(client.send_message(message())) == "AA"
    assert ward.lies() == [("P-1001", "W3")]
    kept = {name: (reason, times) for name, reason, times in ward.kept()}
    assert kept["ADT^A24"][1] == 2 and "links" in kept["ADT^A24"][0]
    assert kept[""][1] == 1 and "longer" in kept["ADT^A01"][0]
    assert "SECRET" not in caplog.text and "P-1001" not in caplog.text


def test_another_authority_s_patient_is_not_taken_for_the_same(ward: Ward) -> None:
    with listening(ward) as port, MLLPClient("127.0.0.1", port) as client:
        assert code_of(client.send_message(message())) == "AA"
        other = message("A02", PID_3="P-1001^^^OTHER^MR", PV1_3="W5", MSH_10="M-2", EVN_2="20241124150000")
        assert code_of(client.send_message(other)) == "AE"
    assert ward.lies() == [("P-1001", "W3")]


def test_the_quarantine_of_messages_is_bounded(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_messages, "MOST", 3)
    for number in range(5):
        assert code_of(ward.desk.receive(message("A24", MSH_10=f"M-{number}").encode()) or b"") == "AE"
    assert len(ward.kept()) == 3


def test_an_index_that_cannot_be_written_asks_for_the_message_again(ward: Ward) -> None:
    with ward.engine.begin() as connection:
        connection.execute(sa.text("CREATE TRIGGER full BEFORE INSERT ON movements BEGIN SELECT RAISE(FAIL, 'x'); END"))
    with listening(ward) as port, MLLPClient("127.0.0.1", port) as client:
        assert code_of(client.send_message(message())) == "AR"
        with ward.engine.begin() as connection:
            connection.execute(sa.text("DROP TRIGGER full"))
        assert code_of(client.send_message(message())) == "AA"
    assert ward.lies() == [("P-1001", "W3")] and ward.kept() == []


def test_a_message_that_no_rule_foresaw_is_kept_too(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, listening(ward) as port, MLLPClient("127.0.0.1", port) as client:
        patched.setattr(ward.occupancy, "take", lambda *_, **__: 1 / 0)
        assert code_of(client.send_message(message())) == "AE"
        patched.undo()
        assert code_of(client.send_message(message(MSH_10="M-2"))) == "AA"
    assert [name for name, _, _ in ward.kept()] == ["ADT^A01"] and ward.lies() == [("P-1001", "W3")]


def test_a_shifted_field_is_not_shown_for_the_message_s_name(ward: Ward) -> None:
    with listening(ward) as port, MLLPClient("127.0.0.1", port) as client:
        assert code_of(client.send_message(message(MSH_9="HONG^GILDONG"))) == "AR"
    assert [name for name, _, _ in ward.kept()] == [""]


# ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_frames_in_any_pieces(ward: Ward) -> None:
    frames = b"".join(START + message("A08", MSH_10=f"M-{n}").encode() + END + b"\r\n" for n in range(3))
    with listening(ward) as port, dial(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(len(frames)):
            connection.sendall(frames[position : position + 1])
        assert [f"M-{n}" in answer_of(connection) for n in range(3)] == [True] * 3


def test_a_frame_that_begins_anew_in_the_middle_of_one(ward: Ward) -> None:
    whole = message().encode()
    with listening(ward) as port, dial(port) as connection:
        connection.sendall(START + whole[:60] + START + whole + END)
        assert code_of(answer_of(connection)) == "AA"
    assert ward.lies() == [("P-1001", "W3")] and ward.kept() == []


@pytest.mark.parametrize("cut", [1, 40, -2, -1])
def test_a_sender_that_is_cut_in_a_message_changes_nothing(ward: Ward, cut: int) -> None:
    frame = START + message().encode() + END
    with listening(ward) as port:
        with dial(port) as connection:
            connection.sendall(frame[:cut])
            connection.shutdown(socket.SHUT_WR)
            assert answer_of(connection) == ""
        assert ward.lies() == [] == ward.kept()
        with dial(port) as connection:
            connection.sendall(frame)
            assert code_of(answer_of(connection)) == "AA"


def test_what_is_not_framed_ends_the_connection_and_not_the_next(ward: Ward) -> None:
    with listening(ward) as port, dial(port) as connection, dial(port) as other:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a-long-enough-name.example\r\nAccept: text/html\r\n\r\n" * 2)
        assert is_closed(connection)
        other.sendall(START + message().encode() + END)
        assert code_of(answer_of(other)) == "AA"


def test_a_message_that_is_too_large_is_answered_and_not_kept(ward: Ward) -> None:
    with listening(ward, max_message_bytes=16384) as port, dial(port) as connection:
        connection.sendall(START + b"M" * 20_000)
        with contextlib.suppress(ConnectionError):  # it is closed with what was not read any more
            assert code_of(answer_of(connection)) == "AR"
            assert is_closed(connection)
        assert ward.kept() == []
        with dial(port) as other:
            other.sendall(START + message().encode() + END)
            assert code_of(answer_of(other)) == "AA"


# ── who may send ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_strangers_are_let_go(ward: Ward) -> None:
    with listening(ward, allow_addresses=("192.0.2.0/24",)) as port, dial(port) as connection:
        assert is_closed(connection)
    with listening(ward, allow_addresses=("192.0.2.0/24", "127.0.0.0/8")) as port, dial(port) as connection:
        connection.sendall(START + message().encode() + END)
        assert code_of(answer_of(connection)) == "AA"


def test_connections_are_bounded(ward: Ward) -> None:
    with listening(ward, max_connections=2) as port, dial(port) as first, dial(port) as second:
        for connection in (first, second):
            connection.sendall(START + message("A08").encode() + END)
            assert answer_of(connection)
        with dial(port) as third:
            assert is_closed(third)
        first.close()

        def is_taken() -> bool:
            with dial(port) as again, contextlib.suppress(ConnectionError):
                again.sendall(START + message("A08").encode() + END)
                return bool(answer_of(again))
            return False

        wait_until(is_taken, TIMEOUT_S, "there is room again")


def test_a_silent_sender_is_let_go(ward: Ward) -> None:
    with listening(ward, idle_s=0.2) as port, dial(port) as connection:
        assert is_closed(connection)


def test_tls_with_the_sender_s_certificate(ward: Ward, tmp_path: Path) -> None:
    gateway, his = self_signed(tmp_path, "gateway"), self_signed(tmp_path, "his")
    tls = TlsSettings(gateway.certificate, gateway.key, client_authority=his.certificate)
    with listening(ward, tls=tls) as port:
        context = ssl.create_default_context(cafile=str(gateway.certificate))
        context.check_hostname = False
        with dial(port) as plain:
            plain.sendall(START + message().encode() + END)
            assert is_closed(plain)
        with dial(port) as raw, context.wrap_socket(raw) as nobody:
            assert is_closed(nobody)
        assert ward.lies() == []
        context.load_cert_chain(his.certificate, his.key)
        with dial(port) as raw, context.wrap_socket(raw) as known:
            known.sendall(START + message().encode() + END)
            assert code_of(answer_of(known)) == "AA"
    assert ward.lies() == [("P-1001", "W3")]


def test_a_port_that_is_taken_is_said(ward: Ward) -> None:
    with listening(ward) as port, pytest.raises(OSError, match=r"in use|address"):
        Listener(ListenerSettings(port=port), ward.desk.receive).start()


def test_a_message_that_is_being_taken_is_taken_when_the_gateway_ends(ward: Ward) -> None:
    entered, leave = threading.Event(), threading.Event()

    def receive(data: bytes) -> bytes | None:
        entered.set()
        leave.wait(TIMEOUT_S)
        return ward.desk.receive(data)

    listener = Listener(ListenerSettings(), receive)
    with dial(listener.start()) as connection:
        connection.sendall(START + message().encode() + END)
        assert entered.wait(TIMEOUT_S)
        stopping = threading.Thread(target=listener.stop)
        stopping.start()
        leave.set()
        stopping.join(TIMEOUT_S)
        assert not stopping.is_alive() and ward.lies() == [("P-1001", "W3")]
