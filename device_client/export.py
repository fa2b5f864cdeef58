"""Files for other programs: only verified and decrypted bytes, written under temporary names and renamed."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from device_client.attributes import DataSet
from device_client.errors import DeviceError, Incomplete, NoSuchStudy, StoreBroken
from device_client.frames import Frame, frames_of, read, segments_needed
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
    "video/mp2t": "ts",
    "video/mpeg": "mpg",
    "video/h264": "h264",
    "video/h265": "h265",
    "application/dicom": "dcm",
}
EXPORTABLE: tuple[Layer, ...] = ("display", "thumbnail", "diagnostic", "report", "video", "original")

_NAMED_ALIKE: frozenset[Layer] = frozenset({"display", "diagnostic"})
PIECE_BYTES = 4 * 1024 * 1024

Listed = list[tuple[Held, ObjectEntry, list[str]]]


@dataclass(frozen=True)
class ExportOptions:
    """``frame`` counts from 1; ``partial`` writes what is here of a layer that is not complete.

    ``level`` is how often frames of ``diagnostic`` are halved.
    """

    to: Path
    layer: Layer
    frame: int | None = None
    partial: bool = False
    level: int = 0


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
        if options.level and options.layer != "diagnostic":
            raise DeviceError(f"the layer {options.layer} has no lower resolutions: --level goes with diagnostic")
        if not self._listed:
            raise NoSuchStudy(f"the study has no layer {options.layer}: `mpacs-device show` lists what it has")
        if not options.partial:
            self._need_all()
        pictures, damaged = pictures_of(self._store, self._listed)
        if damaged:
            raise SealBroken("an object on the disk was changed")
        chosen = [one for one in pictures if options.frame is None or one.part.frame + 1 == options.frame]
        if options.frame is not None and not chosen and not options.partial:
            raise NoSuchStudy(f"no picture has a frame {options.frame}")
        self._refuse_others({one.series for one in chosen})
        missing = self._write_pictures(chosen, progress)
        self._write("patient.json", [_json(self._study)])
        count = sum(one.part.band == 0 for one in chosen)
        return {"files": self._written, "pictures": count - missing, "missing": missing}

    @property
    def _list_name(self) -> str:
        level = f".level{self._options.level}" if self._options.level else ""
        layer = "" if self._options.layer == "display" else f".{self._options.layer}"
        return f"series{layer}{level}.json"

    def _refuse_others(self, series: set[str]) -> None:
        """DeviceError where another layer's pictures lie, which may have the same names: none is written over."""
        if self._options.layer not in _NAMED_ALIKE:
            return
        for one in series:
            for layer in _NAMED_ALIKE - {self._options.layer}:
                other = "series.json" if layer == "display" else f"series.{layer}.json"
                if (self._options.to / one / other).exists():
                    raise DeviceError(
                        f"this folder holds pictures of the layer {layer}, and those of {self._options.layer} may have "
                        "the same names: choose another folder with --to"
                    )

    def _need_all(self) -> None:
        """Incomplete unless all that will be read is here: for low levels of frames, their first bands alone."""
        for _, entry, _ in self._listed:
            if not self._is_here(entry):
                raise Incomplete(
                    f"the layer {self._options.layer} is not here as a whole: "
                    f"run `mpacs-device run --once --layer {self._options.layer}`, or give --partial"
                )

    def _is_here(self, entry: ObjectEntry) -> bool:
        if self._options.layer != "diagnostic":
            progress = self._store.blobs.progress(encode_reference(entry.object), entry.size)
            return progress.received == progress.segments
        try:
            blob = self._store.blobs.read_only(encode_reference(entry.object), entry.size)
        except FileNotFoundError:
            return False
        try:
            needed = segments_needed(self._store.site, entry, blob, self._options.level)
        except Missing:
            return False
        finally:
            blob.close()
        return all(index in blob.have for index in range(needed))

    def _write_pictures(self, pictures: list[Picture], progress: Callable[[int, int], None]) -> int:
        done = missing = 0
        count = sum(one.part.band == 0 for one in pictures)
        records: dict[str, list[dict[str, Any]]] = {}
        for entry_pictures in _by_object(pictures):
            entry = entry_pictures[0].entry
            blob = self._store.blobs.read_only(encode_reference(entry.object), entry.size)
            try:
                reader = ObjectReader(self._store.site, entry, blob)
                for picture, write in self._files(reader, entry_pictures):
                    try:
                        record = write()
                    except Missing:
                        missing += 1
                        continue
                    records.setdefault(picture.series, []).append({**record, "attributes": picture.attributes})
                    done += 1
                    progress(done, count)
            finally:
                blob.close()
        for series, listed in records.items():
            self._write(f"{series}/{self._list_name}", [_json(listed)])
        return missing

    def _files(
        self, reader: ObjectReader, pictures: list[Picture]
    ) -> Iterator[tuple[Picture, Callable[[], dict[str, Any]]]]:
        """Each file of one object: what it shows, and what writes it and tells of it."""
        if self._options.layer == "diagnostic":
            for frame in frames_of(pictures):
                yield frame.base, partial(self._write_frame, reader, frame)
        else:
            for picture in pictures:
                yield picture, partial(self._write_part, reader, picture)

    def _write_part(self, reader: ObjectReader, picture: Picture) -> dict[str, Any]:
        name = self._name(picture, EXTENSIONS.get(picture.part.media, "bin"))
        self._write(f"{picture.series}/{name}", _pieces(reader, picture))
        return {"file": name, **picture.describe()}

    def _write_frame(self, reader: ObjectReader, frame: Frame) -> dict[str, Any]:
        made = read(reader, frame, self._options.level)
        name = self._name(frame.base, made.extension)
        self._write(f"{frame.base.series}/{name}", [made.data])
        size = frame.base.part.length + (frame.rest.part.length if frame.rest else 0)
        return {"file": name, **frame.base.describe(), "bytes": size, **made.about}

    def _name(self, picture: Picture, extension: str) -> str:
        if self._options.layer == "thumbnail":
            return f"thumbnail.{extension}"
        frame = f".{picture.part.frame + 1}" if picture.multi_frame else ""
        level = f".level{self._options.level}" if self._options.level else ""
        page = ".page1" if self._options.layer == "report" and picture.part.media not in DOCUMENTS else ""
        return f"{picture.instance}{frame}{level}{page}.{extension}"

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
