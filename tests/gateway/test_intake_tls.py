"""DICOM over TLS (PS3.15 annex B): real senders, and clients that say nothing during the handshake."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest
from test_intake_support import DEADLINE_S, run, running, sample, storescu

from gateway.middleware.scp_settings import TlsSettings
from tests.support.certificates import self_signed


@pytest.mark.peer("dcmtk")
def test_a_sender_over_tls(tmp_path: Path) -> None:
    tls = self_signed(tmp_path, "gateway")
    with running(tmp_path / "state", tls=tls) as started:
        sent = storescu(started.port, sample(), options=["+tla", "-ic"])
        assert sent.returncode == 0, sent.stderr
        assert len(started.arrivals) == 1
        assert run("echoscu", "127.0.0.1", str(started.port)).returncode != 0  # without TLS


@pytest.mark.peer("dcmtk")
def test_silent_clients_do_not_block_the_handshake_of_others(tmp_path: Path) -> None:
    tls = self_signed(tmp_path, "gateway")
    with running(tmp_path / "state", tls=tls, handshake_timeout_s=2.0) as started:
        silent = [socket.create_connection(("127.0.0.1", started.port), DEADLINE_S) for _ in range(10)]
        begun = time.monotonic()
        assert run("echoscu", "+tla", "-ic", "127.0.0.1", str(started.port)).returncode == 0
        assert time.monotonic() - begun < 1.5
        for connection in silent:
            connection.settimeout(DEADLINE_S)
            assert connection.recv(1) == b""
            connection.close()


@pytest.mark.peer("dcmtk")
def test_a_client_authority_lets_only_its_own_in(tmp_path: Path) -> None:
    gateway, modality = self_signed(tmp_path, "gateway"), self_signed(tmp_path, "modality")
    tls = TlsSettings(gateway.certificate, gateway.key, client_authority=modality.certificate)
    with running(tmp_path / "state", tls=tls) as started:
        port = str(started.port)
        assert run("echoscu", "+tla", "-ic", "127.0.0.1", port).returncode != 0
        own = ["+tls", str(modality.key), str(modality.certificate), "-ic"]
        done = run("echoscu", *own, "127.0.0.1", port)
        assert done.returncode == 0, done.stderr


def test_old_protocols_are_refused(tmp_path: Path) -> None:
    assert self_signed(tmp_path, "gateway").context().minimum_version is ssl.TLSVersion.TLSv1_2
