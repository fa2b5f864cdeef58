"""What the console answers: files and their caching, headers on everything, health, metrics, the certificate's page."""

import gzip
import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import config
from gateway.config import Config, Https
from gateway.console import files, headers
from gateway.management import authority
from tests.support.broker_process import wait_until
from tests.support.consoles import RunningConsole

SCRIPT = "const answer = 42;\n" * 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("web")
    (made / "assets").mkdir()
    (made / "index.html").write_text("<!doctype html><title>one</title>")
    (made / "sw.js").write_text("// one\n" * 100)
    (made / "assets" / "app-B1a_-xyz.js").write_text(SCRIPT)
    (made / "assets" / "app-B1a_-xyz.js.map").write_text("{}")
    (made / "assets" / "noise-0a1b2c3d.wasm").write_bytes(os.urandom(200_000))
    (made / "assets" / "ready-0a1b2c3d.css").write_text("a{}")
    (made / "assets" / "ready-0a1b2c3d.css.br").write_bytes(b"brotli's bytes")
    (made / "secret").symlink_to("/etc/passwd")
    return made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[RunningConsole]:
    with RunningConsole(tmp_path_factory.mktemp("state"), web=str(folder), metrics_token="let-me-in") as one:
        yield one


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_hashed_names_are_kept_for_ever_and_the_others_asked_for_again(alone: RunningConsole) -> None:
    cached = {path: alone.get(path)[0].headers["Cache-Control"] for path in
              ("/", "/index.html", "/sw.js", "/assets/app-B1a_-xyz.js", "/assets/noise-0a1b2c3d.wasm")}  # fmt: skip
    for_ever = "public, max-age=31536000, immutable"
    assert list(cached.values()) == ["no-cache", "no-cache", "no-cache", for_ever, for_ever]


def test_files_come_whole_packed_or_not(alone: RunningConsole, folder: Path) -> None:
    path = "/assets/app-B1a_-xyz.js"
    response, body = alone.get(path, Accept_Encoding="br, gzip")
    assert response.headers["Content-Encoding"] == "gzip" and len(body) < len(SCRIPT) / 20
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert gzip.decompress(body).decode() == SCRIPT and response.headers["Vary"] == "Accept-Encoding"
    for refused in ("", "identity", "gzip;q=0"):
        response, body = alone.get(path, Accept_Encoding=refused)
        assert response.headers["Content-Encoding"] is None and body.decode() == SCRIPT
    response, body = alone.get("/assets/noise-0a1b2c3d.wasm", Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] is None
    assert body == (folder / "assets" / "noise-0a1b2c3d.wasm").read_bytes()
    response, body = alone.get("/assets/ready-0a1b2c3d.css", Accept_Encoding="gzip, br;q=1.0")
    assert response.headers["Content-Encoding"] == "br" and body == b"brotli's bytes"


def test_what_did_not_change_is_not_sent_again(alone: RunningConsole) -> None:
    tags = set()
    for encoding in ("gzip", "identity"):
        tag = alone.get("/sw.js", Accept_Encoding=encoding)[0].headers["ETag"]
        tags.add(tag)
        for condition in (tag, f'W/{tag}, "other"'):
            response, body = alone.get("/sw.js", Accept_Encoding=encoding, If_None_Match=condition)
            assert (response.status, body) == (304, b"") and response.headers["ETag"] == tag
    assert len(tags) == 2
    assert alone.get("/sw.js", If_None_Match='"other"')[0].status == 200


def test_head_says_what_get_would_send(alone: RunningConsole) -> None:
    for encoding in ("gzip", "identity"):
        asked, body = alone.get("/assets/app-B1a_-xyz.js", "HEAD", Accept_Encoding=encoding)
        got, whole = alone.get("/assets/app-B1a_-xyz.js", Accept_Encoding=encoding)
        assert body == b"" and asked.headers["Content-Length"] == got.headers["Content-Length"] == str(len(whole))


@pytest.mark.parametrize("path", [
    "/nothing", "/assets/", "/assets", "/../gateway.yaml", "/%2e%2e/%2e%2e/etc/passwd", "/secret", "//etc/passwd",
    "/assets/app-B1a_-xyz.js.map", "/assets/ready-0a1b2c3d.css.br", "/index.html/", "/\x7f", "/tls/authority.key",
])  # fmt: skip
def test_there_is_nothing_else(alone: RunningConsole, path: str) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", alone.port, context=alone.context(), timeout=20)
    connection._validate_path = lambda _: None  # type: ignore[attr-defined]  # as a stranger would send it
    connection.request("GET", path)
    assert connection.getresponse().status in (400, 404)
    connection.close()


def test_a_new_build_is_served_without_a_restart(tmp_path: Path) -> None:
    web = tmp_path / "web"
    with RunningConsole(tmp_path, web=str(web)) as console:
        response, body = console.get("/")
        assert response.status == 503 and b"https.web" in body and not console.facts()["web"]
        web.mkdir()
        (web / "index.html").write_text("first")
        wait_until(lambda: console.get("/")[1] == b"first", 20, "the first build")
        (web / "new").write_text("second")
        (web / "new").replace(web / "index.html")
        wait_until(lambda: console.get("/")[1] == b"second", 20, "the second build")
        shutil.rmtree(web)
        wait_until(lambda: console.get("/")[0].status == 503, 20, "nothing")


def test_the_installed_application_is_found_without_importing_its_package() -> None:
    code = ("import sys; from gateway.console.files import installed_folder; print(installed_folder());"
            "sys.exit('device_client' in sys.modules)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    expected = Path(files.__file__).parents[2] / "device_client" / "web" / "dist"
    assert done.stdout.strip() == str(expected if expected.is_dir() else None)


# ── headers ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/nothing", 404), ("GET", "/mqtt", 400), ("POST", "/", 405), ("GET", "/healthz", 200),
     ("GET", "/install", 200), ("PUT", "/install", 405), ("OPTIONS", "/mqtt", 405)],
)  # fmt: skip
def test_every_answer_carries_the_headers(alone: RunningConsole, method: str, path: str, status: int) -> None:
    response, _ = alone.get(path, method, **({"Origin": "https://evil.example"} if method == "OPTIONS" else {}))
    assert response.status == status
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'self'", "script-src": "'self' 'wasm-unsafe-eval'", "worker-src": "'self'",
        "connect-src": "'self'", "img-src": "'self' blob: data:", "media-src": "blob:", "frame-src": "blob:",
        "object-src": "'none'", "base-uri": "'none'", "form-action": "'self'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in response.headers["Permissions-Policy"]
    assert "aiohttp" not in str(response.headers).lower() and "python" not in str(response.headers).lower()
    assert response.headers["Strict-Transport-Security"] is None
    assert not [name for name in response.headers if name.startswith("Access-Control-")]


def test_hsts_only_where_the_hospital_vouches_and_the_console_has_the_host() -> None:
    name = "Strict-Transport-Security"
    assert name in headers.security_headers(False, "https://images.example")
    assert name not in headers.security_headers(False, "https://images.example:8443")
    assert name not in headers.security_headers(True, "https://images.example")


# ── health and metrics ────────────────────────────────────────────────────────────────────────────────────────────


def test_health_says_only_whether(alone: RunningConsole) -> None:
    response, body = alone.get("/healthz")
    assert (response.status, json.loads(body)) == (200, {"status": "ok"})
    for trouble in ({"broker": False, "troubles": {}}, {"broker": True, "troubles": {"the index": "disk full"}}):
        alone.status = trouble
        response, body = alone.get("/healthz")
        assert (response.status, json.loads(body)) == (503, {"status": "trouble"})
    alone.status = {"broker": True, "troubles": {}}


def test_metrics_are_for_this_machine_or_the_token(alone: RunningConsole) -> None:
    response, body = alone.get("/metrics")
    assert response.status == 200 and response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "mpacs_broker_connected 1\n" in body.decode()
    for proxy in ("X_Forwarded_For", "Forwarded", "X_Real_IP", "Via"):
        assert alone.get("/metrics", **{proxy: "127.0.0.1"})[0].status == 403
        wrong = {proxy: "x", "Authorization": "Bearer let-me-i"}
        assert alone.get("/metrics", **wrong)[0].status == 403
        right = {proxy: "x", "Authorization": "Bearer let-me-in"}
        assert alone.get("/metrics", **right)[0].status == 200


def test_without_a_token_no_token_opens_metrics(tmp_path: Path) -> None:
    with RunningConsole(tmp_path) as console:
        for given in ("", "Bearer ", "Bearer"):
            assert console.get("/metrics", X_Forwarded_For="x", Authorization=given)[0].status == 403


# ── the certificate ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_authority_is_offered_with_its_fingerprint_in_both_languages(alone: RunningConsole) -> None:
    response, body = alone.get("/install/mpacs-authority.crt")
    assert response.headers["Content-Type"] == "application/x-x509-ca-cert"
    assert ssl.DER_cert_to_PEM_cert(body) == (alone.tls / "authority.pem").read_text()
    page = alone.get("/install")[1].decode().replace("<wbr>", "")
    assert page.count(authority.fingerprint(alone.tls)) == 2
    shown = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-fingerprint", "-sha256"],
                           input=body, capture_output=True, check=True).stdout.decode()  # fmt: skip
    assert authority.fingerprint(alone.tls) in shown
    assert 'lang="ko"' in page and 'lang="en"' in page and "<style" not in page and "style=" not in page
    assert alone.get("/install/style.css")[0].headers["Content-Type"].startswith("text/css")


def make_hospital(folder: Path, host: str = "127.0.0.1") -> tuple[str, str]:
    """A certificate by another authority, as a hospital has one."""
    authority.ensure(folder, host)
    return str(folder / "server.pem"), str(folder / "server.key")


def presented(console: RunningConsole) -> str:
    """The certificate that a new connection gets."""
    return ssl.get_server_certificate(("127.0.0.1", console.port))


def test_the_hospitals_certificate_is_followed_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    certificate, key = make_hospital(tmp_path / "hospital")
    other, other_key = make_hospital(tmp_path / "other")
    with RunningConsole(tmp_path, certificate=certificate, key=key) as console:
        first = Path(certificate).read_text()
        assert presented(console) in first
        assert console.get_untrusted("/install/mpacs-authority.crt")[0].status == 404
        assert "설치할 것이 없습니다" in console.get_untrusted("/install")[1].decode()
        # A certificate without its key: the old one goes on, and the trouble is named.
        shutil.copy(other, certificate)
        wait_until(lambda: console.error is not None, 20, "the trouble is seen")
        assert "server.pem" in str(console.error) and presented(console) in first
        shutil.copy(other_key, key)
        wait_until(lambda: presented(console) in Path(other).read_text(), 20, "the new one")
        wait_until(lambda: console.error is None, 20, "the trouble is over")
        Path(key).write_bytes(b"nonsense")
        wait_until(lambda: console.error is not None, 20, "the trouble is seen again")
        Path(certificate).unlink()
        assert presented(console) in Path(other).read_text()


def test_a_renewed_certificate_serves_without_a_restart_and_open_bridges_stay(tmp_path: Path) -> None:
    with RunningConsole(tmp_path) as console:
        client = console.websocket()
        broker = console.broker.accept()
        before = presented(console)
        (console.tls / "server.pem").unlink()
        assert authority.ensure(console.tls, "127.0.0.1")
        wait_until(lambda: presented(console) != before, 20, "the new one")
        assert console.get("/healthz")[0].status == 200
        client.send(b"hello")
        assert broker.recv(100) == b"hello"


def test_a_key_with_a_passphrase_is_no_question_at_the_terminal(tmp_path: Path) -> None:
    certificate, key = make_hospital(tmp_path / "hospital")
    subprocess.run(["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", key, "-out", key + ".locked"],
                   check=True, capture_output=True)  # fmt: skip
    with RunningConsole(tmp_path, certificate=certificate, key=key + ".locked") as console:
        wait_until(lambda: console.error is not None, 20, "the trouble is seen")
        assert not console.facts()["listening"]
        shutil.copy(key, key + ".locked")
        wait_until(lambda: console.facts()["listening"], 20, "it listens")


def test_a_port_that_is_taken_is_named_and_had_later(tmp_path: Path) -> None:
    with RunningConsole(tmp_path) as first:
        port = first.port
        with RunningConsole(tmp_path / "second", port=port) as second:
            assert not second.facts()["listening"]
            wait_until(lambda: f"https.port {port}" in str(second.error), 20, "the trouble is named")
            first.stop()
            wait_until(lambda: second.facts()["listening"], 20, "it listens")


@pytest.mark.parametrize(
    ("settings", "origin", "host"),
    [
        ("host: 127.0.0.1", "https://127.0.0.1:8443", "127.0.0.1"),
        ("host: localhost", "https://localhost:8443", "127.0.0.1"),
        ("host: '2001:DB8:0::1'", "https://[2001:db8::1]:8443", "2001:DB8:0::1"),
        ("host: PACS.example\nhttps: {port: 443}", "https://pacs.example", "0.0.0.0"),
        ("host: 192.0.2.1\nhttps: {listen: 127.0.0.1}", "https://192.0.2.1:8443", "127.0.0.1"),
    ],
)
def test_origins_and_addresses(settings: str, origin: str, host: str) -> None:
    loaded = config.parse(f"site: a\n{settings}".encode(), "here")
    assert (loaded.own_origin, loaded.origin, loaded.console_host) == (origin, origin, host)


def test_the_public_origin_stands_in_links() -> None:
    assert Config(site="a", https=Https(origin="https://images.example")).origin == "https://images.example"
