"""Studies for the demo, the tests and the benchmarks, made from real DICOM files that PyPI packages bring.

Pixels are real; identities are invented here. Where ``MPACS_CORPUS`` names the corpus, a long CT is walked through its
real series of 104 slices, otherwise through the CT slices that pydicom and pydicom-data bring. Never noise: noise does
not compress, and figures over it would be about nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import apply_rescale
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

_HEAD_SERIES = "series_ct_head_philips"
_CT_FILES = ("693_UNCR.dcm", "J2K_pixelrep_mismatch.dcm", "explicit_VR-UN.dcm")


@dataclass(frozen=True)
class Patient:
    """An invented patient. ``name`` in DICOM's form, with Korean groups where there are any."""

    identifier: str
    name: str
    birth_date: str
    sex: str


HONG = Patient("DEMO-1001", "Hong^Gildong=洪^吉童=홍^길동", "19710301", "M")
LEE = Patient("DEMO-1002", "Lee^Younghee=李^英姬=이^영희", "19850817", "F")


@dataclass(frozen=True)
class Made:
    """A study that lies in files, ready to be sent."""

    title: str
    StudyInstanceUID: str
    files: tuple[Path, ...]


def relabel(dataset: Dataset, patient: Patient, study: str, series: str, number: int, description: str) -> Dataset:
    """Give a real data set an invented identity and new UIDs, which are the same at every run."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName = patient.identifier, patient.name
    dataset.PatientBirthDate, dataset.PatientSex = patient.birth_date, patient.sex
    dataset.IssuerOfPatientID = ""
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["mpacs demo study", study])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["mpacs demo series", study, series])
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["mpacs demo instance", study, series, str(number)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.AccessionNumber = f"DEMO{abs(hash_of(study)):08d}"
    dataset.StudyID, dataset.InstanceNumber = "1", number
    dataset.StudyDescription = description
    dataset.ReferringPhysicianName = "Kim^Minsu"
    dataset.StudyDate, dataset.StudyTime = "20261124", "093000"
    return dataset


def hash_of(text: str) -> int:
    """A small number that is the same at every run."""
    return int.from_bytes(text.encode()[-4:].rjust(4, b"\0"), "big") % 10**8


def _save(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def real_file(name: str) -> Path:
    """A file of pydicom's or pydicom-data's."""
    found = get_testdata_file(name, download=False)
    if not isinstance(found, str):
        raise FileNotFoundError(f"{name} does not come with the installed packages")
    return Path(found)


def _real_series(folder: str) -> list[Path]:
    root = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests" / folder
    return sorted(path for path in root.iterdir() if path.is_file())


def _study(folder: Path, title: str, patient: Patient, description: str, sources: Iterable[Path]) -> Made:
    files = []
    for number, source in enumerate(sources, 1):
        dataset = pydicom.dcmread(source)
        relabel(dataset, patient, title, str(dataset.get("SeriesNumber", 1)), number, description)
        files.append(_save(dataset, folder / f"{title}-{number:03d}.dcm"))
    return Made(title, pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID, tuple(files))


def demo_studies(folder: Path) -> list[Made]:
    """Real CT, CR, US and MR for two invented patients, a CT of several slices among them."""
    plans: list[tuple[str, Patient, str, list[Path]]] = [
        ("chest", HONG, "Chest PA 흉부", [real_file("RG1_UNCR.dcm"), real_file("RG3_UNCR.dcm")]),
        ("echo", HONG, "Echocardiography 심초음파", [real_file("examples_ybr_color.dcm")]),
        ("mr", LEE, "MR 자기공명영상", [real_file("MR2_UNCR.dcm"), real_file("emri_small.dcm")]),
        ("mr-small", LEE, "MR series of seven slices", _real_series("98892003/MR700")),
    ]
    made = [long_ct(folder, 24, HONG, "ct", "CT 컴퓨터단층")]
    return made + [_study(folder, title, patient, text, sources) for title, patient, text, sources in plans]


def demo_report(folder: Path, made: Made, patient: Patient) -> Made:
    """A real structured report, verified, in a series of its own of ``made``; its references lead to an image there."""
    dataset = pydicom.dcmread(real_file("test-SR.dcm"))
    dataset.decode()  # before it gets another character set
    dataset.SeriesNumber, dataset.SeriesDescription = 9, "Report 판독 보고서"
    image = pydicom.dcmread(made.files[0], stop_before_pixels=True)
    relabel(dataset, patient, made.title, "9", 1, str(image.StudyDescription))
    waiting = [dataset]
    while waiting:
        item = waiting.pop()
        waiting += item.get("ContentSequence", [])
        for reference in item.ReferencedSOPSequence if item.get("ValueType") == "IMAGE" else []:
            for keyword in list(reference.dir("Referenced")):
                delattr(reference, keyword)
            reference.ReferencedSOPClassUID = image.SOPClassUID
            reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    path = _save(dataset, folder / f"{made.title}-report.dcm")
    return Made(f"{made.title}-report", made.StudyInstanceUID, (path,))


def _ct_slices() -> tuple[Dataset, list[np.ndarray]]:
    """A template and its real slices, 512 x 512 stored values each."""
    corpus = os.environ.get("MPACS_CORPUS")
    if corpus and Path(corpus, _HEAD_SERIES).is_dir():
        datasets = [pydicom.dcmread(path) for path in sorted(Path(corpus, _HEAD_SERIES).iterdir())]
        datasets.sort(key=lambda dataset: int(dataset.InstanceNumber))
        return datasets[0], [dataset.pixel_array for dataset in datasets]
    template = pydicom.dcmread(real_file(_CT_FILES[0]))
    slices = []
    for name in _CT_FILES:
        dataset = pydicom.dcmread(real_file(name))
        # Each scanner has its own rescale; in one series all slices have the template's.
        units = apply_rescale(dataset.pixel_array, dataset)
        stored = (units - float(template.RescaleIntercept)) / float(template.RescaleSlope)
        slices.append(np.clip(stored, -2000, 4000).astype(template.pixel_array.dtype))
    return template, slices


def _walk(slices: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The slices to and fro, odd passes mirrored, each pass moved by a few pixels: long, real, never twice the same."""
    passes = 0
    while True:
        order = slices if passes % 2 == 0 else [piece[:, ::-1] for piece in reversed(slices)]
        for piece in order:
            yield np.roll(piece, (passes, 2 * passes), axis=(0, 1))
        passes += 1


def long_ct(
    folder: Path,
    count: int,
    patient: Patient = HONG,
    title: str = "long-ct",
    description: str = "CT of many slices",
    change: Callable[[Dataset], None] = lambda dataset: None,
) -> Made:
    """A CT series of ``count`` slices, uncompressed, about half a megabyte each. ``change`` may edit each header."""
    template, slices = _ct_slices()
    template.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    files = []
    for number, pixels in zip(range(1, count + 1), _walk(slices), strict=False):
        dataset = relabel(template, patient, title, "1", number, description)
        dataset.set_pixel_data(
            np.ascontiguousarray(pixels),
            dataset.PhotometricInterpretation,
            dataset.BitsStored,
            generate_instance_uid=False,
        )
        dataset.ImagePositionPatient = [-125.0, -125.0, 1.25 * number]
        dataset.SliceLocation = 1.25 * number
        dataset.SeriesNumber = 1
        change(dataset)
        files.append(_save(dataset, folder / f"{title}-{number:04d}.dcm"))
    return Made(title, str(template.StudyInstanceUID), tuple(files))
