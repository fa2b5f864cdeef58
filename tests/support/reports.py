"""Structured reports and documents, made with pydicom for the tests: every value type, Korean names, real classes."""

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

COMPREHENSIVE_3D = "1.2.840.10008.5.1.4.1.1.88.34"
DOSE = "1.2.840.10008.5.1.4.1.1.88.67"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
CDA = "1.2.840.10008.5.1.4.1.1.104.2"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence (PS3.3 section 8)."""
    found = Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = value, scheme, meaning
    return found


def item(
    kind: str, name: str | Dataset = "", *children: Dataset, relationship: str = "CONTAINS", **values: Any
) -> Dataset:
    """A content item (PS3.3 section C.17.3); ``name`` is a meaning, or the code itself."""
    found = Dataset()
    found.RelationshipType, found.ValueType = relationship, kind
    if name:
        found.ConceptNameCodeSequence = [name if isinstance(name, Dataset) else code("T-1", "99TEST", name)]
    for keyword, value in values.items():
        setattr(found, keyword, value)
    if children:
        found.ContentSequence = list(children)
    return found


def container(name: str, *children: Dataset, continuity: str = "SEPARATE") -> Dataset:
    """A heading with what stands below it."""
    return item("CONTAINER", name, *children, ContinuityOfContent=continuity)


def text(name: str, value: str, *children: Dataset, **values: Any) -> Dataset:
    """A TEXT item."""
    return item("TEXT", name, *children, TextValue=value, **values)


def number(name: str, value: str, unit: Dataset, *children: Dataset) -> Dataset:
    """A NUM item."""
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = value, [unit]
    return item("NUM", name, *children, MeasuredValueSequence=[measured])


def image(instance: str, *frames: int, sop_class: str = CT_IMAGE, **values: Any) -> Dataset:
    """An IMAGE item that points to an instance."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class, instance
    if frames:
        reference.ReferencedFrameNumber = list(frames)
    return item("IMAGE", ReferencedSOPSequence=[reference], **values)


def report(title: str, *children: Dataset, sop_class: str = COMPREHENSIVE_3D, uid: str = "", **values: Any) -> Dataset:
    """A whole document in UTF-8, complete and not verified; ``values`` override or add attributes."""
    root = container(title, *children)
    del root.RelationshipType
    _identify(root, sop_class, uid)
    root.Modality = "KO" if sop_class == KEY_OBJECTS else "SR"
    root.ContentDate, root.ContentTime = "20261124", "093000"
    root.ReferencedPerformedProcedureStepSequence, root.PerformedProcedureCodeSequence = [], []
    if sop_class != KEY_OBJECTS:
        root.CompletionFlag, root.VerificationFlag = "COMPLETE", "UNVERIFIED"
    for keyword, value in values.items():
        setattr(root, keyword, value)
    return root


def document(data: bytes, sop_class: str = PDF, mime: str = "application/pdf", **values: Any) -> Dataset:
    """An encapsulated document."""
    found = Dataset()
    _identify(found, sop_class, "")
    found.Modality, found.DocumentTitle = "DOC", "Discharge letter"
    found.ContentDate, found.ContentTime = "20261124", "093000"
    found.MIMETypeOfEncapsulatedDocument = mime
    found.EncapsulatedDocumentLength = len(data)
    found.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def _identify(data: Dataset, sop_class: str, uid: str) -> None:
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = sop_class, uid or generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "Hong^Gildong", "DEMO-1001", "", "M"
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20261124", "093000", "1", ""
    data.ReferringPhysicianName, data.Manufacturer, data.SeriesNumber, data.InstanceNumber = "", "", 9, 1


def save(data: Dataset, path: Path) -> Path:
    """As a Part 10 file, explicit little endian."""
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    return path


def pdf(text_shown: str = "Report", pages: int = 1) -> bytes:
    """A small PDF with a line of text on each page."""
    stream = f"BT /F1 24 Tf 72 700 Td ({text_shown}) Tj ET".encode()
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(pages))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n in range(pages):
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * n} 0 R"
        objects.append(f"{page} /Resources << /Font << /F1 3 0 R >> >> >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for n, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (n, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def every_kind() -> Dataset:
    """A document with every value type, nested headings, running text, Korean, and references of all sorts."""
    measured = Dataset()
    measured.FloatingPointValue, measured.NumericValue = 0.1234567890123, "0.123456789012"
    measured.MeasurementUnitsCodeSequence = [code("{ratio}", "UCUM", "ratio")]
    waveform = Dataset()
    waveform.ReferencedSOPClassUID, waveform.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3.9"
    waveform.ReferencedWaveformChannels = [1, 1, 1, 2]
    composite = Dataset()
    composite.ReferencedSOPClassUID, composite.ReferencedSOPInstanceUID = COMPREHENSIVE_3D, "1.2.3.8"
    again = Dataset()
    again.RelationshipType, again.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 3, 1]
    language = code("121049", "DCM", "Language of Content Item and Descendants")
    failure = [code("114006", "DCM", "Measurement failure")]
    outline = {"GraphicType": "POLYLINE", "GraphicData": [1.5, 2.5, 3.5, 4.5, 1.5, 2.5]}
    centre = {"GraphicType": "POINT", "GraphicData": [1.5, -2.25, 30.0], "ReferencedFrameOfReferenceUID": "1.2.3.7"}
    finding = "우상엽에 12 mm 결절이 있음.\n다른 폐야는 깨끗함."
    by_hand = text("Method", "by hand", relationship="HAS CONCEPT MOD")
    korean = [code("ko-KR", "RFC5646", "Korean (Korea)")]
    return report(
        "영상의학 판독 보고서",
        item("PNAME", "판독의", relationship="HAS OBS CONTEXT", PersonName="Kim^Minsu=金^敏洙=김^민수"),
        item("CODE", language, relationship="HAS CONCEPT MOD", ConceptCodeSequence=korean),
        container(
            "소견",
            text("소견", finding, image("1.2.3.4", 5, relationship="INFERRED FROM")),
            number("Diameter", "12", code("mm", "UCUM", "millimeter"), by_hand),
            item("NUM", "Ratio", MeasuredValueSequence=[measured]),
            item("NUM", "Density", MeasuredValueSequence=[], NumericValueQualifierCodeSequence=failure),
            item("DATE", "Since", Date="20261101"),
            item("TIME", "At", Time="101500"),
            item("DATETIME", "Seen", DateTime="20261101101500+0900"),
            item("UIDREF", "Tracking Unique Identifier", UID="1.2.826.0.1.3680043.8.498.77"),
            container(
                "Region",
                item("SCOORD", "Outline", image("1.2.3.4", relationship="SELECTED FROM"), **outline),
                item("SCOORD3D", "Centre", **centre),
            ),
        ),
        container(
            "",
            text("History", "Seen by"),
            item("PNAME", "Physician", PersonName="Lee^^^Dr."),
            text("History", "for"),
            number("Duration", "3", code("d", "UCUM", "day")),
            text("History", "."),
            continuity="CONTINUOUS",
        ),
        item("WAVEFORM", "ECG", ReferencedSOPSequence=[waveform]),
        item("COMPOSITE", "Earlier", ReferencedSOPSequence=[composite]),
        text("결론", "추적 검사 권고", again),
    )
