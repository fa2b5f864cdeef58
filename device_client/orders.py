"""Layers that are made on request: what a user or ``run --layer`` wishes, what was ordered, what is offered."""

import msgspec

from device_client import attributes
from device_client.errors import DeviceError
from device_client.ledger import Held
from device_client.store.catalogue import OrderRecord
from device_client.store.state import Store
from wire.messages import Layer, Order
from wire.names import decode_reference

ON_REQUEST: tuple[Layer, ...] = ("original",)
"""No gateway makes these by itself."""
_NOT_FOR_WARDS = ("original", "report")

REFUSALS = {
    "forbidden": "this device may not have this layer of the study",
    "gone": "the gateway no longer holds the files of this study",
    "unsupported": "the gateway does not make this layer",
    "busy": "the gateway has too much to do: it is asked again while `mpacs-device run` runs",
    "stale": "the gateway's clock and this device's are more than seven days apart",
    "malformed": "the gateway does not understand the request: are both of the same version?",
}


def uid_of(held: Held) -> str:
    """StudyInstanceUID."""
    return attributes.text(held.attributes[0], "StudyInstanceUID")


class Orders:
    """Judges without IO; records are kept in the catalogue. One for an open store."""

    def __init__(self, store: Store, layers: tuple[str, ...]) -> None:
        """``layers`` are those that the device takes of every study."""
        self._store = store
        self._layers = layers
        self._wished: set[tuple[str, str, str]] = set()
        self._offered: set[tuple[str, str, str]] = set()
        self.look()

    def look(self) -> None:
        """Announcements or wishes have changed: what is wished and offered, by recipient, study and layer."""
        self._offered = {
            (held.recipient, uid_of(held), entry.layer)
            for held in self._store.ledger.studies()
            for entry in held.announcement.objects
        }
        wished = ((self._held(record), record.layer) for record in list(self._store.catalogue.orders.values()))
        self._wished = {(held.recipient, uid_of(held), layer) for held, layer in wished if held is not None}

    def _held(self, record: OrderRecord) -> Held | None:
        shelf = self._store.ledger.shelves.get(record.recipient)
        return shelf.studies.get(record.study) if shelf is not None else None

    def _offers(self, held: Held, layer: Layer) -> bool:
        """Whether a volume of the same study offers the layer."""
        return (held.recipient, uid_of(held), layer) in self._offered

    def wants(self, held: Held, layer: Layer) -> bool:
        """Whether the device takes this layer of this study."""
        if layer in self._layers:
            return True
        return bool(self._wished) and (held.recipient, uid_of(held), layer) in self._wished

    # ── what is to be ordered ─────────────────────────────────────────────────────────────────────────────────────

    def follow(self, studies: list[Held], now_ms: int) -> bool:
        """Order what ``run --layer`` takes or a user wished, anew where a study has grown; whether there is news.

        An order says nothing of what comes after it, and costs nothing where all of it is there.
        """
        fresh = []
        for layer in ON_REQUEST:
            for held in studies:
                record = self._store.catalogue.orders.get((held.recipient, held.study, layer))
                if record is None and layer not in self._layers:
                    continue
                if (
                    held.announcement.settled
                    and _may(held, layer)
                    and (record is None or record.extent != _extent(held))
                ):
                    fresh.append(_record(held, layer, now_ms))
        self._store.catalogue.put_orders(fresh)
        return bool(fresh)

    def wish(self, parts: list[Held], layer: Layer, now_ms: int) -> None:
        """A user wishes a layer of a study. DeviceError where no recipient of this device may have it."""
        own = [held for held in parts if _may(held, layer)]
        if not own:
            raise DeviceError(REFUSALS["forbidden"])
        # One order for the study will do, however many volumes announce it.
        self._store.catalogue.put_orders([_record(own[0], layer, now_ms)])

    # ── what is open ──────────────────────────────────────────────────────────────────────────────────────────────

    def queued(self) -> list[OrderRecord]:
        """What is to be sent to the gateway."""
        return [record for record in list(self._store.catalogue.orders.values()) if record.state == "queued"]

    def renew(self) -> None:
        """Over a new connection ask again for what was taken and never came: the gateway may have lost it."""
        lost = [
            one for one in list(self._store.catalogue.orders.values()) if one.state == "taken" and self._is_open(one)
        ]
        self._store.catalogue.put_orders([msgspec.structs.replace(one, state="queued") for one in lost])

    @property
    def open(self) -> bool:
        """Whether anything is to be sent, or was taken by the gateway and is not offered yet."""
        return any(self._is_open(record) for record in list(self._store.catalogue.orders.values()))

    def _is_open(self, record: OrderRecord) -> bool:
        held = self._held(record)
        if held is None or record.state == "refused":
            return False
        return record.state == "queued" or not self._offers(held, record.layer)


def _may(held: Held, layer: Layer) -> bool:
    return held.kind != "ward" or layer not in _NOT_FOR_WARDS


def _extent(held: Held) -> int:
    """A number that changes when a study grows by what is made without being ordered."""
    made = [entry for entry in held.announcement.objects if entry.layer not in ON_REQUEST]
    return sum(entry.frames for entry in made) + len(held.attributes[1])


def _record(held: Held, layer: Layer, now_ms: int) -> OrderRecord:
    return OrderRecord(
        kind=held.kind,
        recipient=held.recipient,
        study=held.study,
        layer=layer,
        at=now_ms,
        state="queued",
        reason="",
        extent=_extent(held),
    )


def order_of(record: OrderRecord) -> Order:
    """The request to the gateway: of all series."""
    recipient, study = decode_reference(record.recipient), decode_reference(record.study)
    return Order(kind=record.kind, recipient=recipient, study=study, layer=record.layer, series=[])
