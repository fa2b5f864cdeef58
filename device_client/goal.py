"""When ``run --once`` has done its work, and what to say when it cannot."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from device_client.errors import Silent
from device_client.store.state import Store

LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand: ``synced`` over this connection, ``busy`` while anything is fetched, written or owed."""

    connected: bool
    store: Store | None
    synced: bool
    busy: bool
    progress_at: float


def open_studies(store: Store) -> list[str]:
    """Studies that heads name and that are not here as named, or are announced and still grow."""
    found = []
    for shelf in store.ledger.shelves.values():
        if not shelf.revoked:
            found += shelf.behind()
            found += [
                held.study
                for held in shelf.studies.values()
                if held.study not in shelf.unlisted and not held.announcement.settled
            ]
    return found


def leaving_studies(store: Store) -> list[str]:
    """Studies that heads name no more and that are deleted when the grace is over: whoever ended before kept them."""
    shelves = [shelf for shelf in store.ledger.shelves.values() if not shelf.revoked]
    return [study for shelf in shelves for study in shelf.unlisted]


async def until_done(standing: Callable[[], Standing], timeout_s: float) -> None:
    """Return when all that is announced is complete, and what is announced no more is gone.

    Silent after ``timeout_s`` without any progress.
    """
    while True:
        now = standing()
        is_settled = now.synced and not now.busy and now.store is not None
        if is_settled and now.store is not None and not (open_studies(now.store) or leaving_studies(now.store)):
            return
        if time.monotonic() - now.progress_at > timeout_s:
            raise Silent(_reason(now, timeout_s))
        await asyncio.sleep(LOOK_EVERY_S)


def _reason(now: Standing, timeout_s: float) -> str:
    waited = f"{timeout_s:g} s without progress"
    if not now.connected:
        return f"{waited}: there is no connection to the broker; is it running, and reachable from here?"
    if now.store is None or not now.synced:
        return f"{waited}: the gateway does not answer; is it running?"
    if open_studies(now.store):
        return f"{waited}: some studies still grow, or have not been announced; run again later"
    return f"{waited}: the gateway does not send what it announced; run again later"
