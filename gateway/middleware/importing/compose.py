"""The header of what was made from a picture or document: Secondary Capture (PS3.3 A.8), Encapsulated PDF (A.45.1)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    VLPhotographicImageStorage,
)

from gateway.middleware.importing.kinds import Kind
from gateway.middleware.importing.protocol import Image
from gateway.middleware.importing.subject import Subject, Wishes, uid

MANUFACTURER = "mPACS Edge"
_PICTURES, _DOCUMENTS = 9001, 9002
"""SeriesNumbers, behind those of the modalities."""
_CHANGES = {
    "orientation": "turned upright as the file says",
    "alpha": "transparency laid over white",
    "depth": "sixteen bits a sample reduced to eight",
    "palette": "palette resolved to RGB",
    "inverted": "white-is-zero inverted",
    "scaled": "samples of fewer than eight bits scaled to eight",
    "colour-space": "converted to RGB",
}


@dataclass(frozen=True, slots=True)
class Original:
    """The file that an instance is made from."""

    kind: Kind
    digest: str
    """Hex SHA-256."""
    size_bytes: int
    modified_at: float
    """POSIX seconds."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance stands."""

    subject: Subject
    StudyInstanceUID: str
    lead: str
    """Digest of the first file that came with this one: what came together is one series."""
    number: int
    wishes: Wishes


def SOPInstanceUID(original: Original, StudyInstanceUID: str, index: int) -> str:
    """Of the ``index``-th instance that is made from a file for a study."""
    return uid("instance", StudyInstanceUID, original.digest, str(index))


def image(original: Original, place: Place, index: int, head: Image) -> tuple[Dataset, str]:
    """All of an image but its pixel data, and its transfer syntax."""
    if place.wishes.photographer and len(head.pages) == 1 and head.bits_allocated == 8:
        return _photograph(original, place, index, head)
    taken = head.taken or _digits(place.wishes.taken_at or original.modified_at)
    modality = "XC" if original.kind is Kind.JPEG and head.make else "OT"
    data = _common(original, place, index, _image_class(head), place.wishes.modality or modality, taken)
    made = _changes(head)
    data.ImageType = ["DERIVED" if made else "ORIGINAL", "SECONDARY"]
    if made:
        data.DerivationDescription = made
    data.ContentDate, data.ContentTime = taken[:8], taken[8:]
    data.Laterality = None  # which nobody knows here
    data.PatientOrientation = None
    # Nobody has looked for names in the pixels: what is not known to be free of them is treated as if it were not.
    data.BurnedInAnnotation = "NO" if place.wishes.no_identity_in_pixels else "YES"
    data.ConversionType = "DI" if modality == "XC" else "WSD"
    data.DateOfSecondaryCapture, data.TimeOfSecondaryCapture = taken[:8], taken[8:]
    data.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    data.SecondaryCaptureDeviceManufacturerModelName = "import"
    data.SecondaryCaptureDeviceSoftwareVersions = _version()
    _acquired_by(data, head, taken)
    _lossiness(data, head)
    _pixel_module(data, head)
    if len(head.pages) > 1:
        _multi_frame(data, head)
    return data, JPEGBaseline8Bit if head.is_jpeg else ExplicitVRLittleEndian


def _photograph(original: Original, place: Place, index: int, head: Image) -> tuple[Dataset, str]:
    """A photograph of the patient: VL Photographic Image (PS3.3 A.32.4), as IHE's Encounter-Based Imaging has it."""
    taken = head.taken or _digits(place.wishes.taken_at or original.modified_at)
    data = _common(original, place, index, VLPhotographicImageStorage, "XC", taken)
    made = _changes(head)
    data.ImageType = ["DERIVED" if made else "ORIGINAL", "PRIMARY"]
    if made:
        data.DerivationDescription = made
    data.ContentDate, data.ContentTime = taken[:8], taken[8:]
    data.AcquisitionDateTime = taken
    data.OperatorsName = place.wishes.photographer[:64]
    data.Laterality = None  # which nobody knows here
    data.PatientOrientation = None
    data.AcquisitionContextSequence = []
    data.BurnedInAnnotation = "YES"  # nobody has looked
    _acquired_by(data, head, taken)
    _lossiness(data, head)
    _pixel_module(data, head)
    return data, JPEGBaseline8Bit if head.is_jpeg else ExplicitVRLittleEndian


def _acquired_by(data: Dataset, head: Image, taken: str) -> None:
    """The camera, where the file names one."""
    if head.make or head.model:
        data.ContributingEquipmentSequence = [
            *data.ContributingEquipmentSequence,
            _equipment("109101", "Acquisition Equipment", head.make, head.model, taken),
        ]


def document(original: Original, place: Place, size: int) -> tuple[Dataset, str]:
    """All of an encapsulated PDF but the document (PS3.3 C.24)."""
    taken = _digits(place.wishes.taken_at or original.modified_at)
    data = _common(original, place, 0, EncapsulatedPDFStorage, place.wishes.modality or "DOC", taken)
    data.ContentDate, data.ContentTime = taken[:8], taken[8:]
    data.AcquisitionDateTime = None
    data.BurnedInAnnotation = "NO" if place.wishes.no_identity_in_pixels else "YES"
    data.ConversionType = "WSD"
    data.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    data.SecondaryCaptureDeviceManufacturerModelName = "import"
    data.SecondaryCaptureDeviceSoftwareVersions = _version()
    data.DocumentTitle = place.wishes.description or None
    data.ConceptNameCodeSequence = []
    data.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data.EncapsulatedDocumentLength = size
    return data, ExplicitVRLittleEndian


def _common(original: Original, place: Place, index: int, sop_class: str, modality: str, taken: str) -> Dataset:
    """Patient, General Study, General Series, General Equipment, SOP Common (PS3.3 C.7.1 to C.7.5, C.12.1)."""
    subject, study = place.subject, place.subject.study
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = SOPInstanceUID(original, place.StudyInstanceUID, index)
    data.PatientName = subject.PatientName
    data.PatientID = subject.PatientID
    if subject.IssuerOfPatientID:
        data.IssuerOfPatientID = subject.IssuerOfPatientID
    data.PatientBirthDate = subject.PatientBirthDate
    data.PatientSex = subject.PatientSex
    data.StudyInstanceUID = place.StudyInstanceUID
    data.StudyDate, data.StudyTime = study.get("StudyDate", taken[:8]), study.get("StudyTime", taken[8:])
    for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName"):
        setattr(data, keyword, study.get(keyword, ""))
    for keyword in ("StudyDescription", "CurrentPatientLocation", "TimezoneOffsetFromUTC"):
        if study.get(keyword):
            setattr(data, keyword, study[keyword])
    data.SeriesInstanceUID = uid("series", place.StudyInstanceUID, place.lead, modality)
    data.SeriesNumber = _DOCUMENTS if original.kind is Kind.PDF else _PICTURES
    data.Modality = modality
    data.SeriesDescription = place.wishes.description or f"Imported {original.kind.upper()}"
    data.InstanceNumber = place.number
    data.Manufacturer = MANUFACTURER
    data.ContributingEquipmentSequence = [_importer(original)]
    return data


def _importer(original: Original) -> Dataset:
    """This gateway, and what it was given: whoever has the file can show that it is the one."""
    item = _equipment("MEDIM", "Portable Media Importer Equipment", MANUFACTURER, "import", "")
    item.SoftwareVersions = _version()
    item.ContributionDescription = (
        f"Made from a {original.kind.upper()} of {original.size_bytes} bytes, SHA-256 {original.digest}"
    )
    return item


def _equipment(code: str, meaning: str, manufacturer: str, model: str, at: str) -> Dataset:
    """An item of CID 7005 (PS3.3 C.12.1.1.5)."""
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code, "DCM", meaning
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = manufacturer or "unknown"
    if model:
        item.ManufacturerModelName = model
    if at:
        item.ContributionDateTime = at
    return item


def _image_class(head: Image) -> str:
    if len(head.pages) == 1:
        return SecondaryCaptureImageStorage
    if head.samples == 3:
        return MultiFrameTrueColorSecondaryCaptureImageStorage
    if head.bits_allocated == 8:
        return MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    return MultiFrameGrayscaleWordSecondaryCaptureImageStorage


def _changes(head: Image) -> str:
    return "; ".join(_CHANGES[change] for change in head.changes)


def _lossiness(data: Dataset, head: Image) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5)."""
    data.LossyImageCompression = "01" if head.ratio_x100 else "00"
    if head.ratio_x100:
        data.LossyImageCompressionRatio = f"{head.ratio_x100 / 100:.2f}"
        data.LossyImageCompressionMethod = "ISO_10918_1"


def _pixel_module(data: Dataset, head: Image) -> None:
    """Image Pixel (PS3.3 C.7.6.3)."""
    data.SamplesPerPixel = head.samples
    data.PhotometricInterpretation = head.photometric
    if head.samples == 3:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = head.rows, head.columns
    data.BitsAllocated, data.BitsStored, data.HighBit = head.bits_allocated, head.bits_stored, head.bits_stored - 1
    data.PixelRepresentation = 0
    if head.aspect:
        data.PixelAspectRatio = list(head.aspect)
    if head.samples == 1 and (head.intercept or len(head.pages) > 1):
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = str(head.intercept), "1", "US"


def _multi_frame(data: Dataset, head: Image) -> None:
    """Frames by the pages that they were (PS3.3 C.8.6.3, C.8.6.4)."""
    data.NumberOfFrames = len(head.pages)
    data.FrameIncrementPointer = Tag("PageNumberVector")
    data.PageNumberVector = head.pages
    if head.samples == 1:
        data.PresentationLUTShape = "IDENTITY"


def _digits(at: float) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.localtime(at))


def _version() -> str:
    try:
        return version("mpacs-edge")
    except PackageNotFoundError:
        return "unknown"
