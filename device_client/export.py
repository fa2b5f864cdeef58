"""Files for other programs: only verified and decrypted bytes, written under temporary names and renamed."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_client.attributes import DataSet
from device_client.errors import DeviceError, Incomplete, NoSuchStudy, StoreBroken
from device_client.ledger import Held
from device_client.pictures import Picture, pictures_of
from device_client.reader import ObjectReader
from device_client.reports import DOCUMENTS
from device_client.store.state import Store
from wire.errors import Missing, SealBroken, WireError
from wire.messages import Layer, ObjectEntry
from wire.names import encode_reference

EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/html": "html",
    "video/mp4": "mp4",
    "application/dicom": "dcm",
}
EXPORTABLE: tuple[Layer, ...] = ("display", "thumbnail", "report", "video", "original")

PIECE_BYTES = 4 * 1024 * 1024

Listed = list[tuple[Held, ObjectEntry, list[str]]]


@dataclass(frozen=True)
class ExportOptions:
    """``frame`` counts from 1; ``partial`` writes what is here of a layer that is not complete."""

    to: Path
    layer: Layer
    frame: int | None = None
    partial: bool = False


class Export:
    """One layer of one study."""

    def __init__(self, store: Store, study: DataSet, listed: Listed, options: ExportOptions) -> None:
        """``study`` is what ``patient.json`` holds."""
        self._store = store
        self._study = study
        self._listed = [one for one in listed if one[1].layer == options.layer]
        self._options = options
        self._written: list[str] = []

    def run(self, progress: Callable[[int, int], None]) -> dict[str, Any]:
        """Write; ``{"files": [paths below the folder], "pictures": count, "missing": count}``."""
        options = self._options
        if options.layer not in EXPORTABLE:
            raise DeviceError(f"the layer {options.layer} cannot be exported as files: choose {', '.join(EXPORTABLE)}")
        if not self._listed:
            raise NoSuchStudy(f"the study has no layer {options.layer}: `mpacs-device show` lists what it has")
        if not options.partial:
            self._need_all()
        pictures, damaged = pictures_of(self._store, self._listed)
        if damaged:
            raise SealBroken("an object on the disk was changed")
        if options.layer == "report":
            pictures = [one for one in pictures if one.part.media in DOCUMENTS]
        chosen = [one for one in pictures if options.frame is None or one.part.frame + 1 == options.frame]
        if options.frame is not None and not chosen and not options.partial:
            raise NoSuchStudy(f"no picture has a frame {options.frame}")
        missing = self._write_pictures(chosen, progress)
        self._write("patient.json", [_json(self._study)])
        return {"files": self._written, "pictures": len(chosen) - missing, "missing": missing}

    def _need_all(self) -> None:
        for _, entry, _ in self._listed:
            progress = self._store.blobs.progress(encode_reference(entry.object), entry.size)
            if progress.received != progress.segments:
                raise Incomplete(
                    f"the layer {self._options.layer} is not here as a whole: "
                    f"run `mpacs-device run --once --layer {self._options.layer}`, or give --partial"
                )

    def _write_pictures(self, pictures: list[Picture], progress: Callable[[int, int], None]) -> int:
        done = missing = 0
        records: dict[str, list[dict[str, Any]]] = {}
        for entry_pictures in _by_object(pictures):
            entry = entry_pictures[0].entry
            blob = self._store.blobs.read_only(encode_reference(entry.object), entry.size)
            try:
                reader = ObjectReader(self._store.site, entry, blob)
                for picture in entry_pictures:
                    try:
                        name = self._name(picture)
                        self._write(f"{picture.series}/{name}", _pieces(reader, picture))
                    except Missing:
                        missing += 1
                        continue
                    record = {"file": name, **picture.describe(), "attributes": picture.attributes}
                    records.setdefault(picture.series, []).append(record)
                    done += 1
                    progress(done, len(pictures))
            finally:
                blob.close()
        for series, listed in records.items():
            name = "series.json" if self._options.layer == "display" else f"series.{self._options.layer}.json"
            self._write(f"{series}/{name}", [_json(listed)])
        return missing

    def _name(self, picture: Picture) -> str:
        extension = EXTENSIONS.get(picture.part.media, "bin")
        if self._options.layer == "thumbnail":
            return f"thumbnail.{extension}"
        frame = f".{picture.part.frame + 1}" if picture.multi_frame else ""
        return f"{picture.instance}{frame}.{extension}"

    def _write(self, name: str, pieces: Iterable[bytes]) -> None:
        path = self._options.to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        try:
            with temporary.open("wb") as file:
                file.writelines(pieces)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._written.append(name)

    @staticmethod
    def broken(error: WireError) -> StoreBroken:
        """What a user is told of an object on the disk that does not open."""
        return StoreBroken(
            f"what is on the disk is not what was received ({error.code}): "
            "the damaged parts are fetched again by `mpacs-device run`; then export again"
        )


def _pieces(reader: ObjectReader, picture: Picture) -> Iterator[bytes]:
    """The part, verified piece by piece: a file may be larger than the memory."""
    for start in range(picture.start, picture.end, PIECE_BYTES):
        yield reader.read(start, min(start + PIECE_BYTES, picture.end))


def _by_object(pictures: list[Picture]) -> list[list[Picture]]:
    grouped: dict[bytes, list[Picture]] = {}
    for picture in pictures:
        grouped.setdefault(picture.entry.object, []).append(picture)
    return list(grouped.values())


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
