"""What is asked of the store: list, show, export. The same code answers in the running process and without one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from device_client import attributes
from device_client.errors import DeviceError, LeaseEnded, NoSuchStudy, NotGiven
from device_client.export import Export, ExportOptions
from device_client.ledger import Held
from device_client.orders import Orders
from device_client.pictures import pictures_of
from device_client.receipts import opened
from device_client.reports import reports_of, texts_of
from device_client.store.catalogue import ReceiptRecord
from device_client.store.state import Store
from wire import seal
from wire.errors import WireError
from wire.messages import Layer, ObjectEntry
from wire.names import encode_reference

MAX_NUMBER_CHARACTERS = 12
"""Of an integer string (PS3.5 section 6.2, IS)."""

OnProgress = Callable[[int, int], None]
"""Pictures written, pictures in all."""


@dataclass(frozen=True)
class StudyView:
    """One study as a person knows it: all its announcements, in several volumes or for several recipients."""

    uid: str
    parts: list[Held]
    current: bool

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected."""
        return all(held.announcement.settled for held in self.parts)

    @property
    def references(self) -> list[str]:
        """The opaque references."""
        return sorted({held.study for held in self.parts})

    def study_attributes(self) -> attributes.DataSet:
        """Patient's and study's attributes; what an earlier announcement lacks, a later one adds."""
        merged: attributes.DataSet = {}
        for held in self.parts:
            merged = {**held.attributes[0], **merged}
        return merged

    def series(self) -> dict[str, attributes.DataSet]:
        """Attributes of each series, by SeriesInstanceUID; in the order of their numbers."""
        found: dict[str, attributes.DataSet] = {}
        for held in self.parts:
            for data_set in held.attributes[1]:
                found.setdefault(attributes.text(data_set, "SeriesInstanceUID"), data_set)
        return dict(sorted(found.items(), key=lambda one: (_series_number(one[1]), one[0])))

    def objects(self) -> list[tuple[Held, ObjectEntry, list[str]]]:
        """Each object once, with the SeriesInstanceUIDs that it lists."""
        seen: dict[bytes, tuple[Held, ObjectEntry, list[str]]] = {}
        for held in self.parts:
            uids = [attributes.text(data_set, "SeriesInstanceUID") for data_set in held.attributes[1]]
            for entry in held.announcement.objects:
                seen.setdefault(entry.object, (held, entry, [uids[index] for index in entry.series]))
        return sorted(seen.values(), key=lambda one: (one[1].layer, one[1].series, one[1].batch))


def view(store: Store) -> list[StudyView]:
    """A snapshot of the ledger, those announced last first."""
    now_ms = store.state.clock.now_ms()
    by_uid: dict[str, list[Held]] = {}
    for held in store.ledger.studies():
        by_uid.setdefault(attributes.text(held.attributes[0], "StudyInstanceUID"), []).append(held)
    return [
        StudyView(uid, parts, all(store.ledger.is_current(held, now_ms) for held in parts))
        for uid, parts in by_uid.items()
    ]


class Desk:
    """Answers with plain values that go as JSON through the local socket. All methods block on the disk.

    Afterwards ``receipts`` are to be kept, and the objects of ``damaged`` to be fetched again.
    """

    def __init__(self, store: Store, views: list[StudyView]) -> None:
        """``views`` were taken on the thread that owns the ledger."""
        self._store = store
        self._views = views
        self.damaged: list[str] = []
        self.receipts: list[ReceiptRecord] = []

    def _check_lease(self) -> None:
        if self._store.lease.expires <= self._store.state.clock.now_ms():
            raise LeaseEnded

    def _select(self, selector: str) -> StudyView:
        exact = [one for one in self._views if selector == one.uid or selector in one.references]
        if len(exact) == 1:
            return exact[0]
        names = {one.uid: [one.uid, *one.references] for one in self._views}
        found = [one for one in self._views if selector and any(n.startswith(selector) for n in names[one.uid])]
        if len(found) == 1:
            return found[0]
        if found:
            raise NoSuchStudy(f"{len(found)} studies begin like this: give more of the StudyInstanceUID")
        raise NoSuchStudy("no such study is here: `mpacs-device studies` lists what is")

    def held(self, selector: str) -> str:
        """StudyInstanceUID of a study that is here; empty where ``selector`` names none that is."""
        exact = [one.uid for one in self._views if selector == one.uid]
        try:
            return exact[0] if exact else self._select(selector).uid
        except NoSuchStudy:
            return ""

    # ── list and show ─────────────────────────────────────────────────────────────────────────────────────────────

    def studies(self) -> list[dict[str, Any]]:
        """All studies, as the command line's JSON has them."""
        self._check_lease()
        return [self._describe(one) for one in self._views]

    def _describe(self, study: StudyView) -> dict[str, Any]:
        data_set = study.study_attributes()
        reports = reports_of(self._store, study.objects())
        series = [self._describe_series(study, uid, one) for uid, one in study.series().items()]
        for one in series:
            one["reports"] = reports.get(one["SeriesInstanceUID"], [])
        seen = sorted({one["Modality"] for one in series if one["Modality"]})
        modalities = attributes.text(data_set, "ModalitiesInStudy") or "\\".join(seen)
        described: dict[str, Any] = {
            "StudyInstanceUID": study.uid,
            "PatientID": attributes.text(data_set, "PatientID"),
            **attributes.name_groups(data_set),
            "CharacterSetGuessed": attributes.is_guessed(data_set),
            "StudyDate": attributes.text(data_set, "StudyDate"),
            "StudyTime": attributes.text(data_set, "StudyTime"),
            "StudyDescription": attributes.text(data_set, "StudyDescription"),
            "AccessionNumber": attributes.text(data_set, "AccessionNumber"),
            "ModalitiesInStudy": modalities,
            "shared": attributes.shared(data_set),
            "current": study.current,
            "settled": study.settled,
            "references": study.references,
            "recipients": sorted({self._store.label(held.recipient) for held in study.parts}),
            "frames": _frames(study.objects()),
            "series": series,
        }
        return described

    def _describe_series(self, study: StudyView, uid: str, data_set: attributes.DataSet) -> dict[str, Any]:
        layers: dict[str, dict[str, Any]] = {}
        for _, entry, uids in study.objects():
            if uid not in uids:
                continue
            progress = self._store.blobs.progress(encode_reference(entry.object), entry.size)
            layer = layers.setdefault(
                entry.layer,
                {"complete": True, "segments": 0, "received": 0, "bytes": 0, "refetched": 0, "frames": 0, "objects": 0},
            )
            layer["complete"] = layer["complete"] and progress.received == progress.segments
            layer["segments"] += progress.segments
            layer["received"] += progress.received
            layer["refetched"] += progress.refetched
            layer["bytes"] += seal.sealed_size(entry.size)
            layer["frames"] += entry.frames
            layer["objects"] += 1
        return {
            "SeriesInstanceUID": uid,
            "Modality": attributes.text(data_set, "Modality"),
            "SeriesNumber": attributes.text(data_set, "SeriesNumber"),
            "SeriesDescription": attributes.text(data_set, "SeriesDescription"),
            "layers": layers,
        }

    def show(self, selector: str) -> dict[str, Any]:
        """One study with its attributes, and the pictures of which the headers are here."""
        self._check_lease()
        study = self._select(selector)
        described = self._describe(study)
        described["attributes"] = study.study_attributes()
        data_sets = study.series()
        pictures, self.damaged = pictures_of(self._store, study.objects())
        for series in described["series"]:
            series["attributes"] = data_sets[series["SeriesInstanceUID"]]
            series["pictures"] = [one.describe() for one in pictures if one.series == series["SeriesInstanceUID"]]
        self._add_texts(study, described)
        return described

    def wish(self, selector: str, layer: Layer) -> dict[str, Any]:
        """A layer is wished of a study: it is queued to be ordered."""
        self._check_lease()
        study = self._select(selector)
        # Of every study nothing is taken here: the wish is for this one.
        Orders(self._store, ()).wish(study.parts, layer, self._store.state.clock.now_ms())
        return {"StudyInstanceUID": study.uid, "layer": layer, "state": "queued", "references": study.references}

    def _add_texts(self, study: StudyView, described: dict[str, Any]) -> None:
        try:
            texts = texts_of(self._store, study.objects())
        except WireError as error:
            # Not to be passed over: a report that is missing unsaid is taken for none.
            self.damaged = [self._repair(entry) for _, entry, _ in study.objects() if entry.layer == "report"]
            raise Export.broken(error) from None
        for series in described["series"]:
            for report in series["reports"]:
                report["text"] = texts.get(report["SOPInstanceUID"])
        if texts:
            now_ms = self._store.state.clock.now_ms()
            told = [held for held in study.parts if any(one.layer == "report" for one in held.announcement.objects)]
            self.receipts = [opened(held, "report", now_ms) for held in told]

    # ── export ────────────────────────────────────────────────────────────────────────────────────────────────────

    def export(self, selector: str, options: ExportOptions, progress: OnProgress) -> dict[str, Any]:
        """Write a layer's files; what was written where. Of what it has as a ward's device alone NotGiven."""
        self._check_lease()
        study = self._select(selector)
        study = replace(study, parts=[held for held in study.parts if held.kind != "ward"])
        if not study.parts:
            raise NotGiven
        export = Export(self._store, study.study_attributes(), study.objects(), options)
        try:
            written = export.run(progress)
        except WireError as error:
            self.damaged = [self._repair(entry) for _, entry, _ in study.objects() if entry.layer == options.layer]
            raise export.broken(error) from None
        now_ms = self._store.state.clock.now_ms()
        self.receipts = [opened(held, options.layer, now_ms) for held in study.parts]
        return {"StudyInstanceUID": study.uid, "layer": options.layer, "to": str(options.to), **written}

    def _repair(self, entry: ObjectEntry) -> str:
        """Believe only what fits its digest, so that the rest is fetched again."""
        object_id = encode_reference(entry.object)
        blob = self._store.blobs.open(object_id, entry.size)
        try:
            if blob.check(blob.pages(entry.manifest)):
                blob.commit(blob.snapshot())
        finally:
            blob.close()
        return object_id


def _series_number(data_set: attributes.DataSet) -> int:
    text = attributes.text(data_set, "SeriesNumber")
    return int(text) if text.isdecimal() and len(text) <= MAX_NUMBER_CHARACTERS else 0


def _frames(objects: list[tuple[Held, ObjectEntry, list[str]]]) -> int:
    """Pictures of the study: of its display layer, each object once."""
    return sum(entry.frames for _, entry, _ in objects if entry.layer == "display")


def perform(desk: Desk, request: dict[str, Any], progress: OnProgress) -> Any:
    """Do what ``request`` asks: ``{"op": "studies" | "show" | "export" | "wish" | "held", …}``."""
    match request:
        case {"op": "studies"}:
            return desk.studies()
        case {"op": "show", "study": str(study)}:
            return desk.show(study)
        case {"op": "export", "study": str(study), "to": str(to), "layer": layer, "frame": frame, "partial": partial}:
            options = ExportOptions(Path(to), layer, frame, bool(partial), int(request.get("level", 0)))
            return desk.export(study, options, progress)
        case {"op": "held", "study": str(study)}:
            return desk.held(study)
        case {"op": "wish", "study": str(study), "layer": layer}:
            return desk.wish(study, layer)
    raise DeviceError("a request that this version does not know")
