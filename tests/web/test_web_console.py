"""The console in a browser that checks the certificate: what it shows, and what the policy forbids."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Page, Playwright

from tests.support.browsers import new_page, trusting_browser
from tests.support.gateways import RunningGateway
from tests.web.attempts import FORBIDDEN

CONSOLE_ONLY = True
pytestmark = pytest.mark.peer("chromium")

WEBSOCKET = """url => new Promise(done => {
  const socket = new WebSocket(url, 'mqtt');
  socket.binaryType = 'arraybuffer';
  // CONNECT, MQTT 3.1.1, without a client id and a name: the broker must answer that it refuses.
  socket.onopen = () => socket.send(new Uint8Array([16, 12, 0, 4, 77, 81, 84, 84, 4, 2, 0, 60, 0, 0]));
  socket.onmessage = event => done(['answer', ...new Uint8Array(event.data).slice(0, 2)]);
  socket.onclose = event => done(['closed', event.code, event.wasClean]);
})"""


def test_the_application_is_served_to_a_browser_that_trusts_the_authority(console: RunningGateway, phone: Page) -> None:
    response = phone.goto(console.origin)
    assert response is not None and response.status == 200
    assert phone.text_content("#said") == "hello"
    assert phone.evaluate("isSecureContext && !!crypto.subtle")


def test_a_browser_that_was_told_nothing_refuses(console: RunningGateway, playwright_driver: Playwright) -> None:
    with trusting_browser(playwright_driver, None) as browser, pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        new_page(browser).goto(console.origin)


def test_a_service_worker_registers(console: RunningGateway, phone: Page) -> None:
    phone.goto(console.origin)
    scope = phone.evaluate(
        "navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(r => r.scope)"
    )
    assert scope == f"{console.origin}/"


def test_a_page_reaches_the_broker_on_its_own_origin(console: RunningGateway, phone: Page) -> None:
    phone.goto(console.origin)
    said = phone.evaluate(WEBSOCKET, f"wss://127.0.0.1:{console.https_port}/mqtt")
    # CONNACK, or the end that amqtt makes of a CONNECT without a name: either came from the broker.
    assert said[:3] == ["answer", 32, 2] or said == ["closed", 1001, True]


def test_a_page_of_another_origin_does_not(console: RunningGateway, phone: Page, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!doctype html><title>foreign</title>")
    phone.goto((tmp_path / "page.html").as_uri())
    said = phone.evaluate(WEBSOCKET, f"wss://127.0.0.1:{console.https_port}/mqtt")
    assert said == ["closed", 1006, False]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_policy_forbids(console: RunningGateway, phone: Page, what: str) -> None:
    phone.goto(console.origin)
    violated: list[Any] = phone.evaluate(
        """what => new Promise(done => {
             addEventListener('securitypolicyviolation', event => done([event.disposition, window.ran ?? null]));
             window.attempt(what);
           })""",
        what,
    )
    assert violated == ["enforce", None]


def test_nobody_frames_the_console(console: RunningGateway, phone: Page, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html><iframe src='{console.origin}/'></iframe>")
    with phone.expect_console_message(lambda message: "frame-ancestors" in message.text):
        phone.goto((tmp_path / "page.html").as_uri())


def test_pictures_and_documents_of_the_application_are_allowed(console: RunningGateway, phone: Page) -> None:
    phone.goto(console.origin)
    allowed = phone.evaluate(
        """async () => {
             const violations = [];
             addEventListener('securitypolicyviolation', event => violations.push(event.effectiveDirective));
             const canvas = document.createElement('canvas');
             canvas.width = canvas.height = 2;
             const blob = await new Promise(done => canvas.toBlob(done));
             const seen = [];
             for (const src of [URL.createObjectURL(blob), canvas.toDataURL()]) {
               const image = new Image();
               image.src = src;
               await image.decode();
               seen.push(image.naturalWidth);
             }
             const frame = document.createElement('iframe');
             frame.sandbox = '';
             frame.srcdoc = '<p>report</p>';
             document.body.append(frame);
             await new Promise(done => { frame.onload = done; });
             const other = document.createElement('iframe');
             other.src = URL.createObjectURL(new Blob(['<p>x</p>'], {type: 'text/html'}));
             document.body.append(other);
             await new Promise(done => { other.onload = done; });
             const module = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
             await WebAssembly.compile(module);
             document.body.style.color = 'red';
             return [seen, violations];
           }"""
    )
    assert allowed == [[2, 2], []]


@pytest.mark.parametrize("width", [360, 1024])
def test_the_certificates_page_fits_and_works_without_scripts(
    console: RunningGateway, phone: Page, width: int, tmp_path: Path
) -> None:
    phone.set_viewport_size({"width": width, "height": 800})
    problems: list[str] = []
    phone.on("console", lambda message: problems.append(message.text))
    phone.goto(f"{console.origin}/install")
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert phone.locator("h1").all_text_contents() == ["인증서 설치", "Install the certificate"]
    with phone.expect_download() as download:
        phone.get_by_role("link", name="Get the certificate").click()
    assert download.value.suggested_filename == "mpacs-authority.crt"
    assert not problems
