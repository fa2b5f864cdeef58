"""Search, retrieval, sharing and uploads: what messages.json tries of each of their fields."""

from typing import Any

from tests.vectors.fixed import NOW, digest, raw

BY = {"kind": "doctor", "recipient": raw("doctor")}
_SEARCH = {
    "op": "search", **BY, "PatientName": "김*", "PatientID": "", "AccessionNumber": "A?1", "StudyDate": "20240101-",
    "ModalitiesInStudy": ["CT", "MR"], "BodyPartExamined": "CHEST*", "StudyDescription": "", "page": 0,
}  # fmt: skip
_STUDY = {**BY, "study": "1.2.840.1"}
_TO = {"to_kind": "doctor", "to": raw("ward")}
_UPLOAD = {
    "op": "upload", **BY, "PatientID": "12345", "IssuerOfPatientID": "", "study": "", "media": "image/jpeg",
    "description": "왼쪽 발", "taken": NOW, "object": raw("object"), "key": digest("object key"), "size": 1_000_000,
    "manifest": digest("manifest"),
}  # fmt: skip

REQUESTS: dict[str, dict[str, Any]] = {
    "search": _SEARCH,
    "search of everything": {
        **_SEARCH, "PatientName": "", "AccessionNumber": "", "StudyDate": "", "ModalitiesInStudy": [],
        "BodyPartExamined": "",
    },
    "retrieve": {"op": "retrieve", **_STUDY},
    "directory": {"op": "directory", **BY, "name": "Lee*", "page": 199},
    "share": {"op": "share", **_STUDY, **_TO, "until": NOW},
    "unshare": {"op": "unshare", **_STUDY, **_TO},
    "release": {"op": "release", **_STUDY},
    "break_glass": {"op": "break_glass", **BY, "PatientID": "12345", "IssuerOfPatientID": "H", "reason": "응급"},
    "receipts": {"op": "receipts", **_STUDY},
    "upload": _UPLOAD,
    "upload to a study": {**_UPLOAD, "study": "1.2.3", "media": "application/dicom", "size": 2**30},
}  # fmt: skip

ANSWERS: dict[str, dict[str, Any]] = {
    "found": {"op": "found", "studies": [["1.2.840.1", True, ["main"]]], "attributes": b"\x03\x00", "more": False,
              "silent": ["archive"]},
    "progress": {"op": "progress", "here": 3, "of": 0},
    "people": {"op": "people", "people": [["doctor", raw("doctor"), "D1", "이^영희"]], "more": True},
    "granted": {"op": "granted", "until": NOW},
    "account": {"op": "account", "read": [["doctor", "D1", "", "display", "opened", NOW]]},
    "wanted": {"op": "wanted", "pages": [0], "ranges": [[0, 3], [9, 9]]},
    "wanted of nothing": {"op": "wanted", "pages": [], "ranges": []},
    "stored": {"op": "stored", "StudyInstanceUID": "1.2.840.1", "SOPInstanceUID": "1.2.840.1.2"},
}  # fmt: skip

DROP = object()
"""In the place of a field's value: the field is taken out."""

_DATES = ["2024", "20240101-2024", "20240101--", "-", "20240101-20240102-", "20240101 ", "20240101\n", "２０２４0101"]

_FIELDS: list[tuple[str, str, Any, str]] = [
    ("search", "kind", "nurse", "a search on behalf of a kind that is none"),
    ("search", "recipient", DROP, "a search on nobody's behalf"),
    ("search", "recipient", raw("doctor")[:15], "a search whose recipient has 15 bytes"),
    ("search", "PatientName", DROP, "a search without one of its keys"),
    ("search", "PatientName", None, "a search for a name of null"),
    ("search", "PatientName", "\0", "a search for a name with a control character"),
    ("search", "PatientName", "Kim\u0085", "a search for a name with a control character of ISO 8859"),
    ("search", "PatientName", "Kim\n", "a search for a name with a line feed at its end"),
    ("search", "PatientName", b"Kim", "a search for a name of bytes"),
    ("search", "PatientName", "가" * 65, "a search for a name of 65 characters"),
    ("search", "PatientID", "1" * 65, "a search for an identifier of 65 characters"),
    ("search", "AccessionNumber", 1, "a search for an accession number that is a number"),
    ("search", "ModalitiesInStudy", "CT", "a search for modalities as text"),
    ("search", "ModalitiesInStudy", [""], "a search for an empty modality"),
    ("search", "ModalitiesInStudy", ["ct"], "a search for a modality in small letters"),
    ("search", "ModalitiesInStudy", ["CT\\MR"], "a search for two modalities in one"),
    ("search", "ModalitiesInStudy", ["CT"] * 9, "a search for nine modalities"),
    ("search", "BodyPartExamined", "CHEST/ABDOMEN", "a search for a body part that is no code"),
    ("search", "BodyPartExamined", "A" * 17, "a search for a body part of 17 characters"),
    ("search", "page", 200, "page 200 of a search"),
    ("search", "page", True, "page true of a search"),
    ("search", "PatientSex", "F", "a search with an unknown key"),
    ("retrieve", "study", "", "a retrieve of an empty UID"),
    ("retrieve", "study", "1.2.*", "a retrieve of a UID with a wildcard"),
    ("retrieve", "study", "1.2.3\\1.2.4", "a retrieve of two studies"),
    ("retrieve", "study", ["1.2.3"], "a retrieve of a list"),
    ("retrieve", "study", raw("study"), "a retrieve of a reference"),
    ("retrieve", "series", [], "a retrieve with an unknown field"),
    ("directory", "name", DROP, "a directory without a name"),
    ("directory", "page", -1, "page -1 of a directory"),
    ("share", "to", DROP, "a share with nobody"),
    ("share", "to_kind", "group", "a share with a kind that is none"),
    ("share", "to", raw("ward") + b"\0", "a share with a reference of 17 bytes"),
    ("share", "until", DROP, "a share without an end"),
    ("share", "until", "tomorrow", "a share until a text"),
    ("share", "until", 2**53, "a share until 2 to the 53"),
    ("unshare", "until", 0, "an unshare with an end"),
    ("unshare", "study", None, "an unshare of null"),
    ("release", "to", raw("ward"), "a release to somebody"),
    ("release", "study", "1..2", "a release of a UID with an empty component"),
    ("break_glass", "reason", "", "a break of glass without a reason"),
    ("break_glass", "reason", "x" * 257, "a break of glass for a reason of 257 characters"),
    ("break_glass", "PatientID", "", "a break of glass for nobody"),
    ("break_glass", "IssuerOfPatientID", DROP, "a break of glass without an issuer"),
    ("receipts", "layer", "display", "receipts of a layer"),
    ("receipts", "op", "account", "an account in a request"),
    ("upload", "PatientID", "", "an upload for nobody"),
    ("upload", "media", "image/gif", "an upload of a media type that is none"),
    ("upload", "media", "text/html", "an upload of HTML"),
    ("upload", "size", 0, "an upload of nothing"),
    ("upload", "size", 2**30 + 1, "an upload of 1 GiB and a byte"),
    ("upload", "key", bytes(31), "an upload whose key has 31 bytes"),
    ("upload", "manifest", DROP, "an upload without a manifest"),
    ("upload", "object", "aaaa", "an upload whose object is text"),
    ("upload", "study", None, "an upload to a study of null"),
    ("upload", "study", "1.", "an upload to a study that ends with a dot"),
    ("upload", "description", "a\tb", "an upload with a control character"),
    ("upload", "ranges", [], "an upload with an unknown field"),
    ("found", "studies", [["1.2", True]], "a study found nowhere"),
    ("found", "studies", [["1.2", 1, []]], "a study whose place is a number"),
    ("found", "studies", [["1.2", True, [""]]], "a study in a PACS without a name"),
    ("found", "studies", [["1.2", True, ["p"] * 17]], "a study in 17 PACS"),
    ("found", "studies", [["1.2", True, []]] * 51, "51 studies"),
    ("found", "attributes", "{}", "attributes of what was found as text"),
    ("found", "more", 0, "more as a number"),
    ("found", "silent", DROP, "a found without its silent PACS"),
    ("progress", "of", DROP, "a progress of nothing"),
    ("progress", "here", -1, "a progress of -1"),
    ("people", "people", [["doctor", raw("doctor"), "D1"]], "a person without a name"),
    ("people", "people", [["nurse", raw("doctor"), "D1", ""]], "a person of a kind that is none"),
    ("people", "people", [["doctor", raw("doctor"), "D1", ""]] * 51, "51 people"),
    ("granted", "until", DROP, "a grant without an end"),
    ("account", "read", [["doctor", "D1", "", "display", "printed", NOW]], "an account of an event that is none"),
    ("account", "read", [["doctor", "D1", "", "display", "opened", NOW]] * 257, "an account of 257 events"),
    ("wanted", "pages", [256], "page 256 that is wanted"),
    ("wanted", "ranges", [[0, 262144]], "a segment that is wanted and none"),
    ("wanted", "ranges", [[0, 0]] * 65, "65 ranges that are wanted"),
    ("wanted", "op", "want", "a want in an answer"),
    ("stored", "SOPInstanceUID", "", "a stored without an instance"),
    ("stored", "StudyInstanceUID", DROP, "a stored without a study"),
    *(("search", "StudyDate", text, f"a search for the date {text!a}") for text in _DATES),
]

FIELDS: list[tuple[str, tuple[str | int, ...], Any, str]] = [
    (name, ("body", field), value, reason) for name, field, value, reason in _FIELDS
]
