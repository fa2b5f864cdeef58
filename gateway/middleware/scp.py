"""The storage SCP (PS3.4 annex B) and verification SCP (PS3.4 annex A).

Success is answered only after the file was fsynced and renamed and ``on_arrival`` returned from its commit.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt

from gateway.middleware.admission import Admission, Admitted, Expected
from gateway.middleware.archive import Archive
from gateway.middleware.arrival import Arrival, StoreOutcome
from gateway.middleware.attributes import AttributeCache
from gateway.middleware.commitment import PUSH_MODEL, Commitment, read_report
from gateway.middleware.door import Door, Visitor
from gateway.middleware.header import legal_uid
from gateway.middleware.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, preamble_and_meta
from gateway.middleware.refusal import Refusal
from gateway.middleware.scp_settings import PDU_LIMIT_BYTES, ScpSettings
from gateway.middleware.spool import Spool
from gateway.middleware.upper import BoundedSocket, SpoolingProvider, configure, refit

__all__ = ["ScpSettings", "StorageScp"]

log = logging.getLogger(__name__)

_VERIFICATION = UID("1.2.840.10008.1.1")
_SUCCESS = 0x0000
_NO_SUCH_INSTANCE, _INVALID_ARGUMENT, _PROCESSING_FAILURE = 0x0112, 0x0115, 0x0110  # PS3.7 annex C
_PLACEHOLDER_UID = "2.25.0"
_STOP_S = 5.0
# A-ASSOCIATE-RJ (PS3.8 table 9-21): transient, presentation related, local limit exceeded.
_LOCAL_LIMIT = (0x02, 0x03, 0x02)
_SYNTAXES_NOT_SUPPORTED = 0x04  # PS3.8 table 9-18


class StorageScp:
    """Receives instances until it is stopped. All callbacks run on the sending association's thread."""

    def __init__(
        self,
        settings: ScpSettings,
        archive: Archive,
        on_arrival: Callable[[Arrival], StoreOutcome],
        on_association_end: Callable[[frozenset[str]], None],
        on_refused: Callable[[Refusal], None],
        on_commitment: Callable[[Commitment], bool] = lambda _: False,
    ) -> None:
        """
        Args:
            settings: see there.
            archive: where files go.
            on_arrival: enters the instance in the index and commits before it returns; may raise, which the
                sender hears as a failure.
            on_association_end: told of the StudyInstanceUIDs that the association touched, also when it broke.
            on_refused: told of each file that was not taken.
            on_commitment: told what a PACS keeps; says whether anybody had asked it.
        """
        configure()
        self._settings = settings
        self._admission = Admission(archive, on_arrival, on_refused)
        self._on_association_end = on_association_end
        self._on_commitment = on_commitment
        self._syntaxes = frozenset(settings.transfer_syntaxes)
        self._labels = dict(settings.labels)
        self._places: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._calls: dict[int, _Call] = {}
        self._door: Door | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen; returns the port, which the system chose when the settings say 0. Raises OSError."""
        settings = self._settings
        ae = AE(ae_title=settings.aet)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = settings.max_pdu
        ae.maximum_associations = settings.max_associations
        ae.acse_timeout = settings.handshake_timeout_s
        ae.dimse_timeout = settings.network_timeout_s
        ae.network_timeout = settings.network_timeout_s
        ae.require_calling_aet = list(settings.allow_calling)
        ae.require_called_aet = settings.require_called
        ae.add_supported_context(_VERIFICATION)
        # The PACS asks for the association and is the SCP all the same (PS3.4 section J.3.3).
        ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        address = (settings.host, settings.port)
        tls = settings.tls.context() if settings.tls else None
        door = Door(ae, address, self._serve, settings.networks(), settings.handshake_timeout_s, tls)
        door.bind(evt.EVT_REQUESTED, self._negotiate)
        door.bind(evt.EVT_C_STORE, self._store)
        door.bind(evt.EVT_N_EVENT_REPORT, self._committed)
        self._door = door
        self._thread = threading.Thread(target=door.serve_forever, args=(0.1,), daemon=True, name="scp")
        self._thread.start()
        return door.port

    def stop(self) -> None:
        """Stop listening, abort what is under way; returns when the callbacks of all associations have run."""
        if self._door is None or self._thread is None:
            return
        self._door.close()
        self._thread.join(_STOP_S)
        with self._lock:
            calls = list(self._calls.values())
        for call in calls:
            call.assoc.abort()
        for call in calls:
            call.ended.wait(_STOP_S)
        self._door = None

    def _serve(self, visitor: Visitor) -> None:
        """One association from its request to its end, on the connection's own thread."""
        assoc = visitor.create_association()
        call = _Call(assoc, visitor.client_address[0])
        call.socket, call.provider = refit(
            assoc,
            visitor.request,
            lambda message: self._open_spool(call, message),
            self._settings.network_timeout_s,
            max(PDU_LIMIT_BYTES, self._settings.max_pdu),
        )
        with self._lock:
            self._calls[id(assoc)] = call
            self._places[call.address] += 1
        try:
            assoc.start()
            assoc.join()
        finally:
            self._end(call)

    def _end(self, call: _Call) -> None:
        call.assoc.dul.kill_dul()
        call.socket.wake()
        call.assoc.dul.join(_STOP_S)
        call.provider.discard_all()
        call.socket.release_descriptors()
        with self._lock:
            self._calls.pop(id(call.assoc), None)
            self._places[call.address] -= 1
            if self._places[call.address] <= 0:
                del self._places[call.address]
        try:
            if call.touched:
                self._on_association_end(frozenset(call.touched))
        except Exception as error:
            log.error("the end of an association could not be told: %s", type(error).__name__)
        finally:
            call.ended.set()

    def _negotiate(self, event: Any) -> None:
        """Before the library negotiates: the address's limit, and of each context only the syntaxes that are taken.

        The library would accept the first syntax that is proposed for a storage class, whatever it is.
        """
        assoc = event.assoc
        call = self._calls[id(assoc)]
        call.source = self._source(str(assoc.requestor.primitive.calling_ae_title or ""))
        if self._places[call.address] > self._settings.max_per_address:
            assoc.acse.send_reject(*_LOCAL_LIMIT)
            assoc.is_rejected = True
            assoc.kill()
            return
        for context in assoc.requestor.primitive.presentation_context_definition_list:
            taken = [syntax for syntax in context.transfer_syntax if syntax in self._syntaxes]
            if taken:
                context.transfer_syntax = taken
        send_accept = assoc.acse.send_accept

        def reject_unread_syntaxes_then_accept() -> None:
            for number, context in list(assoc._accepted_cx.items()):
                if context.transfer_syntax[0] not in self._syntaxes:
                    context.result = _SYNTAXES_NOT_SUPPORTED
                    assoc._rejected_cx.append(assoc._accepted_cx.pop(number))
            send_accept()

        assoc.acse.send_accept = reject_unread_syntaxes_then_accept

    def _source(self, calling_aet: str) -> str:
        """The sender's label; for one that has none a digest of its AE title, which logs may carry."""
        label = self._labels.get(calling_aet.strip())
        return label or "ae-" + hashlib.sha256(calling_aet.strip().encode()).hexdigest()[:12]

    def _open_spool(self, call: _Call, message: Any) -> Spool:
        """A spooled file that begins with a file meta group of the accepted context (PS3.10 section 7.1)."""
        command = message.command_set
        spool = self._admission.archive.spool()
        # Of an illegal UID only quarantine will see the file; its data set still says what was sent.
        named = [str(command.get(keyword, "")) for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID")]
        SOPClassUID, SOPInstanceUID = (uid if legal_uid(uid) else _PLACEHOLDER_UID for uid in named)
        # KeyError ends the association: data on a context that was never accepted.
        syntax = str(call.assoc._accepted_cx[message.context_id].transfer_syntax[0])
        calling, called = (
            str(title or "").strip()
            for title in (call.assoc.requestor.ae_title, call.assoc.requestor.primitive.called_ae_title)
        )
        spool.write_meta(preamble_and_meta(SOPClassUID, SOPInstanceUID, syntax, calling, called), syntax)
        return spool

    def _store(self, event: Any) -> Dataset:
        """Answer one C-STORE request."""
        call = self._calls[id(event.assoc)]
        request = event.request
        spool = request.DataSet.spool
        if spool is None:  # a request that announced a data set and sent none
            spool = self._admission.archive.spool()
        expected = Expected(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        result = self._admission.admit(spool, call.source, expected, call.cache)
        status = Dataset()
        if isinstance(result, Admitted):
            status.Status = _SUCCESS
            call.touched.add(result.arrival.StudyInstanceUID)
        else:
            log.info("refused an instance of %s: %s, %s", call.source, result.reason.value, result.detail)
            status.Status = result.reason.status
            status.ErrorComment = result.detail[:64]
        return status

    def _committed(self, event: Any) -> tuple[int, None]:
        """Answer one report of storage commitment (PS3.4 section J.3.3)."""
        try:
            is_ours = self._on_commitment(read_report(event.event_information))
        except ValueError:
            return _INVALID_ARGUMENT, None
        except Exception as error:
            log.error("a report of storage commitment could not be entered: %s", type(error).__name__)
            return _PROCESSING_FAILURE, None
        return (_SUCCESS if is_ours else _NO_SUCH_INSTANCE), None


class _Call:
    """What is known of one association while it lasts."""

    socket: BoundedSocket
    provider: SpoolingProvider

    def __init__(self, assoc: Any, address: str) -> None:
        self.assoc = assoc
        self.address = address
        self.source = ""
        self.cache = AttributeCache()
        self.touched: set[str] = set()
        self.ended = threading.Event()
