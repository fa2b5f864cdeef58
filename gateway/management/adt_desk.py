"""What becomes of an HL7 message: carried out and acknowledged, or kept with the reason. Blocks on the index."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.management.index import refused_messages
from gateway.management.index.movements import digest
from gateway.management.occupancy import Occupancy
from gateway.management.registry import NotTaken
from gateway.middleware.adt import message as adt
from gateway.middleware.adt.answer import Verdict, answer
from gateway.middleware.adt.errors import AdtError, Incomplete
from gateway.middleware.adt.message import Header, Reading
from gateway.middleware.movement import Movement

_log = logging.getLogger(__name__)

_TAKEN = Verdict("AA")
_NOT_FORESEEN = Verdict("AE", "it could not be processed", 207)
_NOT_NOW = Verdict("AR", "the gateway cannot write now: send it again", 207)
"""Nothing is kept of it, for that could not be written either: the sender has it, and sends it again."""


class AdtDesk:
    """One for a process; serves many threads."""

    def __init__(
        self, engine: Engine, occupancy: Occupancy, reading: Reading, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._occupancy = occupancy
        self._reading = reading
        self._clock = clock

    def receive(self, data: bytes) -> bytes | None:
        """Take one message, and say what became of it; committed when it returns. Never raises."""
        header = Header()
        try:
            header, verdict = self._judge(data)
            if verdict is not _TAKEN:
                self._keep(data, header, verdict)
        except SQLAlchemyError as error:
            _log.error("an HL7 message was not taken: %s", type(error).__name__)
            verdict = _NOT_NOW
        return answer(header, verdict, self._clock())

    def retry(self, data: bytes) -> str:
        """Take a message that was kept; the reason where it is still not taken, else empty. Raises SQLAlchemyError."""
        _, verdict = self._judge(data)
        return verdict.text if verdict is not _TAKEN else ""

    def _judge(self, data: bytes) -> tuple[Header, Verdict]:
        header = Header()
        try:
            read = adt.parse(data, self._reading)
            header = read.header
            for one in adt.movements(read, self._reading, self._clock()):
                named = digest(one.message) if one.message else ""
                self._take(replace(one, message=named), f"hl7:{header.sender}")
        except AdtError as error:
            return header, Verdict(error.code, error.reason, error.condition)
        except SQLAlchemyError:
            raise
        except Exception as error:
            # One message that no rule foresaw must not end the connection of those behind it.
            _log.error("an HL7 message was not taken: %s", type(error).__name__)
            return header, _NOT_FORESEEN
        return header, _TAKEN

    def _take(self, movement: Movement, sender: str) -> None:
        try:
            self._occupancy.take(movement, actor=sender)
        except NotTaken as error:
            raise Incomplete(str(error), 102) from None

    def _keep(self, data: bytes, header: Header, verdict: Verdict) -> None:
        _log.warning("an HL7 message was not taken (%s): `mpacs-gateway quarantine list` shows why", verdict.code)
        with self._engine.begin() as connection:
            if refused_messages.keep(connection, data, header.name, verdict.text, self._clock()):
                _log.warning("too many HL7 messages are in quarantine: the oldest went")
