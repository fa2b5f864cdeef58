"""When a study is complete in a layer, and which receipts that owes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from device_client.ledger import Held
from device_client.store.catalogue import ReceiptRecord, StudyRecord
from device_client.store.state import Store, study_record
from wire.messages import Layer
from wire.names import encode_reference


@dataclass
class News:
    """Records to be kept; ``completed`` holds the study if it has just become complete in all wanted layers."""

    receipts: list[ReceiptRecord] = field(default_factory=list)
    completed: list[StudyRecord] = field(default_factory=list)


class Receipts:
    """One receipt for each study and layer, owed until the gateway has taken it."""

    def __init__(self, store: Store, wants: Callable[[Held, Layer], bool]) -> None:
        """``wants`` says which layer of which study the device takes."""
        self._store = store
        self._wants = wants

    def due(self, held: Held, complete: set[str], now_ms: int) -> News:
        """What has become true of a study, given the ids of the objects that are complete."""
        news = News()
        if not held.announcement.settled:
            return news
        missing = False
        by_layer: dict[Layer, list[str]] = {}
        for entry in held.announcement.objects:
            if self._wants(held, entry.layer):
                by_layer.setdefault(entry.layer, []).append(encode_reference(entry.object))
        for layer, object_ids in by_layer.items():
            if not complete.issuperset(object_ids):
                missing = True
            elif (held.recipient, held.study, layer, "received") not in self._store.catalogue.receipts:
                news.receipts.append(_record(held, layer, "received", now_ms))
        if not missing:
            record = self._store.catalogue.studies.get((held.recipient, held.study))
            wanted = study_record(held, "complete")
            if record != wanted:
                news.completed.append(wanted)
        return news

    def keep(self, news: News) -> None:
        """Note the records; they reach the disk with the catalogue's next flush."""
        if news.receipts:
            self._store.catalogue.put_receipts(news.receipts)
        if news.completed:
            self._store.catalogue.put_studies(news.completed)


def opened(held: Held, layer: Layer, now_ms: int) -> ReceiptRecord:
    """The receipt that a user has opened a study."""
    return _record(held, layer, "opened", now_ms)


def _record(held: Held, layer: Layer, event: str, now_ms: int) -> ReceiptRecord:
    return ReceiptRecord(
        kind=held.kind,
        recipient=held.recipient,
        study=held.study,
        sequence=held.announcement.sequence,
        layer=layer,
        event="opened" if event == "opened" else "received",
        at=now_ms,
        state="queued",
    )
