"""What there is room for: the newest first, until the quota is full. What is older gives way. Pure."""

from collections.abc import Iterable

from device_client.ledger import Held
from wire import seal
from wire.messages import ObjectEntry

_BESIDE = 16 * 1024
"""Bitmap, manifest pages and the file system's blocks of one object."""


def affordable(
    wanted: Iterable[tuple[Held, ObjectEntry]], budget_bytes: int
) -> tuple[list[tuple[Held, ObjectEntry]], list[tuple[Held, ObjectEntry]]]:
    """``(what fits, what does not)``; both in the order of ``wanted``, which is that of age, the newest first.

    Nothing older is taken in place of something newer that does not fit: or they would push each other out.
    """
    fits: list[tuple[Held, ObjectEntry]] = []
    given_up: list[tuple[Held, ObjectEntry]] = []
    left = budget_bytes
    for held, entry in wanted:
        left -= seal.sealed_size(entry.size) + _BESIDE
        (fits if left >= 0 else given_up).append((held, entry))
    return fits, given_up
