"""The engine's page in a real browser: what its tests say to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.support.gateways import RunningGateway

PIN = "482916"
STARTED = "() => globalThis.api && api.phase.value.name !== 'starting'"
COMPLETE = (
    "() => api.studies.value.length > 0 && "
    "api.studies.value.every(s => s.settled && s.layers.length > 1 && s.layers.every(l => l.complete || !l.wanted))"
)
READ_ALL = """async (first) => {
  const { ref, series } = api.studies.value[0];
  const sizes = [];
  for (const one of series.filter(s => s.frames > 0)) {
    open(ref, one.uid);
    const { frames } = one;
    for (let index = 0; index < Math.min(frames, first); index++) {
      const { blob } = await globalThis.series.frame(index, { timeoutMs: 10000 });
      const bitmap = await createImageBitmap(blob);
      sizes.push([bitmap.width, bitmap.height]);
    }
    globalThis.series.close();
  }
  return sizes;
}"""
LEFT = """async () => {
  const text = [];
  const walk = async (folder) => {
    for await (const handle of folder.values()) {
      if (handle.kind === 'directory') await walk(handle);
      else text.push(new TextDecoder('latin1').decode(await (await handle.getFile()).arrayBuffer()));
    }
  };
  await walk(await navigator.storage.getDirectory());
  const db = await new Promise((resolve, reject) => {
    const request = indexedDB.open('mpacs');
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const show = (value) => {
    if (value instanceof Uint8Array) return new TextDecoder('latin1').decode(value);
    if (value instanceof CryptoKey) return value.extractable ? 'EXTRACTABLE' : '';
    if (value && typeof value === 'object') return Object.entries(value).map(([k, v]) => k + show(v)).join();
    return String(value);
  };
  for (const table of db.objectStoreNames) {
    const store = db.transaction(table).objectStore(table);
    for (const name of ['getAll', 'getAllKeys']) {
      const found = await new Promise(resolve => {
        const request = store[name]();
        request.onsuccess = () => resolve(request.result);
      });
      text.push(...found.map(show));
    }
  }
  db.close();
  return text;
}"""

BITMAPS = """async () => {
  const found = {};
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('objects');
  for await (const handle of folder.values()) {
    const start = (await handle.getFile()).slice(0, 1024);
    found[handle.name] = [...new Uint8Array(await start.arrayBuffer())];
  }
  return found;
}"""
"""The first bytes of each object's file, which begins with the bitmap of the segments that are there."""


@contextmanager
def running_gateway(folder: Path, web: Path, origin: str = "", **delivery: float) -> Iterator[RunningGateway]:
    """A gateway whose console serves ``web``, to users as ``origin``; ``delivery`` are settings of that section."""
    settings = {
        "delivery": {"settle_s": 0.5, **delivery},
        "https": {"web": str(web), "origin": origin},
        "rendering": {"quality": 100, "diagnostic": False},  # more segments in the same pictures
    }
    with RunningGateway(folder, settings=settings) as one:
        one.cli("profile", "add", "doctor", "D1", "--name", "Kim^Minsu", "--attends", "*")
        one.cli("profile", "add", "ward", "W1", "--attends", "*")
        yield one


def open_page(page: Page, gateway: RunningGateway) -> Page:
    """Load the engine and wait until it knows what it is."""
    page.goto(gateway.origin)
    page.wait_for_function(STARTED)
    return page


def phase(page: Page) -> str:
    """The name of the phase that the application is in."""
    return str(page.evaluate("() => api.phase.value.name"))


def call(page: Page, expression: str, *given: Any) -> Any:
    """The value of a promise, or the code of its ApiError."""
    return page.evaluate(f"(given) => Promise.resolve(({expression})(...given)).catch(e => e.code ?? String(e))", given)


def enrol(page: Page, gateway: RunningGateway, recipient: str, pin: str = "") -> None:
    """Enrol by a fresh link, and set a PIN where one is needed."""
    uri = gateway.cli("invite", recipient, json=True)["uri"]
    assert call(page, "(uri) => api.enrol(uri, 'Phone')", uri) is None
    if pin:
        assert phase(page) == "pin-needed"
        assert call(page, "(pin) => api.setPin(pin)", pin) is None
    assert phase(page) == "open"
