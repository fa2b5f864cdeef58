"""The one service that asks PACS: finds in several at once, retrieves what is missing, lets equal requests join."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from gateway.middleware.header import legal_uid
from gateway.middleware.pacs.errors import PacsAway, PacsError, QueryInvalid
from gateway.middleware.pacs.peer import Peer, with_tries
from gateway.middleware.pacs.query import Away, Found, Hit, Progress, Query, Retrieved, Stored
from gateway.middleware.pacs.retrieval import Retrieval, Scope, Store

log = logging.getLogger(__name__)

_FIND_TRIES = 2
_MOST_FLIGHTS = 64
MOST_EVER = 5_000


class _Flight:
    """A retrieval under way, and all who wait for it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.ended = threading.Event()
        self.result: Retrieved | None = None
        self.error: PacsError | None = None
        self.progress: Progress | None = None
        self.changed = threading.Condition()

    def covers(self, scope: Scope) -> bool:
        mine = self.scope
        same = mine.StudyInstanceUID == scope.StudyInstanceUID and mine.pacs in (scope.pacs, "")
        return same and mine.SeriesInstanceUID in (scope.SeriesInstanceUID, "") and mine.must_ask >= scope.must_ask

    def tell(self, progress: Progress) -> None:
        with self.changed:
            self.progress = progress
            self.changed.notify_all()

    def wait(self, told: Progress | None) -> Progress | None:
        """The next progress after ``told``; None when it has ended and there is none."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended.is_set() or self.progress is not told)
            return self.progress if self.progress is not told else None

    def end(self, result: Retrieved | None, error: PacsError | None) -> None:
        with self.changed:
            self.result, self.error = result, error
            self.ended.set()
            self.changed.notify_all()


class PacsService:
    """Blocking; serves many threads."""

    def __init__(self, peers: Sequence[Peer], store: Store, fresh_s: float) -> None:
        """``fresh_s``: so long what was fetched whole is not compared with the PACS again."""
        self._peers = {peer.name: peer for peer in peers}
        self._store = store
        self._fresh_s = fresh_s
        self._flights: list[_Flight] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let go of what waits for a PACS; what runs ends with its process, and begins where it stopped next time."""
        self._stop.set()

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, query: Query, pacs: Sequence[str] = ()) -> Found:
        """See ``PacsClient.find``. One that was away a moment ago is asked again only where it is named."""
        query.check()
        chosen = self._chosen(pacs)
        most = min(query.most, MOST_EVER)
        found = Found()

        def ask(peer: Peer) -> list[dict[str, Any]]:
            if peer.rests and not pacs:
                raise PacsAway(peer.error)

            def once() -> list[dict[str, Any]]:
                with peer.turn(is_search=True) as way:
                    return list(way.find(msgspec.structs.replace(query, most=most)))

            return with_tries(_FIND_TRIES, once, self._stop)

        if not chosen:
            return found
        with ThreadPoolExecutor(len(chosen)) as pool:
            asked = [(peer, pool.submit(ask, peer)) for peer in chosen]
        for peer, future in asked:
            try:
                hits = future.result()
            except QueryInvalid:
                raise
            except PacsError as error:
                found.away.append(Away(peer.name, str(error)))
                continue
            if len(hits) > most:
                found.cut.append(peer.name)
            found.hits.extend(Hit(peer.name, hit) for hit in hits[:most])
        return found

    def echo(self, pacs: str) -> None:
        """Raises PacsError where it does not answer."""
        (peer,) = self._chosen([pacs])
        with peer.turn(is_search=True) as way:
            way.echo()

    def store(self, pacs: str, path: Path) -> Stored:
        """See ``PacsClient.store``."""
        (peer,) = self._chosen([pacs])
        with peer.turn() as way:
            return way.store(path)

    def commit(self, pacs: str, instances: Sequence[tuple[str, str]]) -> str:
        """See ``PacsClient.commit``."""
        (peer,) = self._chosen([pacs])
        if not instances or not all(legal_uid(uid) for pair in instances for uid in pair):
            raise QueryInvalid("storage commitment needs a SOPClassUID and a SOPInstanceUID of each instance")
        transaction = f"2.25.{uuid.uuid4().int}"
        self._store.note_asked(transaction, pacs, [uid for _, uid in instances])
        with peer.turn() as way:
            way.commit(transaction, instances)
        return transaction

    def status(self) -> list[dict[str, Any]]:
        """See ``PacsClient.status``."""
        return [peer.status() for peer in self._peers.values()]

    def look_after(self, every_s: float) -> None:
        """Ask each PACS how it is, now and then, until ``stop``. One that was heard of meanwhile is left in peace."""
        while not self._stop.is_set():
            with ThreadPoolExecutor(max(1, len(self._peers))) as pool:
                pool.map(self._look, self._peers)
            self._stop.wait(every_s)

    def _look(self, name: str) -> None:
        peer = self._peers[name]
        was_well = not peer.error and peer.answered_at is not None
        try:
            self.echo(name)
        except PacsError as error:
            if was_well or peer.answered_at is None:
                log.warning("PACS %s: %s", name, error)
        except Exception as error:  # whatever a peer does, the others are looked after
            log.error("PACS %s could not be asked: %s", name, type(error).__name__)
        else:
            if not was_well:
                log.info("PACS %s answers", name)

    def _chosen(self, names: Sequence[str]) -> list[Peer]:
        unknown = [name for name in names if name not in self._peers]
        if unknown:
            raise QueryInvalid("no PACS of that name is configured: see `mpacs-gateway pacs list`")
        return [self._peers[name] for name in names] if names else list(self._peers.values())

    # ── retrieving ────────────────────────────────────────────────────────────────────────────────────────────────

    def retrieve(self, scope: Scope, tell: Callable[[Progress], None]) -> Retrieved:
        """See ``PacsClient.retrieve``. ``tell`` is called in this thread; what it raises ends the waiting alone."""
        if not legal_uid(scope.StudyInstanceUID):
            raise QueryInvalid("the StudyInstanceUID is not a UID (PS3.5 section 9.1)")
        if scope.SeriesInstanceUID and not legal_uid(scope.SeriesInstanceUID):
            raise QueryInvalid("the SeriesInstanceUID is not a UID (PS3.5 section 9.1)")
        peers = self._chosen([scope.pacs] if scope.pacs else [])
        flight = self._board(scope, peers)
        told: Progress | None = None
        while (now := flight.wait(told)) is not None:
            tell(now)
            told = now
        if flight.error is not None:
            raise flight.error
        assert flight.result is not None
        return flight.result

    def _board(self, scope: Scope, peers: Sequence[Peer]) -> _Flight:
        """The flight that brings it: one under way, or a new one behind those that bring other parts of the study."""
        with self._lock:
            same_study = [one for one in self._flights if one.scope.StudyInstanceUID == scope.StudyInstanceUID]
            for one in same_study:
                if one.covers(scope):
                    return one
            if len(self._flights) >= _MOST_FLIGHTS:
                raise PacsAway("too many studies are being fetched already")
            flight = _Flight(scope)
            self._flights.append(flight)
        thread = threading.Thread(target=self._fly, args=(flight, peers, same_study), daemon=True, name="retrieval")
        thread.start()
        return flight

    def _fly(self, flight: _Flight, peers: Sequence[Peer], before: Sequence[_Flight]) -> None:
        result: Retrieved | None = None
        failure: PacsError | None = None
        try:
            for one in before:
                one.ended.wait()
            result = Retrieval(flight.scope, peers, self._store, self._fresh_s, flight.tell, self._stop).run()
        except PacsError as error:
            failure = error
        except Exception as error:  # without its text, which may quote data
            log.error("a retrieval failed: %s", type(error).__name__)
            failure = PacsAway("the gateway could not do it; its log says where it failed")
        finally:
            with self._lock:
                self._flights.remove(flight)
            flight.end(result, failure)
