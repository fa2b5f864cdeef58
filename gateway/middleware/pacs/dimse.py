"""A PACS by DIMSE: C-ECHO, C-FIND, C-GET, C-MOVE, C-STORE (PS3.4 annexes A, B and C)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.presentation import PresentationContext

from gateway.config_pacs import Pacs
from gateway.middleware import commitment
from gateway.middleware.admission import Admission, Expected
from gateway.middleware.attributes import AttributeCache
from gateway.middleware.header import legal_uid, read_header
from gateway.middleware.pacs import identifiers
from gateway.middleware.pacs.calling import association, client_context, context
from gateway.middleware.pacs.classes import FALLBACK_CLASSES, get_syntaxes
from gateway.middleware.pacs.errors import PacsAway, PacsRefused, QueryInvalid
from gateway.middleware.pacs.peer import Wanted
from gateway.middleware.pacs.query import UNIQUE, Query, Stored, is_named, value
from gateway.middleware.part10 import preamble_and_meta
from gateway.middleware.refusal import HeaderError, Refusal
from gateway.middleware.spool import Spool

_VERIFICATION = "1.2.840.10008.1.1"
_FIND = {"PATIENT": "1.2.840.10008.5.1.4.1.2.1.1", "STUDY": "1.2.840.10008.5.1.4.1.2.2.1"}
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_PENDING = (0xFF00, 0xFF01)
_MOST_CONTEXTS = 127  # beside that of C-GET itself; PS3.8 section 9.3.2.2 has room for 128
_MOVE_SILENCE_S = 600.0
"""A PACS that does not say how far it is answers when the whole study was sent."""
_PLACEHOLDER_UID = "2.25.0"


class Dimse:
    """One PACS. Each call is an association of its own."""

    def __init__(self, settings: Pacs, aet: str, root: Path, admission: Admission) -> None:
        """``aet`` is the gateway's AE title, to which C-MOVE sends; certificates lie in ``root``.

        Raises OSError or ssl.SSLError where those cannot be used.
        """
        self._settings = settings
        self._aet = aet
        self._admission = admission
        self._where = (settings.host, settings.port)
        self._titles = (settings.calling or aet, settings.aet)
        self._tls = client_context(settings.tls, root) if settings.tls else None

    def echo(self) -> None:
        """C-ECHO."""
        with self._association([context(_VERIFICATION, *_UNCOMPRESSED)]) as assoc:
            _succeed(assoc.send_c_echo())

    # ── C-FIND ────────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, query: Query) -> Iterator[dict[str, Any]]:
        """See ``Way.find``."""
        model = _FIND["PATIENT" if query.level == "PATIENT" else "STUDY"]
        questions = list(identifiers.identifiers(query, self._settings.charsets))
        if not questions:
            raise QueryInvalid("none of this PACS's charsets has these letters")
        seen: set[str] = set()
        with self._association([context(model, *_UNCOMPRESSED)]) as assoc:
            for number, question in enumerate(questions, 1):
                is_full = False
                for hit in self._ask(assoc, model, question, number, query):
                    if is_full:
                        continue  # PS3.4 section C.4.1.3.2: what it had begun to send still comes
                    key = value(hit, identifiers.tag_name(UNIQUE[query.level]))
                    if not key or key in seen or not is_named(query.filters.get("PatientName", ""), hit):
                        continue
                    seen.add(key)
                    yield hit
                    if len(seen) > query.most:
                        assoc.send_c_cancel(number, query_model=model)
                        is_full = True
                if is_full:
                    return

    def _ask(self, assoc: Any, model: str, question: Dataset, number: int, query: Query) -> Iterator[dict[str, Any]]:
        for status, answer in assoc.send_c_find(question, model, msg_id=number):
            if "Status" not in status:
                raise PacsAway(
                    "it broke off, or was silent for too long, while it searched: does it let our AE title search?"
                )
            if status.Status in _PENDING:
                if answer is not None:
                    yield identifiers.attributes(query, answer)
            elif status.Status not in (0x0000, 0xFE00):
                raise PacsRefused(f"it does not search for this (status 0x{status.Status:04X}, PS3.4 table C.4-1)")

    # ── C-GET, C-MOVE ─────────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, StudyInstanceUID: str, wanted: Wanted, on_instance: Callable[[], None]) -> None:
        """See ``Way.fetch``."""
        question = identifiers.retrieve_identifier(StudyInstanceUID, wanted.SeriesInstanceUID, wanted.instances)
        if self._settings.via == "move":
            self._move(question, on_instance)
        else:
            self._get(question, sorted(wanted.classes) or list(FALLBACK_CLASSES), on_instance)

    def _move(self, question: Dataset, on_instance: Callable[[], None]) -> None:
        with self._association([context(_MOVE, *_UNCOMPRESSED)], silence_s=_MOVE_SILENCE_S) as assoc:
            _follow(assoc.send_c_move(question, self._aet, _MOVE), on_instance, "C-MOVE")

    def _get(self, question: Dataset, classes: list[str], on_instance: Callable[[], None]) -> None:
        classes = classes[:_MOST_CONTEXTS]
        contexts = [context(_GET, *_UNCOMPRESSED)]
        for syntax in get_syntaxes(_MOST_CONTEXTS // len(classes)):
            # One syntax each: of several the PACS would choose one and could not send what has another.
            contexts += [context(one, syntax) for one in classes]
        roles = [build_role(one, scp_role=True) for one in classes]
        cache = AttributeCache()

        def store(event: Any) -> Dataset:
            status = self._take(event, cache)
            on_instance()
            return status

        handlers = [(evt.EVT_C_STORE, store)]
        with self._association(contexts, items=roles, handlers=handlers, open_spool=self._open_spool) as assoc:
            _follow(assoc.send_c_get(question, _GET), on_instance, "C-GET")

    def _open_spool(self, assoc: Any, message: Any) -> Spool:
        command = message.command_set
        spool = self._admission.archive.spool()
        named = [str(command.get(keyword, "")) for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID")]
        SOPClassUID, SOPInstanceUID = (uid if legal_uid(uid) else _PLACEHOLDER_UID for uid in named)
        # KeyError ends the association: data on a context that was never accepted.
        syntax = str(assoc._accepted_cx[message.context_id].transfer_syntax[0])
        spool.write_meta(
            preamble_and_meta(SOPClassUID, SOPInstanceUID, syntax, self._settings.aet, self._titles[0]), syntax
        )
        return spool

    def _take(self, event: Any, cache: AttributeCache) -> Dataset:
        """One C-STORE suboperation, by the door that everything comes through."""
        request = event.request
        spool = getattr(request.DataSet, "spool", None) or self._admission.archive.spool()
        expected = Expected(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        result = self._admission.admit(spool, f"pacs-{self._settings.name}", expected, cache)
        status = Dataset()
        # What is in quarantine is safe there. Told of a failure, some PACS would end the whole retrieval.
        is_lost = isinstance(result, Refusal) and not result.reason.quarantined
        status.Status = result.reason.status if isinstance(result, Refusal) and is_lost else 0x0000
        return status

    # ── C-STORE ───────────────────────────────────────────────────────────────────────────────────────────────────

    def store(self, path: Path) -> Stored:
        """C-STORE of one file, in its own transfer syntax. Reads it from the disk as it sends."""
        try:
            header = read_header(path)
        except HeaderError as error:
            return Stored(False, 0, f"it is no DICOM file that could be sent: {error.detail}")
        uids = {"SOPClassUID": header.SOPClassUID, "SOPInstanceUID": header.SOPInstanceUID}
        with self._association([context(header.SOPClassUID, header.TransferSyntaxUID)]) as assoc:
            status = assoc.send_c_store(path)
        if "Status" not in status:
            raise PacsAway("it was cut off while an instance was sent to it")
        number = int(status.Status)
        if number == 0x0000 or number >> 12 == 0xB:
            return Stored(True, number, "", **uids)
        return Stored(False, number, f"it does not take it (status 0x{number:04X}, PS3.4 table B.2-1)", **uids)

    def commit(self, transaction: str, instances: Sequence[tuple[str, str]]) -> None:
        """Ask for storage commitment by N-ACTION (PS3.4 section J.3.2); the answer comes to our SCP, now or later."""
        data = commitment.request(transaction, instances)
        with self._association([context(commitment.PUSH_MODEL, *_UNCOMPRESSED)]) as assoc:
            status, _ = assoc.send_n_action(data, commitment.ACTION, commitment.PUSH_MODEL, commitment.INSTANCE)
            _succeed(status)

    def _association(self, contexts: list[PresentationContext], silence_s: float = 0.0, **more: Any) -> Any:
        timeout_s = max(silence_s, self._settings.timeout_s)
        return association(self._where, self._titles, contexts, timeout_s, self._tls, **more)


def _succeed(status: Dataset) -> None:
    if "Status" not in status:
        raise PacsAway("it was cut off, or silent for too long")
    if status.Status != 0x0000:
        raise PacsRefused(f"it answered with status 0x{status.Status:04X}")


def _follow(answers: Iterator[tuple[Dataset, Dataset | None]], on_instance: Callable[[], None], what: str) -> None:
    """Read the answers to the end. What the PACS could not send is found out by looking, not by its counts."""
    for status, _ in answers:
        if "Status" not in status:
            raise PacsAway("it broke off, or was silent for too long, while it sent")
        number = int(status.Status)
        if number in _PENDING:
            on_instance()
        elif number == 0xA801:
            raise PacsRefused("it does not know our AE title as a destination: tell it our address and port")
        elif number not in (0x0000, 0xB000) and number not in (0xA702, 0xFE00) and number >> 12 != 0xC:
            raise PacsRefused(f"{what} is refused (status 0x{number:04X}, PS3.4 tables C.4-2 and C.4-3)")
