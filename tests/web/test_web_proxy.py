"""The documented nginx before a real gateway: pages, enrolment and studies through it, and what stays hidden."""

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.studies import HONG, long_ct
from gateway.management import authority
from tests.support.broker_process import free_port, wait_until
from tests.support.consoles import WebSocket, fetch
from tests.support.gateway_devices import WireDevice
from tests.support.gateways import RunningGateway

EXAMPLE = Path(__file__).parents[2] / "configs" / "proxy" / "nginx.conf"
pytestmark = pytest.mark.peer("nginx")


@dataclass
class Proxied:
    """A gateway, and where nginx serves its console."""

    gateway: RunningGateway
    port: int
    authority: Path

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


def configure(folder: Path, gateway: RunningGateway, port: int, public: Path) -> Path:
    """The example with this test's names, in the least that nginx needs around it."""
    text = EXAMPLE.read_text()
    for pattern, value in {
        r"listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        r"server_name images\.example": "server_name 127.0.0.1",
        r"/etc/ssl/mpacs/fullchain\.pem": f"{public}/server.pem",
        r"/etc/ssl/mpacs/privkey\.pem": f"{public}/server.key",
        r"/var/lib/mpacs/tls/authority\.pem": str(gateway.authority),
        r"proxy_ssl_name images\.example": "proxy_ssl_name localhost",
        r"127\.0\.0\.1:8443": f"127.0.0.1:{gateway.https_port}",
    }.items():
        text, count = re.subn(pattern, value, text)
        assert count, pattern
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in
                    ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log notice;\n"
        f"events {{}}\nhttp {{ access_log {folder}/access.log;\n{paths}\n{text} }}\n"
    )
    return path


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, small_web: Path) -> Iterator[Proxied]:
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    authority.ensure(folder / "public", "127.0.0.1")
    https = {"web": str(small_web), "listen": "127.0.0.1", "origin": f"https://127.0.0.1:{port}"}
    with RunningGateway(folder / "state", host="localhost", settings={"https": https}) as gateway:
        gateway.cli("profile", "add", "doctor", "D1", "--attends", "*")
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin") or "nginx"
        process = subprocess.Popen([nginx, "-c", str(configure(folder, gateway, port, folder / "public")),
                                    "-p", str(folder), "-e", str(folder / "error.log")])  # fmt: skip
        try:
            wait_until(lambda: _listens(port), 20, "nginx listens")
            yield Proxied(gateway, port, folder / "public" / "authority.pem")
        finally:
            process.terminate()
            process.wait(20)
        assert not (folder / "access.log").read_text(), "nginx logged who came"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_pages_come_with_their_headers(proxied: Proxied) -> None:
    response, body = fetch(proxied.port, proxied.context, "/", Accept_Encoding="gzip")
    assert response.status == 200 and body
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    response, _ = fetch(proxied.port, proxied.context, "/assets/page-0123abcd.js", Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip" and "immutable" in response.headers["Cache-Control"]
    assert fetch(proxied.port, proxied.context, "/healthz")[0].status == 200


def test_metrics_are_hidden_even_where_the_proxy_forgets_them(proxied: Proxied) -> None:
    assert fetch(proxied.port, proxied.context, "/metrics")[0].status == 404
    # Past the exact location of the example; the gateway sees that a proxy asks.
    assert fetch(proxied.port, proxied.context, "/metrics?x=1")[0].status == 404
    assert fetch(proxied.port, proxied.context, "/%6Detrics")[0].status == 404
    assert fetch(proxied.port, proxied.context, "/Metrics")[0].status == 404


def test_a_device_enrols_by_the_public_link_and_gets_its_study(proxied: Proxied, tmp_path: Path) -> None:
    uri = proxied.gateway.cli("invite", "doctor:D1", json=True)["uri"]
    assert uri.startswith(f"https://127.0.0.1:{proxied.port}/#enrol=")
    device = WireDevice.enrol(proxied.port, uri, authority=proxied.authority).connect()
    proxied.gateway.store(long_ct(tmp_path, 4, HONG, "proxied").files)
    device.wait(lambda: device.is_current() and device.current(), "the study", 60)
    proxied.gateway.wait_studies(1)
    device.sync()
    device.wait(lambda: any(entry.layer == "display" for one in device.current().values() for entry in one.objects),
                "its pictures")  # fmt: skip
    for one in device.current().values():
        for entry in one.objects:
            if entry.layer == "display":
                assert len(device.fetch(entry)) == entry.size
    device.stop()


def test_pages_of_other_origins_are_refused_through_the_proxy_too(proxied: Proxied) -> None:
    for origin, status in ((f"https://127.0.0.1:{proxied.port}", 101), ("https://evil.example", 403)):
        raw = socket.create_connection(("127.0.0.1", proxied.port), 20)
        connection = proxied.context.wrap_socket(raw, server_hostname="127.0.0.1")
        assert WebSocket(connection, proxied.port, Origin=origin).status == status
