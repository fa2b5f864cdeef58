"""The log: standard error, opaque references only, and no stranger can fill the disk with it."""

import logging
import time
from collections.abc import Callable

WINDOW_S = 60.0
MAX_A_WINDOW = 30


class Sparse(logging.Filter):
    """Lets each message text through a bounded number of times a minute and says how many it held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; texts are compared before their arguments are put in."""
        key, now_s = f"{record.name} {record.msg}", self._clock()
        since_s, count = self._seen.get(key, (now_s, 0))
        if now_s - since_s >= WINDOW_S:
            if count > MAX_A_WINDOW:
                record.msg = f"{record.msg} ({count - MAX_A_WINDOW} more were not written)"
            since_s, count = now_s, 0
        self._seen[key] = since_s, count + 1
        return count < MAX_A_WINDOW


def set_up(level: int = logging.INFO) -> None:
    """Log to standard error; amqtt's own loggers, which format names and packets, are silenced."""
    handler = logging.StreamHandler()
    handler.addFilter(Sparse())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("amqtt", "transitions", "websockets"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
