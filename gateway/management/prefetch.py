"""Fetching before anybody asks: a patient's earlier studies when a new one arrives, and lists at a time of day.

One study after the other, in one thread: what users ask for goes first by the limits of each PACS.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

from gateway.audit import Event, Outcome
from gateway.management.index import arrivals_read, retrieved, trail
from gateway.management.index.counting import get, put
from gateway.middleware.pacs.errors import PacsError, QueryInvalid
from gateway.middleware.pacs.query import Found, Hit, Query, days, value
from gateway.middleware.pacs.retrieval import Scope

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.config_pacs import Daily, Prefetch, Priors
    from gateway.management.index.arrivals_rows import StudyRow
    from gateway.middleware.pacs.service import PacsService

_log = logging.getLogger(__name__)

_LOOK_S = 3.0
_AT_ONCE = 200
_LOOKED_THROUGH = 4
"""So many candidates for each prior that is wanted are asked for their body parts."""
_SEEN = "prefetch_revision"
_STUDY_UID, _DATE, _MODALITIES, _MODALITY = "0020000D", "00080020", "00080061", "00080060"
_ID, _ISSUER, _BIRTH, _BODY_PART = "00100020", "00100021", "00100030", "00180015"


class Prefetcher:
    """One for a gateway. ``step`` and ``run_daily`` block; ``run`` calls them until it is stopped."""

    def __init__(self, settings: Prefetch, engine: Engine, service: PacsService) -> None:
        self._settings = settings
        self._engine = engine
        self._service = service
        self._fetched: set[str] = set()
        self._looked_at: set[int] = set()

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``. What fails is logged by its kind and tried with the next study, not again."""
        due = [(_next(daily.at, dt.datetime.now().astimezone()), daily) for daily in self._settings.daily]
        self.begin()
        while not stop.wait(_LOOK_S):
            now = dt.datetime.now().astimezone()
            try:
                self.step()
                for number, (at, daily) in enumerate(due):
                    if now >= at:
                        due[number] = (_next(daily.at, now), daily)
                        self.run_daily(daily, now.date())
            except Exception as error:  # the next one may go well
                _log.warning("prefetching failed: %s", type(error).__name__)

    # ── priors ────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """The first time: what is here already is no arrival."""
        with self._engine.begin() as connection:
            if not get(connection, _SEEN):
                newest = arrivals_read.newest_revision(connection)
                put(connection, _SEEN, newest)

    def step(self) -> int:
        """Fetch the priors of studies that settled since the last step; returns how many studies were fetched."""
        priors = self._settings.priors
        if not priors.most:
            return 0
        with self._engine.connect() as connection:
            changed = arrivals_read.changed_studies(connection, get(connection, _SEEN), _AT_ONCE)
        count = 0
        for study in changed:
            if study.settled and study.id not in self._looked_at and not self._was_fetched(study):
                self._looked_at.add(study.id)
                count += self._fetch_priors(study, priors)
            with self._engine.begin() as connection:
                put(connection, _SEEN, study.revision)
        return count

    def _was_fetched(self, study: StudyRow) -> bool:
        """A prior has priors too, and they were thought of already."""
        if study.StudyInstanceUID in self._fetched:
            return True
        with self._engine.connect() as connection:
            return bool(retrieved.whole_from(connection, study.StudyInstanceUID, "", 0.0))

    def _fetch_priors(self, study: StudyRow, priors: Priors) -> int:
        if not study.PatientID or any(c in study.PatientID for c in "*?\\"):
            return 0
        known = json.loads(study.attributes)
        until = _day(value(known, _DATE)) or f"{dt.datetime.now().astimezone():%Y%m%d}"
        since = _earlier(until, priors.years)
        filters = {"PatientID": study.PatientID, "StudyDate": f"{since}-{until}"}
        with self._engine.connect() as connection:
            series = arrivals_read.series_of(connection, study.id)
        modalities = {one.Modality for one in series}
        parts = {value(json.loads(one.attributes), _BODY_PART) for one in series} - {""}
        answer = self._service.find(Query("STUDY", filters))
        found = answer.hits
        self._note(_searched(answer, "", "priors", study.PatientID))
        same = [hit for hit in found if _is_same_patient(known, study, hit.attributes)]
        same.sort(key=lambda hit: value(hit.attributes, _DATE), reverse=True)
        chosen: list[Hit] = []
        for hit in same[: priors.most * _LOOKED_THROUGH]:
            if len(chosen) == priors.most:
                break
            if self._is_alike(hit, priors, modalities, parts):
                chosen.append(hit)
        return self._fetch(chosen)

    def _is_alike(self, hit: Hit, priors: Priors, modalities: set[str], parts: set[str]) -> bool:
        if priors.same == "patient":
            return True
        by_modality, by_part = "modality" in priors.same, "body part" in priors.same
        named = hit.attributes.get(_MODALITIES, {}).get("Value") or []
        if by_modality and modalities.intersection(named):
            return True
        if named and not (by_part and parts):
            return False
        # Body parts stand with the series; and not every PACS says a study's modalities.
        query = Query("SERIES", {"StudyInstanceUID": value(hit.attributes, _STUDY_UID)})
        below = [one.attributes for one in self._service.find(query, [hit.pacs]).hits]
        return any(
            (by_modality and value(one, _MODALITY) in modalities) or (by_part and value(one, _BODY_PART) in parts)
            for one in below
        )

    # ── lists ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def run_daily(self, daily: Daily, today: dt.date) -> int:
        """Fetch what a list finds; returns how many studies were fetched."""
        days = {"today": f"{today:%Y%m%d}", "yesterday": f"{today - dt.timedelta(days=1):%Y%m%d}"}
        filters = {key: days.get(text, text) for key, text in daily.filters.items()}
        found = self._service.find(Query("STUDY", filters, daily.most), [daily.pacs] if daily.pacs else [])
        self._note(_searched(found, daily.pacs, f"the list of {daily.at}", filters.get("PatientID", "")))
        for away in found.away:
            _log.warning("PACS %s: %s", away.pacs, away.reason)
        count = self._fetch(found.hits)
        _log.info("the list of %s: %d studies, %d of them fetched now", daily.at, len(found.hits), count)
        return count

    def _fetch(self, hits: list[Hit]) -> int:
        count = 0
        for hit in hits:
            uid = value(hit.attributes, _STUDY_UID)
            self._fetched.add(uid)
            try:
                done = self._service.retrieve(Scope(uid, "", hit.pacs, False), lambda _: None)
            except PacsError as error:
                _log.warning("PACS %s: %s", hit.pacs, error)
                self._note(_fetched(hit, "failed", 0))
                continue
            if done.from_pacs or done.outcome != "complete":
                self._note(_fetched(hit, "success" if done.outcome == "complete" else "failed", done.from_pacs))
            count += bool(done.from_pacs)
        return count

    def _note(self, event: Event) -> None:
        with self._engine.begin() as connection:
            trail.record(connection, event)


def _searched(found: Found, pacs: str, why: str, patient: str) -> Event:
    outcome: Outcome = "failed" if found.away else "success"
    what = f"prefetch, {why}: {len(found.hits)} hits"
    return Event("search", "gateway", outcome, whom=f"pacs:{pacs}" if pacs else "", patient=patient, what=what)


def _fetched(hit: Hit, outcome: Outcome, count: int) -> Event:
    """The patient as the PACS says: where nothing came there is no other."""
    patient, study = value(hit.attributes, _ID), value(hit.attributes, _STUDY_UID)
    what = f"prefetch: {count} instances"
    return Event("retrieve", "gateway", outcome, whom=f"pacs:{hit.pacs}", patient=patient, study=study, what=what)


def _is_same_patient(known: dict[str, Any], study: StudyRow, hit: dict[str, Any]) -> bool:
    """The same PatientID is not enough where two issuers gave it, or where the birth dates differ."""
    if value(hit, _ID) != study.PatientID or value(hit, _STUDY_UID) == study.StudyInstanceUID:
        return False
    ours_and_theirs = (
        (study.IssuerOfPatientID, value(hit, _ISSUER)),
        (value(known, _BIRTH), value(hit, _BIRTH)),
    )
    return all(not ours or not theirs or ours == theirs for ours, theirs in ours_and_theirs)


def _day(text: str) -> str:
    """A StudyDate as one searches by it; headers hold what is none, too."""
    try:
        days(text)
    except QueryInvalid:
        return ""
    return text if text.isdigit() else ""


def _earlier(date: str, years: float) -> str:
    try:
        day = dt.datetime.strptime(date[:8], "%Y%m%d").replace(tzinfo=dt.UTC)
    except ValueError:
        day = dt.datetime.now(dt.UTC)
    begin = max(dt.datetime(1900, 1, 1, tzinfo=dt.UTC), day - dt.timedelta(days=years * 365.25))
    return f"{begin:%Y%m%d}"


def _next(at: str, now: dt.datetime) -> dt.datetime:
    hour, minute = map(int, at.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > now else today + dt.timedelta(days=1)
