"""Strangers at the listening socket: none of them keeps a real sender out."""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pynetdicom.pdu import A_ASSOCIATE_RQ
from test_intake_support import DEADLINE_S, Intake, RawSender, intake, run, running, sample, storescu

__all__ = ["intake"]  # the fixture

RQ_HEAD = struct.pack(">BBL", 1, 0, 0xFFFFFFFF)


def _rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
    connection.settimeout(DEADLINE_S)
    return connection


def _closed_by_peer(connection: socket.socket) -> bool:
    """Waits until the peer hangs up; what it says before (an A-ABORT) is passed over."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@contextmanager
def _connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    opened = [_connect(port) for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


def _association_request(calling: bytes = b"IDLE") -> bytes:
    """A real A-ASSOCIATE-RQ, encoded by the library."""
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
    from pynetdicom.presentation import build_context

    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title = calling.decode()
    primitive.called_ae_title = "MPACS"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = "1.2.3"
    primitive.user_information = [length, implementation]
    context = build_context("1.2.840.10008.1.1")
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def _echo(port: int, aet: str = "ECHO", called: str = "MPACS") -> bool:
    return run("echoscu", "-aet", aet, "-aec", called, "-ta", "5", "127.0.0.1", str(port)).returncode == 0


@pytest.mark.peer("dcmtk")
def test_a_request_that_declares_4_gib_is_not_buffered(intake: Intake) -> None:
    before = _rss_mb()
    with _connections(intake.port, 8) as strangers:
        for stranger in strangers:
            stranger.sendall(RQ_HEAD + b"\0" * 60000)
        assert all(_closed_by_peer(stranger) for stranger in strangers)
    assert _rss_mb() - before < 30
    assert _echo(intake.port)


@pytest.mark.peer("dcmtk")
def test_a_pdu_that_declares_4_gib_within_an_association_ends_it(intake: Intake) -> None:
    before = _rss_mb()
    with _connections(intake.port, 1) as (stranger,):
        stranger.sendall(_association_request())
        assert stranger.recv(1) == b"\x02"
        stranger.sendall(struct.pack(">BBL", 4, 0, 0xFFFFFF00) + b"\0" * 60000)
        assert _closed_by_peer(stranger)
    assert _rss_mb() - before < 30
    assert _echo(intake.port)


@pytest.mark.peer("dcmtk")
def test_idle_connections_do_not_keep_a_sender_out(tmp_path: Path) -> None:
    with running(tmp_path, max_associations=4) as started, _connections(started.port, 100):
        begun = time.monotonic()
        assert storescu(started.port, sample()).returncode == 0
        assert time.monotonic() - begun < 3
        assert len(started.arrivals) == 1


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("said", [b"", RQ_HEAD[:3], _association_request()[:40], b"GET / HTTP/1.1\r\n\r\n"])
def test_whoever_does_not_ask_for_an_association_is_sent_away(tmp_path: Path, said: bytes) -> None:
    with running(tmp_path, handshake_timeout_s=0.5) as started, _connections(started.port, 5) as strangers:
        for stranger in strangers:
            stranger.sendall(said)
        begun = time.monotonic()
        assert all(_closed_by_peer(stranger) for stranger in strangers)
        assert time.monotonic() - begun < 5
        assert _echo(started.port)


def test_an_idle_association_is_aborted(tmp_path: Path) -> None:
    with running(tmp_path, network_timeout_s=0.5) as started, _connections(started.port, 1) as (idle,):
        idle.sendall(_association_request())
        assert idle.recv(1) == b"\x02"
        begun = time.monotonic()
        assert _closed_by_peer(idle)
        assert time.monotonic() - begun < 5


def test_a_pdu_that_trickles_is_given_up(tmp_path: Path) -> None:
    """Each byte comes within the timeout, the PDU does not."""
    with running(tmp_path, network_timeout_s=0.6) as started, _connections(started.port, 1) as (slow,):
        slow.sendall(_association_request())
        assert slow.recv(1) == b"\x02"
        slow.sendall(struct.pack(">BBL", 4, 0, 10000))
        gone = threading.Event()

        def trickle() -> None:
            while not gone.wait(0.05):
                try:
                    slow.sendall(b"\0")
                except OSError:
                    return

        threading.Thread(target=trickle, daemon=True).start()
        begun = time.monotonic()
        assert _closed_by_peer(slow)
        gone.set()
        assert time.monotonic() - begun < 5


@pytest.mark.peer("dcmtk")
def test_allowed_calling_ae_titles(tmp_path: Path) -> None:
    with running(tmp_path, allow_calling=("CT1", "MR1"), labels=(("CT1", "ct-emergency"),)) as started:
        assert not _echo(started.port, "STRANGER")
        assert _echo(started.port, "MR1")
        assert storescu(started.port, sample(), options=["-aet", "STRANGER"]).returncode != 0
        assert started.arrivals == []
        assert storescu(started.port, sample(), options=["-aet", "CT1"]).returncode == 0
        assert started.arrivals[0][0].source == "ct-emergency"


@pytest.mark.peer("dcmtk")
def test_a_required_called_ae_title(tmp_path: Path) -> None:
    with running(tmp_path, aet="EDGE", require_called=True) as started:
        assert not _echo(started.port, called="MPACS")
        assert _echo(started.port, called="EDGE")


@pytest.mark.peer("dcmtk")
def test_allowed_addresses(tmp_path: Path) -> None:
    with running(tmp_path / "a", allow_addresses=("192.0.2.0/24",)) as started:
        with _connections(started.port, 1) as (stranger,):
            assert _closed_by_peer(stranger)
        assert not _echo(started.port)
    with running(tmp_path / "b", allow_addresses=("192.0.2.0/24", "127.0.0.0/8")) as started:
        assert _echo(started.port)


def test_one_address_does_not_take_all_places(tmp_path: Path) -> None:
    with running(tmp_path, max_per_address=2) as started:
        senders = [RawSender(started.port), RawSender(started.port)]
        assert RawSender(started.port).assoc.is_rejected
        senders.pop().close()
        started.wait_for(lambda: len(started.scp._calls) == 1)  # by name: nothing else tells when a place is free
        third = RawSender(started.port)
        assert third.assoc.is_established
        third.close()
        senders.pop().close()


def test_the_number_of_associations_is_bounded(tmp_path: Path) -> None:
    with running(tmp_path, max_associations=3) as started:
        senders = [RawSender(started.port) for _ in range(3)]
        assert all(sender.assoc.is_established for sender in senders)
        assert RawSender(started.port).assoc.is_rejected
        for sender in senders:
            sender.close()


def test_the_maximum_pdu_is_announced(intake: Intake) -> None:
    sender = RawSender(intake.port)
    assert sender.assoc.acceptor.maximum_length == 131072
    sender.close()


@pytest.mark.parametrize("size", [0, 100, 1 << 24])
def test_an_unbounded_pdu_is_no_setting(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="max_pdu"):
        Intake(tmp_path, max_pdu=size)


@pytest.mark.peer("dcmtk")
def test_more_than_1024_descriptors(intake: Intake) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip("the limit of descriptors cannot be raised")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1200)]
    try:
        assert max(held) > 1024
        assert storescu(intake.port, sample()).returncode == 0
        assert len(intake.arrivals) == 1
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_associations_cost_little(intake: Intake) -> None:
    """Ten of them took a quarter of a core when each polled a thousand times a second."""
    with _connections(intake.port, 10) as idle:
        for connection in idle:
            connection.sendall(_association_request())
            assert connection.recv(1) == b"\x02"
        begun, cpu = time.monotonic(), time.process_time()
        threading.Event().wait(1.5)
        share = (time.process_time() - cpu) / (time.monotonic() - begun)
    assert share < 0.25


# The library's threads end in an exception there; the intake process has a hook that names its type alone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_broken_requests_and_messages_free_their_place(tmp_path: Path) -> None:
    """Bytes of a real request and of a message behind it, exchanged at random: nothing hangs, nothing is left."""
    chance = random.Random(7)
    request = _association_request()
    message = struct.pack(">BBLLBB", 4, 0, 106, 102, 1, 3) + bytes(chance.randbytes(100))
    with running(tmp_path, network_timeout_s=1.0, handshake_timeout_s=1.0) as started:
        for batch in range(6):
            with _connections(started.port, 15) as strangers:
                for stranger in strangers:
                    sent = bytearray(request if batch % 2 else request + message)
                    first = 6 if batch % 2 else len(request) + 6
                    for _ in range(chance.randint(1, 6)):
                        sent[chance.randrange(first, len(sent))] = chance.randrange(256)
                    with suppress(OSError):
                        stranger.sendall(sent)
                assert all(_closed_by_peer(stranger) for stranger in strangers)
        started.wait_for(lambda: not started.scp._calls)
        assert started.spooled == []
        sender = RawSender(started.port)
        assert sender.assoc.is_established
        sender.close()


def test_stop_ends_associations_and_frees_the_port(tmp_path: Path) -> None:
    started = Intake(tmp_path)
    sender = RawSender(started.port)
    assert sender.assoc.is_established
    begun = time.monotonic()
    started.scp.stop()
    assert time.monotonic() - begun < 5
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", started.port))
    sender.assoc.abort()
    started.engine.dispose()


@pytest.mark.parametrize("farewell", ["abort", "cut"])
def test_a_sender_that_breaks_off_leaves_nothing_half(intake: Intake, farewell: str) -> None:
    sender = RawSender(intake.port)
    _begin_object(sender)
    intake.wait_for(lambda: len(intake.spooled) == 1)
    if farewell == "abort":
        sender.assoc.abort()
    else:
        sender.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    intake.wait_for(lambda: not intake.scp._calls)
    assert intake.spooled == []
    assert list(intake.archive.digests()) == []
    assert intake.arrivals == []


def _begin_object(sender: RawSender) -> None:
    """The command and a first fragment of a data set, then nothing more."""
    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.pdu_primitives import P_DATA

    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 1
    context = sender.assoc.accepted_contexts[0].context_id
    for pdu in message.encode_msg(context, 16384):
        sender.assoc.dul.send_pdu(pdu)
    fragment = P_DATA()
    fragment.presentation_data_value_list.append((context, b"\x00" + b"x" * 8000))
    sender.assoc.dul.send_pdu(fragment)
