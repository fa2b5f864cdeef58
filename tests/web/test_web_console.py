"""The console in a browser that checks the certificate: files, headers, and what the policy forbids."""

import pytest
from playwright.sync_api import Page

from tests.support.gateways import RunningGateway

CONSOLE_ONLY = True
pytestmark = pytest.mark.peer("chromium")


def test_the_application_is_served_to_a_browser_that_trusts_the_authority(console: RunningGateway, phone: Page) -> None:
    response = phone.goto(console.origin)
    assert response is not None and response.status == 200
    assert phone.text_content("#said") == "hello"
    assert phone.evaluate("isSecureContext && !!crypto.subtle")


def test_a_service_worker_registers(console: RunningGateway, phone: Page) -> None:
    phone.goto(console.origin)
    scope = phone.evaluate(
        "navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(r => r.scope)"
    )
    assert scope == f"{console.origin}/"
