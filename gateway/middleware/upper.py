"""pynetdicom's acceptor, made fit for strangers: bounded PDUs, no polling, data sets straight to disk.

pynetdicom 3.0 reads whatever length an A-ASSOCIATE-RQ declares, wakes a thousand times a second for each association,
selects with select(2), and keeps a received data set in memory. Each of these has one class here that changes it for
one association; no global of the library is touched but its documented settings (see ``configure``).
"""

from __future__ import annotations

import logging
import os
import queue
import select
import socket
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, N_EVENT_REPORT_RQ, DIMSEMessage
from pynetdicom.transport import AssociationSocket

from gateway.middleware.spool import Spool

_COMMAND_LIMIT_BYTES = 64 << 10
_REPORT_LIMIT_BYTES = 4 << 20
_WAITING_LIMIT = 16  # requests that came before the answer to the one before them
_IDLE_WAIT_MS = 50
_MESSAGE_WAIT_S = 0.02


def configure() -> None:
    """Settle the library's process-wide settings. Call before a server or client of this process starts."""
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    # Its log lines carry UIDs, and exceptions carry values.
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_REQUEST_IDENTIFIERS = False
    # An illegal UID is answered with a status and the association goes on; the library would abort it.
    _config.VALIDATORS["UI"] = lambda _value: (True, "")
    for name in ("pynetdicom", "pydicom"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False


class BoundedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom is not annotated for strict checking
    """Reads PDUs of a bounded length in a bounded time, and sleeps until there is something to do."""

    def __init__(self, assoc: Association, client_socket: socket.socket, timeout_s: float, limit_bytes: int) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._timeout_s = timeout_s
        self._limit_bytes = limit_bytes
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()  # select(2) fails from descriptor 1,024 on
        self._poll.register(client_socket, select.POLLIN)
        self._poll.register(self._wake_fd, select.POLLIN)
        client_socket.settimeout(timeout_s)

    def wake(self) -> None:
        """Something waits to be sent. Any thread may call."""
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits a moment when there is nothing to do at all."""
        if self.socket is None or not self._is_connected:
            time.sleep(0.001)
            return False
        pending = getattr(self.socket, "pending", None)  # of a TLS socket: bytes that poll does not see
        if pending is not None and pending():
            return True
        busy = not self.event_queue.empty()
        try:
            events = dict(self._poll.poll(0 if busy else _IDLE_WAIT_MS))
        except OSError:
            self.event_queue.put("Evt17")
            return False
        if self._wake_fd in events:
            os.eventfd_read(self._wake_fd)
            return False
        return bool(events)

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly ``nr_bytes``, or fewer when the peer closed.

        Raises:
            OSError: more than a PDU may have, or not all of it within the timeout.
        """
        if nr_bytes > self._limit_bytes:
            raise OSError("PDU longer than the limit")
        out = bytearray(nr_bytes)
        view, got = memoryview(out), 0
        deadline = time.monotonic() + self._timeout_s
        while got < nr_bytes:
            count = self.socket.recv_into(view[got:])
            if count == 0:
                break
            got += count
            if got < nr_bytes and time.monotonic() > deadline:
                raise TimeoutError("PDU not complete in time")
        view.release()
        del out[got:]
        return out

    def release_descriptors(self) -> None:
        """Let go of the wake-up descriptor, after the association's threads ended."""
        fd, self._wake_fd = self._wake_fd, -1
        if fd >= 0:
            os.close(fd)


class WakingQueue(queue.Queue[Any]):
    """The queue of what is to be sent: wakes the thread that sleeps in ``BoundedSocket.ready``."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As Queue.put."""
        super().put(item, block, timeout)
        self._wake()


class DataSetSink(BytesIO):
    """Stands where the library puts a BytesIO: the bytes of a C-STORE's data set go to a spooled file.

    A BytesIO by type, because the library checks for one; as such it stays empty. The file is opened at the first
    byte, when the command set in front of it has said what is coming.
    """

    def __init__(self, message: DIMSEMessage, open_spool: Callable[[DIMSEMessage], Spool]) -> None:
        super().__init__()
        self._message = message
        self._open_spool = open_spool
        self.spool: Spool | None = None

    def write(self, data: Any) -> int:
        """Called by the library with each fragment. Raises ValueError, which ends the association, on stray data."""
        if isinstance(self._message, N_EVENT_REPORT_RQ):  # storage commitment: a list of UIDs
            if self.tell() + len(data) > _REPORT_LIMIT_BYTES:
                raise ValueError("a report longer than the limit")
            return super().write(data)
        if self.spool is None:
            if not isinstance(self._message, C_STORE_RQ):
                raise ValueError("data set with a message that has none")
            self.spool = self._open_spool(self._message)
        return self.spool.write(data)


class SpoolingProvider(DIMSEServiceProvider):  # type: ignore[misc]  # as above
    """Receives messages with their data sets on disk, and bounds what a peer can make it hold."""

    sink = DataSetSink
    waiting = _WAITING_LIMIT

    def __init__(self, assoc: Association, open_spool: Callable[[DIMSEMessage], Spool]) -> None:
        super().__init__(assoc)
        self._open_spool = open_spool
        self._sinks: list[DataSetSink] = []

    def receive_primitive(self, primitive: Any) -> None:
        """As the library's. Raises ValueError, which ends the association, when a bound is passed."""
        message: DIMSEMessage | None = self.message
        if message is None:
            if self.msg_queue.qsize() >= self.waiting:
                raise ValueError("too many requests without waiting for an answer")
            message = DIMSEMessage()
            sink = self.sink(message, self._open_spool)
            message.data_set = sink
            self.message: DIMSEMessage | None = message
            self._sinks = [known for known in self._sinks if known.spool is None or known.spool.is_open][-64:]
            self._sinks.append(sink)
        elif message.encoded_command_set.tell() > _COMMAND_LIMIT_BYTES:
            raise ValueError("command set longer than the limit")
        super().receive_primitive(primitive)

    def get_msg(self, block: bool = False) -> Any:
        """As the library's, but sleeps a moment where it would return empty-handed and be asked again at once."""
        if block:
            return super().get_msg(block)
        try:
            return self.msg_queue.get(timeout=_MESSAGE_WAIT_S)
        except queue.Empty:
            return None, None

    def discard_all(self) -> None:
        """Remove what was never answered, after the association's threads ended."""
        for sink in self._sinks:
            if sink.spool is not None:
                sink.spool.discard()
        self._sinks.clear()


def refit(
    assoc: Association,
    client_socket: socket.socket,
    open_spool: Callable[[DIMSEMessage], Spool],
    timeout_s: float,
    limit_bytes: int,
) -> tuple[BoundedSocket, SpoolingProvider]:
    """Exchange the parts of an acceptor's association before it starts."""
    dul = assoc.dul
    dul.event_queue.get_nowait()  # the stock socket announced the connection; ours does again
    bounded = BoundedSocket(assoc, client_socket, timeout_s, limit_bytes)
    dul.socket = bounded
    dul.to_provider_queue = WakingQueue(bounded.wake)
    dul._run_loop_delay = 0
    provider = SpoolingProvider(assoc, open_spool)
    assoc.dimse = provider
    return bounded, provider
