"""Real streams of moving pictures, encoded by FFmpeg, and the DICOM files that they come in."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from benchmarks.studies import HONG, real_file

VIDEO_ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
FRAMES, ROWS, COLUMNS = 12, 96, 128

STREAMS: dict[str, tuple[str, str, str]] = {
    "mpeg-2": ("mpeg2video", "mpeg2video", "1.2.840.10008.1.2.4.100"),
    "program": ("vob", "mpeg2video", "1.2.840.10008.1.2.4.101"),
    "mp4": ("mp4", "libx264", "1.2.840.10008.1.2.4.102"),
    "transport": ("mpegts", "libx264", "1.2.840.10008.1.2.4.103"),
    "h264": ("h264", "libx264", "1.2.840.10008.1.2.4.104"),
    "h265": ("hevc", "libx265", "1.2.840.10008.1.2.4.107"),
    "h265 in mp4": ("mp4", "libx265", "1.2.840.10008.1.2.4.108"),
}
"""By name: FFmpeg's container and encoder, and DICOM's transfer syntax."""


def stream(name: str) -> bytes:
    """Frames of a real ultrasound, as a stream of this kind."""
    container, codec, _ = STREAMS[name]
    frames = pydicom.dcmread(real_file("examples_ybr_color.dcm")).pixel_array[:, ::2, ::2][:, :ROWS, :COLUMNS]
    out = io.BytesIO()
    with av.open(out, "w", format=container) as opened:
        track: Any = opened.add_stream(codec, rate=25)
        track.width, track.height, track.pix_fmt = COLUMNS, ROWS, "yuv420p"
        for number in range(FRAMES):
            rgb = np.ascontiguousarray(frames[number % len(frames)])
            opened.mux(track.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        opened.mux(track.encode())
    return out.getvalue()


def frames_in(data: bytes) -> int:
    """How many pictures another program decodes from it."""
    with av.open(io.BytesIO(data)) as opened:
        return sum(1 for _ in opened.decode(video=0))


def dataset(data: bytes, transfer_syntax: str, fragment_bytes: int = 4096, **more: Any) -> Dataset:
    """An endoscopy's video; the stream in fragments of even length, the last one padded (PS3.5 A.4)."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = transfer_syntax
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = VIDEO_ENDOSCOPIC, "1.2.826.0.1.3680043.8.498.9.1"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.9", "1.2.826.0.1.3680043.8.498.9.2"
    made.PatientID, made.PatientName, made.PatientBirthDate = HONG.identifier, HONG.name, HONG.birth_date
    made.Modality, made.InstanceNumber, made.NumberOfFrames = "ES", 1, FRAMES
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.StudyID = "20260101", "120000", "", "1"
    made.Rows, made.Columns, made.SamplesPerPixel, made.PlanarConfiguration = ROWS, COLUMNS, 3, 0
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PhotometricInterpretation, made.FrameTime, made.CineRate = "YBR_PARTIAL_420", "40", 25
    made.LossyImageCompression, made.LossyImageCompressionRatio = "01", "37.5"
    for keyword, value in more.items():
        setattr(made, keyword, value)
    pieces = [data[at : at + fragment_bytes] for at in range(0, len(data), fragment_bytes)]
    pieces[-1] += b"\0" * (len(pieces[-1]) % 2)
    # encapsulate() takes frames, one fragment each here: a row of items is all that a stream is
    made.PixelData = encapsulate(pieces, has_bot=False)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


def save(made: Dataset, path: Path) -> Path:
    """As a Part 10 file."""
    made.save_as(path, enforce_file_format=True)
    return path


def padded(data: bytes) -> bytes:
    """The stream as it is stored."""
    return data + b"\0" * (len(data) % 2)
