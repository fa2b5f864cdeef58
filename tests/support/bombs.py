"""Files that are meant to hurt, each with the reasons for which a worker may refuse it."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, HTJ2KLossless, JPEGBaseline8Bit, RLELossless, generate_uid

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DEFLATED = "1.2.840.10008.1.2.1.99"


def image(rows: int, columns: int, **more: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SECONDARY_CAPTURE, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID = "Hong^Gildong", "SECRET-1"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def part10(dataset: Dataset, transfer_syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta = meta
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = transfer_syntax not in (ExplicitVRLittleEndian, DEFLATED)
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def rle_frame(data: bytes) -> bytes:
    return struct.pack("<II56x", 1, 64) + data


def rle_bomb(rows: int, columns: int) -> bytes:
    return part10(image(rows, columns, PixelData=encapsulate([rle_frame(b"\x81\x00" * 10)])), RLELossless)


def deflate_bomb() -> bytes:
    """One megabyte that inflates to about a gigabyte, behind an honest header."""
    small = part10(image(16, 16, PixelData=bytes(256)), ExplicitVRLittleEndian)
    start = 132 + 12 + struct.unpack("<L", small[140:144])[0]
    meta = part10(image(16, 16, PixelData=bytes(256)), DEFLATED)
    meta = meta[: 132 + 12 + struct.unpack("<L", meta[140:144])[0]]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (
        meta
        + b"".join([packer.compress(small[start:]), *(packer.compress(bytes(1 << 20)) for _ in range(1024))])
        + (packer.flush())
    )


def nested(depth: int) -> bytes:
    """Sequences of undefined length inside each other."""
    head = part10(image(16, 16), ExplicitVRLittleEndian)
    opening = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return head + opening * depth


def jpeg_of_another_size() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (9000, 9000)).save(out, "JPEG")
    return part10(image(16, 16, PixelData=encapsulate([out.getvalue()])), JPEGBaseline8Bit)


def htj2k_of_another_size() -> bytes:
    frame = bytearray(imagecodecs.htj2k_encode(np.zeros((64, 64), np.uint8)))
    at = frame.index(b"\xff\x51")  # SIZ: Xsiz and Ysiz stand behind Lsiz and Rsiz
    frame[at + 6 : at + 14] = struct.pack(">II", 60000, 60000)
    frame[at + 22 : at + 30] = struct.pack(">II", 60000, 60000)
    return part10(image(64, 64, PixelData=encapsulate([bytes(frame)])), HTJ2KLossless)


def palette_that_never_ends() -> bytes:
    """Two million linear segments of one entry each: seconds of work in a few megabytes."""
    table = b"\x00\x01\x00" + b"\x01\x01\x01\x01\x01\x02" * 1_000_000
    dataset = image(16, 16, PhotometricInterpretation="PALETTE COLOR", PixelData=bytes(256))
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", table + b"\x00")
    return part10(dataset, ExplicitVRLittleEndian)


BOMBS: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "RLE of 734 bytes for 4.2 GB": (lambda: rle_bomb(65535, 65535), {"too-large"}),
    "RLE within the limits of a frame": (lambda: rle_bomb(6000, 6000), {"decode"}),
    "deflated gigabyte": (deflate_bomb, {"too-large"}),
    "nested sequences": (lambda: nested(20_000), {"malformed"}),
    "JPEG of another size": (jpeg_of_another_size, {"decode", "memory"}),
    "HTJ2K of another size": (htj2k_of_another_size, {"decode", "memory", "crashed"}),
    "many frames": (
        lambda: part10(image(16, 16, NumberOfFrames=2_000_000_000, PixelData=bytes(256)), ExplicitVRLittleEndian),
        {"too-large"},
    ),
    "frames that are not there": (
        lambda: part10(image(16, 16, NumberOfFrames=1000, PixelData=bytes(256)), ExplicitVRLittleEndian),
        {"decode"},
    ),
    "bits allocated": (
        lambda: part10(image(16, 16, BitsAllocated=12, PixelData=bytes(256)), ExplicitVRLittleEndian),
        {"decode", "malformed", "unsupported"},
    ),
    "zero rows": (lambda: part10(image(0, 16, PixelData=bytes(256)), ExplicitVRLittleEndian), {"malformed"}),
    "unknown transfer syntax": (
        lambda: part10(image(16, 16, PixelData=encapsulate([bytes(256)])), "1.2.840.10008.1.2.4.94"),
        {"unsupported"},
    ),
    "video": (
        lambda: part10(image(16, 16, PixelData=encapsulate([bytes(256)])), "1.2.840.10008.1.2.4.100"),
        {"video", "unsupported"},
    ),
    "palette that never ends": (palette_that_never_ends, {"timeout"}),
    "no DICOM": (lambda: random.Random(1).randbytes(5000), {"malformed", "no-pixels"}),
    "empty": (lambda: b"", {"malformed", "no-pixels"}),
}
