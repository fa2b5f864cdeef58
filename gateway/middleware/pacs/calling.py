"""Associations that we ask for: bounded, over TLS where wanted, and with what C-GET brings straight to the disk.

The acceptor's parts (``upper``) serve here as well; pynetdicom lets them in where it makes the socket.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from gateway.config_pacs import PacsTls
from gateway.middleware.pacs.errors import PacsAway, PacsRefused
from gateway.middleware.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.middleware.scp_settings import PDU_LIMIT_BYTES
from gateway.middleware.spool import Spool
from gateway.middleware.upper import BoundedSocket, DataSetSink, SpoolingProvider, WakingQueue, configure

_MAX_PDU = 131072
_CONNECT_S = 10.0
_ANSWER_LIMIT_BYTES = 16 << 20
_WAITING = 64
_STOP_S = 5.0
_IDLE_S = 0.02


def client_context(tls: PacsTls, root: Path) -> ssl.SSLContext:
    """TLS towards a PACS by BCP 195: minimum 1.2, no maximum. Raises OSError or ssl.SSLError on bad files."""
    context = ssl.create_default_context(cafile=str(root / tls.authority) if tls.authority else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.check_name
    if tls.certificate:
        context.load_cert_chain(root / tls.certificate, root / tls.key)
    return context


class _CallingSocket(BoundedSocket):
    """A bounded socket that is connected later, as pynetdicom does it."""

    def __init__(self, assoc: Association, address: Any, timeout_s: float) -> None:
        unconnected = socket.socket()
        super().__init__(assoc, unconnected, timeout_s, PDU_LIMIT_BYTES)
        self._poll.unregister(unconnected)
        unconnected.close()
        assoc.dul.event_queue.get_nowait()  # nobody has connected yet, whatever the base says
        self._ready.clear()
        self._is_connected = False
        self.socket = self._create_socket(address)

    def connect(self, primitive: Any) -> None:
        """As pynetdicom's; with the TLS handshake bounded too, and small packets sent at once."""
        self.socket.settimeout(_CONNECT_S)
        super().connect(primitive)
        if self.socket is not None:
            self.socket.settimeout(self._timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(self.socket, 1)


class _Sink(DataSetSink):
    """Data sets of C-STORE requests go to the disk, those of answers stay in memory, in bounds."""

    def write(self, data: Any) -> int:
        """Raises ValueError, which ends the association, on an answer that is too large."""
        if isinstance(self._message, C_STORE_RQ):
            return super().write(data)
        if self.tell() + len(data) > _ANSWER_LIMIT_BYTES:
            raise ValueError("an answer longer than the limit")
        return super(DataSetSink, self).write(data)


class _Provider(SpoolingProvider):
    """Answers that we have not read yet hold the peer back instead of ending the association."""

    sink = _Sink
    patience_s = 60.0

    def receive_primitive(self, primitive: Any) -> None:
        deadline = time.monotonic() + self.patience_s
        while self.message is None and self.msg_queue.qsize() >= self.waiting and time.monotonic() < deadline:
            if self.assoc._kill:
                break
            time.sleep(0.002)
        super().receive_primitive(primitive)

    def get_msg(self, block: bool = False) -> Any:
        """The association's own thread, which asks without blocking, must not take the answer to a request of ours."""
        if block:
            return super().get_msg(block)
        time.sleep(_IDLE_S)
        return None, None


class _Entity(AE):  # type: ignore[misc]  # pynetdicom is not annotated for strict checking
    """Makes the socket and the message provider of ours for every association that it asks for."""

    open_spool: Callable[[Association, Any], Spool] | None = None

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> AssociationSocket:
        made = _CallingSocket(assoc, address, self.network_timeout or 30.0)
        made.tls_args = tls_args
        assoc.dul.to_provider_queue = WakingQueue(made.wake)
        assoc.dul._run_loop_delay = 0
        opener = self.open_spool
        assert opener is not None
        assoc.dimse = _Provider(assoc, lambda message: opener(assoc, message))
        return made


def _no_data_sets(_assoc: Association, _message: Any) -> Spool:
    raise ValueError("a data set that nobody asked for")


@contextlib.contextmanager
def association(
    where: tuple[str, int],
    titles: tuple[str, str],
    contexts: Sequence[PresentationContext],
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
    items: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
    open_spool: Callable[[Association, Any], Spool] = _no_data_sets,
) -> Iterator[Any]:
    """An association, released at the end; aborted where the body raises.

    Args:
        where: host and port.
        titles: calling and called AE title.
        contexts: at most 128.
        timeout_s: the peer may be silent so long.
        tls: see ``client_context``.
        items: extended negotiation.
        handlers: as pynetdicom has them.
        open_spool: for the data sets of C-STORE requests, which come with C-GET.

    Raises:
        PacsAway: not reached, or cut while it negotiated.
        PacsRefused: it rejected us.
    """
    configure()
    entity = _Entity(ae_title=titles[0])
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = _CONNECT_S
    entity.acse_timeout = entity.dimse_timeout = timeout_s
    entity.network_timeout = timeout_s
    entity.maximum_pdu_size = _MAX_PDU
    entity.open_spool = open_spool
    try:
        assoc = entity.associate(
            where[0],
            where[1],
            contexts=list(contexts),
            ae_title=titles[1],
            max_pdu=_MAX_PDU,
            ext_neg=list(items),
            tls_args=(tls, where[0]) if tls else None,
            evt_handlers=list(handlers),
        )
    except OSError:
        raise PacsAway("its name is not known here, or no connection can be made") from None
    try:
        _check(assoc, tls is not None)
        try:
            yield assoc
        except BaseException:
            assoc.abort()
            raise
        if assoc.is_established:
            assoc.release()
    finally:
        _end(assoc)


def _check(assoc: Association, with_tls: bool) -> None:
    if assoc.is_established:
        return
    if assoc.is_rejected:
        answer = assoc.acceptor.primitive
        reason = "it rejects the association"
        if answer is not None and answer.result_str:
            reason = f"it rejects the association ({answer.reason_str.lower()})"
        raise PacsRefused(f"{reason}: are both AE titles and this machine's address known to it?")
    if assoc.acceptor.primitive is not None and assoc.rejected_contexts:
        raise PacsRefused("it does none of what was asked of it: is this SOP class allowed for our AE title?")
    more = ", or the TLS handshake failed: do both trust each other's certificate?" if with_tls else ""
    raise PacsAway(f"it cannot be reached{more}")


def _end(assoc: Association) -> None:
    assoc._kill = True  # not kill(), which waits for a peer that may be gone
    assoc._reactor_checkpoint.set()
    if assoc.is_alive():
        assoc.join(_STOP_S)
    assoc.dul.kill_dul()
    sock = assoc.dul.socket
    if isinstance(sock, _CallingSocket):
        sock.wake()
        if assoc.dul.is_alive():
            assoc.dul.join(_STOP_S)
        sock.release_descriptors()
    if isinstance(assoc.dimse, SpoolingProvider):
        assoc.dimse.discard_all()


def context(abstract: str, *syntaxes: str) -> PresentationContext:
    """One presentation context."""
    made = PresentationContext()
    made.abstract_syntax = UID(abstract)
    made.transfer_syntax = [UID(syntax) for syntax in syntaxes]
    return made
