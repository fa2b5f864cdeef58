"""What goes wrong inside the core without ending it: noted by part, shown by ``mpacs-gateway status``, tried again."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError

from gateway.delivery.link import LinkDown

_log = logging.getLogger(__name__)
_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 10.0


def describe(error: BaseException) -> str:
    """What went wrong, in words that quote nothing: an error's own text may hold data."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, SQLAlchemyError):
        return f"the index cannot be used ({type(error).__name__})"
    return f"unforeseen: {type(error).__name__}"


class Health:
    """Which parts of the core have trouble now."""

    def __init__(self) -> None:
        """All is well."""
        self._troubles: dict[str, str] = {}

    @property
    def troubles(self) -> dict[str, str]:
        """Part to what is wrong with it."""
        return dict(self._troubles)

    def trouble(self, part: str, error: BaseException) -> None:
        """``part`` failed; a new kind of failure is logged, with its place if it was not foreseen."""
        text = describe(error)
        if self._troubles.get(part) == text:
            return
        self._troubles[part] = text
        if isinstance(error, OSError | SQLAlchemyError):
            _log.error("%s: %s; it is tried again", part, text)
        else:
            _log.error("%s: %s\n%s", part, text, "".join(traceback.format_tb(error.__traceback__)))

    def request_failed(self, error: BaseException) -> None:
        """A device's request could not be dealt with."""
        self.trouble("a request", error)

    def well(self, part: str) -> None:
        """``part`` did its work."""
        if self._troubles.pop(part, None) is not None:
            _log.info("%s: well again", part)

    async def keep_going(self, part: str, step: Callable[[], Awaitable[None]]) -> None:
        """Do ``step`` over and over; after a failure wait, longer each time. Nothing but a cancellation ends it."""
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                await step()
            except LinkDown:
                # Whoever waits for the broker looks at the link itself; here is only the way out of a step.
                _log.info("%s: the broker went away", part)
                await asyncio.sleep(_FIRST_DELAY_S)
            except Exception as error:
                self.trouble(part, error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            else:
                self.well(part)
                delay_s = _FIRST_DELAY_S
