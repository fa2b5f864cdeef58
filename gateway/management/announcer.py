"""What each recipient is told: announcements, heads and epoch keys, made from the index and kept in it.

No MQTT here: every method returns payloads with their topics, and whoever calls publishes them. All methods block on
the database and are called from a thread.
"""

import hashlib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Connection, Engine

from gateway.config import Delivery, Wards
from gateway.management.census import Census, People
from gateway.management.index import arrivals_read, deliveries, grants, movements, people, releases, told
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.index.epochs import current_or_first
from gateway.management.index.grants import Grant
from gateway.management.index.layers import Stage, series_of_reports
from gateway.management.index.movements import Located
from gateway.management.index.named_pixels import series_with_names
from gateway.management.index.people import Profile
from gateway.management.index.told import Announced
from gateway.management.loans import Loan, loans, marked
from gateway.management.masking import mask_series
from gateway.management.rights import is_masked, layers_for
from gateway.management.routing import canonical
from gateway.management.sharing import with_shared
from gateway.management.vault import Vault
from gateway.management.volumes import volumes
from gateway.management.wards import all_told, for_ward, told_otherwise
from gateway.management.whereabouts import entitled, placed_at, whereabouts
from wire import envelope, hpke, messages, topics
from wire.messages import Announcement, Head, HeadEntry, Keys
from wire.names import Kind, decode_reference, encode_reference

_DAY_S = 86400
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Outgoing:
    """To be published with QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(slots=True)
class Changes:
    """What a refresh gives: announcements to publish first, then the recipients whose head is due."""

    outgoing: list[Outgoing] = field(default_factory=list)
    heads: dict[str, Profile] = field(default_factory=dict)


_Audience = tuple[Kind, tuple[Loan, ...]]
"""Recipients of one kind who have a study by their own right (no loans), or by the same shares."""


@dataclass(frozen=True, slots=True)
class _Told:
    """One study's volumes and their digests, on their way to recipients; by what these have in common."""

    study_id: int
    references: Sequence[str]
    volumes: Mapping[_Audience, Sequence[tuple[Announcement, bytes]]]
    audiences: Mapping[str, _Audience]
    """By recipient."""


def _now_ms() -> int:
    return int(time.time() * 1000)


class Announcer:
    """Keeps what recipients were told equal to what the index holds."""

    def __init__(
        self,
        engine: Engine,
        vault: Vault,
        site: str,
        settings: Delivery,
        census: Census,
        layers: Collection[Stage] = deliveries.DISPLAY,
        wards: Wards = Wards(),  # noqa: B008  # frozen
    ) -> None:
        """``settings`` give the window of days and when heads fall due; ``layers`` are those that are made here."""
        self._wards = wards
        self._engine = engine
        self._vault = vault
        self._site = site
        self._settings = settings
        self._census = census
        self._aged_until = time.time()
        self._layers = layers

    # ── studies ───────────────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self, study_id: int) -> Changes:
        """Announce the study anew to every recipient for whom something changed, and withdraw it where it must go."""
        changes = Changes()
        with self._engine.begin() as connection:
            study = arrivals_read.study_by_id(connection, study_id)
            if study is None:
                return changes
            there = self._census.look_within(connection)
            located = movements.located(connection, canonical(study.PatientID))
            given = grants.of_study(connection, study_id, _now_ms())
            theirs = self._entitled(study, there, located, given)
            by_right = entitled(study, there.rules, located)
            audiences = {one.reference: (one.kind, loans(one, by_right, given, there)) for one in theirs}
            placed = replace(study, attributes=placed_at(study.attributes, whereabouts(study, located)))
            to_tell = self._volumes(connection, placed, audiences)
            told.set_progress(connection, study_id, study.revision, list(to_tell.references))
            known = {(a.recipient, a.study_ref): a for a in told.announced_of(connection, study_id)}
            for profile in theirs:
                self._tell(connection, profile, to_tell, known, changes)
            for recipient, reference in known:
                told.remove_announcement(connection, recipient, reference)
                if recipient in there.by_reference:
                    changes.heads[recipient] = there.by_reference[recipient]
        return changes

    def _entitled(self, study: StudyRow, there: People, located: Located, given: Collection[Grant]) -> list[Profile]:
        """By right within the window, or where it was fetched on request; and with whom it is shared."""
        by_right = entitled(study, there.rules, located)
        announced = by_right
        if study.last_arrival_at < self._window_begins():
            fetched = {grant.recipient for grant in given if grant.is_own}
            announced = [profile for profile in by_right if profile.reference in fetched]
        return with_shared(by_right, given, there, announced)

    def _window_begins(self) -> float:
        return time.time() - self._settings.window_days * _DAY_S

    def withheld(self, connection: Connection, kind: Kind, study_id: int) -> set[int]:
        """Those of a study's series of which a recipient of this kind gets no picture: names may be burned in."""
        if not is_masked(kind) or self._wards.burned_in == "show":
            return set()
        return series_with_names(connection, study_id)

    def _volumes(self, connection: Connection, study: StudyRow, audiences: Mapping[str, _Audience]) -> _Told:
        series = arrivals_read.series_of(connection, study.id)
        sealed = deliveries.objects_of(connection, study.id)
        documents = series_of_reports(connection, study.id)
        made: dict[_Audience, list[tuple[Announcement, bytes]]] = {}
        for kind, lent in set(audiences.values()):
            layers, withheld = layers_for(kind, is_lent=bool(lent)), self.withheld(connection, kind, study.id)
            # A device takes "settled" for "nothing more comes": that is so once all that is made of it for this
            # recipient is there, too, and all that was ordered.
            awaited: set[Stage] = {*self._layers, "original"} & {*layers, "presentation"}
            is_over = study.settled and not deliveries.work_among(connection, [study.id], awaited)
            # The name of a series of reports is a part of what a ward may not have, and so is a study of nothing else.
            hidden = withheld if "report" in layers else withheld | documents
            theirs = [one for one in series if one.id not in hidden]
            told_of = [one for one in sealed if one.layer in layers and withheld.isdisjoint(one.series_ids)]
            seen = marked(replace(study, settled=is_over), lent)
            if is_masked(kind):
                theirs = [mask_series(one, study) for one in theirs]
                seen = for_ward(seen, self._wards)
            fit = volumes(seen, theirs, told_of) if theirs else []
            made[kind, lent] = [(volume, hashlib.sha256(messages.encode(volume)).digest()) for volume in fit]
        references = told.references_of(connection, study.id)
        most = max(map(len, made.values()), default=0)
        references += [encode_reference(os.urandom(16)) for _ in range(most - len(references))]
        return _Told(study.id, references, made, audiences)

    def _tell(
        self,
        connection: Connection,
        profile: Profile,
        to_tell: _Told,
        known: dict[tuple[str, str], Announced],
        changes: Changes,
    ) -> None:
        """Tell one recipient all volumes that are new to it; what it knows rightly is taken out of ``known``."""
        epoch, epoch_key = current_or_first(connection, profile.reference)
        made = to_tell.volumes[to_tell.audiences[profile.reference]]
        for reference, (volume, digest) in zip(to_tell.references, made, strict=False):
            before = known.pop((profile.reference, reference), None)
            if before is not None and before.contents == digest and before.epoch == epoch:
                continue
            announcement = Announcement(
                study=decode_reference(reference),
                sequence=told.next_sequence(connection),
                issued=_now_ms(),
                settled=volume.settled,
                attributes=volume.attributes,
                objects=volume.objects,
            )
            payload = envelope.pack_announcement(
                self._vault.online, self._site, profile.kind, profile.reference, epoch, epoch_key, announcement
            )
            told.put_announcement(
                connection,
                Announced(
                    recipient=profile.reference,
                    study_ref=reference,
                    study_id=to_tell.study_id,
                    sequence=announcement.sequence,
                    epoch=epoch,
                    contents=digest,
                    digest=hashlib.sha256(payload).digest(),
                    payload=payload,
                ),
            )
            topic = topics.study(self._site, profile.kind, profile.reference, reference)
            changes.outgoing.append(Outgoing(topic, payload))
            changes.heads[profile.reference] = profile

    # ── which studies are to be looked at ─────────────────────────────────────────────────────────────────────────

    def stale(self, revision: int) -> list[tuple[int, int]]:
        """``(study id, revision)`` of some studies that changed after ``revision`` and were not announced so yet."""
        with self._engine.connect() as connection:
            return told.stale_since(connection, revision)

    def misrouted(self) -> list[int]:
        """Studies that are announced to others than the profiles say; of all studies, so for when profiles changed."""
        with self._engine.connect() as connection:
            there = self._census.look_within(connection)
            located = movements.located(connection)
            announced = told.recipients_of_studies(connection)
            given = grants.by_study(connection, _now_ms())
            found: list[int] = []
            offset, begins = 0, self._window_begins()
            old = set(given)
            while page := arrivals_read.studies(connection, limit=_PAGE, offset=offset):
                offset += _PAGE
                old -= {study.id for study in page}
                for study in page:
                    mine = given.get(study.id, ())
                    theirs = {one.reference for one in self._entitled(study, there, located, mine)}
                    # Whoever has it by a share is told something else than who has it by right.
                    if theirs != announced.get(study.id, set()) or any(not grant.is_own for grant in mine):
                        found.append(study.id)
                if page[-1].last_arrival_at < begins:
                    break  # the latest come first
        return found + sorted(old)

    def outdated(self) -> list[int]:
        """Studies that fell out of the window, are sealed for a past epoch, or came to an age at which rules change."""
        with self._engine.connect() as connection:
            access, now = self._census.look_within(connection).access, time.time()
            ages = [access.referring_days * _DAY_S] + [access.release_after_h * 3600] * (access.release == "after")
            since, self._aged_until = self._aged_until, now
            return sorted(
                {
                    *(i for age in ages for i in releases.coming_of_age(connection, since - age, now - age)),
                    *told.outside_window(connection, self._window_begins()),
                    *told.sealed_for_past_epochs(connection),
                }
            )

    def told_otherwise(self) -> list[int]:
        """Studies that wards were told of under other settings, until ``all_told``."""
        with self._engine.connect() as connection:
            return told_otherwise(connection, self._wards)

    def all_told(self) -> None:
        """Every study that ``told_otherwise`` named has been refreshed."""
        with self._engine.begin() as connection:
            all_told(connection, self._wards)

    # ── heads and keys ────────────────────────────────────────────────────────────────────────────────────────────

    def head(self, profile: Profile) -> Outgoing:
        """The recipient's next head; its sequence is safe before it is returned."""
        due_s = self._settings.head_ward_s if profile.kind == "ward" else self._settings.head_s
        with self._engine.begin() as connection:
            epoch, epoch_key = current_or_first(connection, profile.reference)
            now = _now_ms()
            head = Head(
                sequence=told.next_head(connection, profile.reference),
                issued=now,
                next_due=now + int(due_s * 1000),
                studies=sorted(
                    (
                        HeadEntry(decode_reference(reference), sequence, digest)
                        for reference, sequence, digest in told.entries_of(connection, profile.reference)
                    ),
                    key=lambda entry: entry.study,
                ),
            )
        payload = envelope.pack_head(
            self._vault.online, self._site, profile.kind, profile.reference, epoch, epoch_key, head
        )
        return Outgoing(topics.head(self._site, profile.kind, profile.reference), payload, retain=True)

    def keys(self, profile: Profile) -> Outgoing:
        """The recipient's epoch key for each of its devices."""
        with self._engine.begin() as connection:
            epoch, epoch_key = current_or_first(connection, profile.reference)
            devices = people.devices_of(connection, profile.reference)
        keys = Keys(
            suite=hpke.SUITE,
            epoch=epoch,
            issued=_now_ms(),
            devices=[
                envelope.seal_epoch_key(
                    self._site, profile.kind, profile.reference, d.device, d.exchange_key, epoch, epoch_key
                )
                for d in devices
            ],
        )
        payload = envelope.pack_keys(self._vault.online, self._site, profile.kind, profile.reference, keys)
        return Outgoing(topics.keys(self._site, profile.kind, profile.reference), payload, retain=True)

    def missing(self, profile: Profile, known: dict[str, int]) -> list[Outgoing]:
        """The announcements that a device of ``profile`` lacks; ``known`` maps its study references to sequences."""
        with self._engine.connect() as connection:
            entries = told.entries_of(connection, profile.reference)
            lacking = [reference for reference, sequence, _ in entries if known.get(reference, 0) < sequence]
            payloads = told.payloads_of(connection, profile.reference, lacking)
        return [
            Outgoing(topics.study(self._site, profile.kind, profile.reference, reference), payload)
            for reference, payload in payloads
        ]
