"""Grayscale presentation states about real images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

GRAYSCALE_SOFTCOPY = "1.2.840.10008.5.1.4.1.1.11.1"
SERIES = "1.2.826.0.1.3680043.8.498.8.2"


def state(images: Sequence[tuple[str, Sequence[int]]], uid: str = f"{SERIES}.1", **more: Any) -> Dataset:
    """About these images (SOPInstanceUID, and frames from 1 on or none): inverted, with a window of its own."""
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedImageSequence = "1.2.3", []
    for image, frames in images:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", image
        if frames:
            reference.ReferencedFrameNumber = list(frames)
        series.ReferencedImageSequence.append(reference)
    window = Dataset()
    window.WindowCenter, window.WindowWidth = 40, 400
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = GRAYSCALE_SOFTCOPY, uid
    made.SeriesInstanceUID, made.Modality, made.InstanceNumber, made.ContentLabel = SERIES, "PR", 7, "KEY_IMAGE"
    made.ReferencedSeriesSequence, made.SoftcopyVOILUTSequence = [series], [window]
    made.PresentationLUTShape = "INVERSE"
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def of(image: Path, made: Dataset) -> Dataset:
    """Of the same patient and study as an image's file."""
    header = pydicom.dcmread(image, stop_before_pixels=True)
    made.SpecificCharacterSet = header.SpecificCharacterSet
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyDate"):
        setattr(made, keyword, header.get(keyword))
    return made


def save(made: Dataset, path: Path) -> Path:
    """As a Part 10 file."""
    made.save_as(path, enforce_file_format=True)
    return path
