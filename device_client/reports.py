"""Reports as a person knows them: which documents a study has, how far they stand, and their text."""

from typing import Any

from device_client import attributes
from device_client.pictures import Picture, pictures_of
from device_client.reader import ObjectReader
from device_client.store.state import Store
from wire.errors import Missing, SealBroken, WireError
from wire.names import encode_reference

MAX_SHOWN_BYTES = 1 << 20
"""Longer texts are for files, not for terminals."""
DOCUMENTS = ("text/plain", "text/html", "application/pdf")
"""What a report is; beside a PDF stands a small picture of its first page."""


def status_of(data_set: attributes.DataSet) -> str:
    """``preliminary``, ``final``, ``amended``, or empty where it is not said (docs/protocol.md section 8)."""
    completion, verification, preliminary = (
        attributes.text(data_set, keyword) for keyword in ("CompletionFlag", "VerificationFlag", "PreliminaryFlag")
    )
    if not (completion or verification or preliminary):
        return ""
    if preliminary == "PRELIMINARY" or completion == "PARTIAL":
        return "preliminary"
    if preliminary != "FINAL" and verification != "VERIFIED":
        return "preliminary"
    return "amended" if attributes.values(data_set, "PredecessorDocumentsSequence") else "final"


def predecessors_of(data_set: attributes.DataSet) -> set[str]:
    """SOPInstanceUIDs of the documents that this one takes the place of."""
    items = [item for item in attributes.values(data_set, "PredecessorDocumentsSequence") if isinstance(item, dict)]
    return {uid for item in items if (uid := attributes.text(item, "ReferencedSOPInstanceUID"))}


def reports_of(store: Store, listed: Any) -> dict[str, list[dict[str, Any]]]:
    """By SeriesInstanceUID the reports of which the headers are here, the oldest first; of damaged objects none."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    try:
        parts = pictures_of(store, listed, "report")[0]
    except WireError:
        return {}  # said where they are shown or exported; a list of studies goes on without
    replaced: set[str] = set()
    for part in parts:
        if part.part.media not in DOCUMENTS:
            continue
        report = found.setdefault(part.series, {}).setdefault(part.instance, _describe(part))
        report["media"].append(part.part.media)
        replaced |= predecessors_of(part.attributes)
    for reports in found.values():
        for report in reports.values():
            report["replaced"] = report["SOPInstanceUID"] in replaced
    return {
        series: sorted(reports.values(), key=lambda one: (one["ContentDate"], one["ContentTime"]))
        for series, reports in found.items()
    }


def texts_of(store: Store, listed: Any) -> dict[str, str]:
    """By SOPInstanceUID the plain text of reports that are here and not too long. WireError if one does not open."""
    found: dict[str, str] = {}
    parts, damaged = pictures_of(store, listed, "report")
    if damaged:
        raise SealBroken("a report on the disk was changed")
    for part in parts:
        if part.part.media != "text/plain" or part.part.length > MAX_SHOWN_BYTES:
            continue
        blob = store.blobs.read_only(encode_reference(part.entry.object), part.entry.size)
        try:
            found[part.instance] = ObjectReader(store.site, part.entry, blob).read(part.start, part.end).decode()
        except Missing:
            continue
        finally:
            blob.close()
    return found


def _describe(part: Picture) -> dict[str, Any]:
    return {
        "SOPInstanceUID": part.instance,
        **{key: attributes.text(part.attributes, key) for key in ("DocumentTitle", "ContentDate", "ContentTime")},
        "status": status_of(part.attributes),
        "media": [],
    }
