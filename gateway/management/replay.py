"""No request twice: judged by its time of issue, its boot and its counter (docs/protocol.md section 10)."""

import time
from collections import OrderedDict
from typing import Literal

from sqlalchemy.engine import Engine

from gateway.management.index import seen
from gateway.management.index.seen import Seen
from wire import messages
from wire.errors import WireError
from wire.messages import Answer, Order, Request

_BOOTS = 32
_DEVICES = 20_000
_ANSWER_BYTES = 1024

Verdict = Literal["new", "seen", "stale"] | Answer


class Replay:
    """One for a gateway; its rows are shared with the others of the site. Not for one device twice at once."""

    def __init__(self, engine: Engine) -> None:
        """Requests that do nothing but publish are kept in memory alone, in bounds."""
        self._engine = engine
        self._wants: OrderedDict[str, OrderedDict[bytes, int]] = OrderedDict()

    def is_fresh(self, request: Request) -> bool:
        """Whether it was issued within seven days of now."""
        return abs(_now_ms() - request.issued) <= seen.KEPT_MS

    def is_new_want(self, device: str, request: Request) -> bool:
        """Whether a Want was not seen in this process: carried out again it would do no harm, but cost something."""
        boots = self._wants.setdefault(device, OrderedDict())
        self._wants.move_to_end(device)
        if len(self._wants) > _DEVICES:
            self._wants.popitem(last=False)
        if request.counter <= boots.get(request.boot, -1):
            return False
        boots[request.boot] = request.counter
        boots.move_to_end(request.boot)
        if len(boots) > _BOOTS:
            boots.popitem(last=False)
        return True

    def enter(self, device: str, request: Request) -> Verdict:
        """Judge any other request and note it. Blocks on the index. An Answer is what was answered to it before."""
        with self._engine.begin() as connection:
            found = seen.enter(connection, device, request.boot, request.counter, request.issued, _now_ms())
        if isinstance(found, Seen):
            return _answer(found.answer) or "seen"
        return "new" if found else "stale"

    def keep(self, device: str, request: Request, answer: Answer) -> None:
        """Keep the answer to a request that changed something, for the case that the request comes again. Blocks."""
        data = messages.encode(answer)
        if isinstance(request.body, Order) and len(data) <= _ANSWER_BYTES:
            with self._engine.begin() as connection:
                seen.keep_answer(connection, device, request.boot, request.counter, data)

    def sweep(self) -> None:
        """Forget what is too old to be taken again. Blocks."""
        with self._engine.begin() as connection:
            seen.sweep(connection, _now_ms())


def _answer(data: bytes | None) -> Answer | None:
    try:
        return messages.decode(data, Answer) if data is not None else None
    except WireError:
        return None  # kept by another version


def _now_ms() -> int:
    return int(time.time() * 1000)
