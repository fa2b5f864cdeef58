"""Real devices beside a real gateway, links that lead them through a proxy, and a subscriber that counts."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.gateways import RunningGateway, program
from wire.enrolment import format_link, parse_link

_END_S = 20.0


class RunningDevice:
    """``mpacs-device`` with a state folder; enrolled when made."""

    def __init__(self, folder: Path, gateway: RunningGateway, recipient: str, through_port: int = 0) -> None:
        """``through_port``: reach the broker through a proxy on this loopback port."""
        self.folder = folder
        self._log = folder.with_suffix(".log")
        self._environment = {**os.environ, "MPACS_STATE": str(folder)}
        self.process: subprocess.Popen[bytes] | None = None
        uri = gateway.cli("invite", recipient, json=True)["uri"]
        if through_port:
            link = msgspec.structs.replace(parse_link(uri), broker=f"mqtt://127.0.0.1:{through_port}")
            uri = format_link("https://127.0.0.1:1", link)
        self.call("enrol", uri, "--name", "test device")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """A command that must succeed; what it printed."""
        done = subprocess.run(
            [program("mpacs-device"), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"mpacs-device {arguments[0]}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def start(self, *arguments: str) -> None:
        """``mpacs-device run``; its output goes to a file beside the state folder."""
        with self._log.open("ab") as log:
            command = [program("mpacs-device"), "run", *arguments]
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def stop(self) -> None:
        """End it as a user would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(_END_S)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """What it printed in all runs."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def studies(self) -> list[dict[str, Any]]:
        """``studies --json``."""
        found: list[dict[str, Any]] = json.loads(self.call("studies", "--json"))
        return found

    def wait_line(self, wanted: str, count: int = 1, timeout_s: float = 60.0) -> float:
        """When the log held ``wanted`` so many times; AssertionError after the timeout."""
        deadline = time.monotonic() + timeout_s
        while self.log.count(wanted) < count:
            assert time.monotonic() < deadline, f"{wanted!r} x {count} not within {timeout_s} s: {self.log}"
            time.sleep(0.01)
        return time.monotonic()

    def wait_complete(self, pictures: int, timeout_s: float = 120.0) -> dict[str, Any]:
        """The first study whose ``display`` layers are complete and hold so many pictures."""
        deadline = time.monotonic() + timeout_s
        while True:
            for study in self.studies():
                layers = [s["layers"]["display"] for s in study["series"] if "display" in s["layers"]]
                if sum(layer["frames"] for layer in layers if layer["complete"]) >= pictures:
                    return study
            assert time.monotonic() < deadline, f"not complete within {timeout_s} s: {self.log}"

    def credentials(self) -> tuple[str, str, str, str]:
        """``(site, device, password, recipient root)`` for a subscriber with the same rights."""
        identity = json.loads((self.folder / "identity.json").read_text())
        return (
            identity["site"],
            identity["device"],
            _password(self.folder),
            f"mpacs/1/{identity['site']}/{identity['recipients'][0]['kind']}/{identity['recipients'][0]['recipient']}",
        )


def _password(folder: Path) -> str:
    from device_client.store.keys import KeyFiles

    return KeyFiles(folder).load_identity().password.hex()


class Listener:
    """A subscriber with a device's credentials that keeps the topics of what it hears."""

    def __init__(self, device: RunningDevice, port: int, filters: list[str]) -> None:
        """``device`` does not run itself. Each filter is subscribed alone, and answered before the next."""
        _, name, password, _ = device.credentials()
        self.heard: list[str] = []
        self.granted: dict[str, bool] = {}
        self._answers: queue.Queue[bool] = queue.Queue()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        client.username_pw_set(name, password)
        client.on_connect = lambda *_: self._answers.put(True)
        client.on_subscribe = lambda _c, _u, _m, codes, _p: self._answers.put(not codes[0].is_failure)
        client.on_message = lambda _c, _u, message: self.heard.append(message.topic)
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._client = client
        self._answers.get(timeout=20)
        for one in filters:
            client.subscribe(one, 0)
            self.granted[one] = self._answers.get(timeout=20)

    @property
    def is_connected(self) -> bool:
        """Whether the connection that was opened still stands."""
        return self._client.is_connected()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


class PublishCounter:
    """A subscriber with rights of its own that counts every segment which the gateway publishes to a recipient."""

    def __init__(self, device: RunningDevice, port: int) -> None:
        """``device`` was enrolled for this and does not run itself."""
        _, name, password, root = device.credentials()
        self.segments: Counter[str] = Counter()
        self.other: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._root = root
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        client.username_pw_set(name, password)
        client.on_connect = lambda *_: client.subscribe(f"{root}/object/#", 0)
        client.on_subscribe = lambda *_: self._ready.set()
        client.on_message = self._count
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._client = client
        assert self._ready.wait(20), "the counter could not subscribe"

    def _count(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            kind = self.other if message.topic.rpartition("/")[2].startswith("m") else self.segments
            kind[message.topic] += 1

    @property
    def published(self) -> int:
        """Segments published until now, repeats included."""
        with self._lock:
            return self.segments.total()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
