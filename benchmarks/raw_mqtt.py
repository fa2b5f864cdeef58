"""The peer of goodput: the same sealed bytes, published and received by plain paho clients through the same broker."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from wire.limits import SEAL_HEADER_BYTES, SEGMENT_BYTES
from wire.names import encode_reference

_PASSWORD = "benchmark"
_WAIT_S = 120.0
_ON_THE_WAY = 6
"""Segments that the subscriber has not had yet. The broker drops QoS 0 that finds no room (4 MiB for a client): what is
measured is how fast the bytes come, not how many are lost."""


def _segments(sealed: Sequence[Path]) -> list[bytes]:
    pieces = []
    for path in sealed:
        data = path.read_bytes()
        cuts = [0, *range(SEAL_HEADER_BYTES + SEGMENT_BYTES, len(data), SEGMENT_BYTES), len(data)]
        pieces += [data[start:end] for start, end in pairwise(cuts)]
    return pieces


def _client(name: str, port: int) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.username_pw_set(name, _PASSWORD)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def raw_goodput(gateway_state: Path, sealed: Sequence[Path]) -> float:
    """MB/s through the broker of a gateway that has ended: its own configuration, two new logins."""
    folder = gateway_state / "broker"
    access = json.loads((folder / "access.json").read_text())
    names = [encode_reference(bytes([number]) * 16) for number in (1, 2)]
    digest = hashlib.sha256(_PASSWORD.encode()).hexdigest()
    access["users"] = {name: {"sha256": digest, "role": "gateway", "recipients": []} for name in names}
    (folder / "access.json").write_text(json.dumps(access))
    command = [sys.executable, "-m", "broker", "run", "--json", "--config", str(folder / "broker.yaml")]
    broker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert broker.stdout is not None
        port = json.loads(broker.stdout.readline())["listeners"]["tcp"]["port"]
        return _measure(access["site"], names, port, _segments(sealed))
    finally:
        broker.terminate()
        broker.wait()


def _measure(site: str, names: list[str], port: int, segments: list[bytes]) -> float:
    total = sum(map(len, segments))
    received, done, subscribed = 0, threading.Event(), threading.Event()
    room = threading.Semaphore(_ON_THE_WAY)

    def count(_c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        nonlocal received
        received += len(message.payload)
        room.release()
        if received == total:
            done.set()

    subscriber, publisher = _client(names[0], port), _client(names[1], port)
    subscriber.on_message = count
    subscriber.on_subscribe = lambda *_: subscribed.set()
    subscriber.subscribe(f"mpacs/1/{site}/doctor/#", 0)
    subscribed.wait(_WAIT_S)
    root = f"mpacs/1/{site}/doctor/{names[0]}/object/{names[1]}"
    started = time.monotonic()
    for index, segment in enumerate(segments):
        room.acquire()
        publisher.publish(f"{root}/{index}", segment, 0)
    if not done.wait(_WAIT_S):
        raise TimeoutError(f"{received} of {total} bytes came")
    elapsed = time.monotonic() - started
    for client in (subscriber, publisher):
        client.disconnect()
        client.loop_stop()
    return total / 1e6 / elapsed
