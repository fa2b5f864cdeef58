"""What the audit trail says: one event, and its form as a message of DICOM PS3.15 section A.5. Pure; reads nothing.

Codes are of PS3.16 CID 400 (event identifiers), CID 401 (event types) and CID 404 (participating objects).
"""

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any, Literal
from xml.etree import ElementTree

Kind = Literal[
    "application-started",
    "application-stopped",
    "audit-used",
    "configuration-changed",
    "keys-renewed",
    "profile-changed",
    "profile-removed",
    "invited",
    "enrolled",
    "revoked",
    "wiped",
    "lease-renewed",
    "key-released",
    "search",
    "directory",
    "retrieve",
    "order",
    "transferred",
    "accessed",
    "shared",
    "unshared",
    "released",
    "break-glass",
    "break-glass-ended",
    "uploaded",
    "forwarded",
    "imported",
    "patient-moved",
    "quarantine-dropped",
    "request-refused",
]
Outcome = Literal["success", "refused", "failed"]

_SECURITY = ("110113", "Security Alert")
_CODES: dict[Kind, tuple[tuple[str, str], tuple[str, str] | None, str]] = {
    "application-started": (("110100", "Application Activity"), ("110120", "Application Start"), "E"),
    "application-stopped": (("110100", "Application Activity"), ("110121", "Application Stop"), "E"),
    "audit-used": (("110101", "Audit Log Used"), None, "R"),
    "configuration-changed": (_SECURITY, ("110129", "Security Configuration"), "U"),
    "keys-renewed": (_SECURITY, ("110129", "Security Configuration"), "U"),
    "profile-changed": (_SECURITY, ("110136", "Security Roles Changed"), "U"),
    "profile-removed": (_SECURITY, ("110136", "Security Roles Changed"), "D"),
    "invited": (_SECURITY, ("110137", "User Security Attributes Changed"), "C"),
    "enrolled": (("110114", "User Authentication"), ("110126", "Node Authentication"), "C"),
    "revoked": (_SECURITY, ("110137", "User Security Attributes Changed"), "D"),
    "wiped": (_SECURITY, ("110137", "User Security Attributes Changed"), "D"),
    "lease-renewed": (("110114", "User Authentication"), ("110122", "Login"), "E"),
    "key-released": (_SECURITY, ("110137", "User Security Attributes Changed"), "U"),
    "search": (("110112", "Query"), None, "E"),
    "directory": (("110112", "Query"), None, "E"),
    "retrieve": (("110102", "Begin Transferring DICOM Instances"), None, "E"),
    "order": (("110102", "Begin Transferring DICOM Instances"), None, "E"),
    "transferred": (("110104", "DICOM Instances Transferred"), None, "R"),
    "accessed": (("110103", "DICOM Instances Accessed"), None, "R"),
    "shared": (_SECURITY, ("110135", "Object Security Attributes Changed"), "U"),
    "unshared": (_SECURITY, ("110135", "Object Security Attributes Changed"), "U"),
    "released": (_SECURITY, ("110135", "Object Security Attributes Changed"), "U"),
    "break-glass": (_SECURITY, ("110127", "Emergency Override Started"), "E"),
    "break-glass-ended": (_SECURITY, ("110138", "Emergency Override Stopped"), "E"),
    "uploaded": (("110107", "Import"), None, "C"),
    "forwarded": (("110104", "DICOM Instances Transferred"), None, "C"),
    "imported": (("110107", "Import"), None, "C"),
    "patient-moved": (("110110", "Patient Record"), None, "U"),
    "quarantine-dropped": (("110105", "DICOM Study Deleted"), None, "D"),
    "request-refused": (_SECURITY, ("110132", "Use of Restricted Function"), "E"),
}
_OUTCOMES: dict[Outcome, str] = {"success": "0", "refused": "4", "failed": "8"}
"""EventOutcomeIndicator: success, minor failure, serious failure."""


@dataclass(frozen=True, slots=True)
class Event:
    """``who`` and ``whom`` are ``KIND:IDENTIFIER`` (doctor:D-17, operator:root, pacs:MAIN) or ``gateway``.

    ``device`` is an opaque reference; ``patient`` a PatientID, ``study`` a StudyInstanceUID; ``what`` a layer.
    """

    event: Kind
    who: str
    outcome: Outcome = "success"
    device: str = ""
    whom: str = ""
    patient: str = ""
    study: str = ""
    what: str = ""
    reason: str = ""

    def plain(self) -> dict[str, str]:
        """What is not empty."""
        return {key: value for key, value in asdict(self).items() if value}


def message(event: dict[str, Any], at_ms: int, source: str) -> str:
    """An ``AuditMessage`` (PS3.15 section A.5.1), without line breaks. ``source`` is the site."""
    (code, meaning), kind, action = _CODES.get(event["event"], (_SECURITY, None, "E"))
    root = ElementTree.Element("AuditMessage")
    identification = ElementTree.SubElement(
        root,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=_OUTCOMES[event.get("outcome", "success")],
    )
    _code(identification, "EventID", code, meaning)
    if kind is not None:
        _code(identification, "EventTypeCode", *kind)
    if event.get("reason"):
        ElementTree.SubElement(identification, "EventOutcomeDescription").text = _legal(event["reason"])
    _participant(root, event["who"], event.get("device", ""), is_requestor=True)
    if event.get("whom"):
        _participant(root, event["whom"], "", is_requestor=False)
    ElementTree.SubElement(root, "AuditSourceIdentification", AuditSourceID=source)
    if event.get("study"):
        _object(root, event["study"], "2", "3", ("110180", "Study Instance UID", "DCM"), event.get("what", ""))
    if event.get("patient"):
        _object(root, event["patient"], "1", "1", ("2", "Patient Number", "RFC-3881"), "")
    return ElementTree.tostring(root, encoding="unicode")


def _code(parent: ElementTree.Element, name: str, code: str, meaning: str, system: str = "DCM") -> None:
    ElementTree.SubElement(parent, name, {"csd-code": code, "codeSystemName": system, "originalText": meaning})


def _participant(root: ElementTree.Element, user: str, device: str, is_requestor: bool) -> None:
    attributes = {"UserID": _legal(user), "UserIsRequestor": "true" if is_requestor else "false"}
    if device:
        attributes |= {"AlternativeUserID": device}
    ElementTree.SubElement(root, "ActiveParticipant", attributes)


def _object(
    root: ElementTree.Element, identifier: str, kind: str, role: str, code: tuple[str, str, str], detail: str
) -> None:
    found = ElementTree.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_legal(identifier),
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _code(found, "ParticipantObjectIDTypeCode", *code)
    if detail:
        ElementTree.SubElement(found, "ParticipantObjectDetail", type="what", value=_legal(detail))


def _legal(text: str) -> str:
    """XML 1.0 cannot hold control characters; identifiers from headers may."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
