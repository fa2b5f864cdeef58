"""Native pixel data: where they begin, and which of their bits count."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian

from benchmarks.studies import real_file
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.source import FrameSource
from gateway.middleware.header import read_header
from gateway.middleware.refusal import HeaderError
from gateway.middleware.summary import summarise

Samples = NDArray[Any]


def _ct(folder: Path, cells: Samples, **more: Any) -> Path:
    """A real CT slice's header around other pixel cells of 16 bits."""
    dataset = dcmread(real_file("693_UNCR.dcm"))
    dataset.Rows, dataset.Columns = cells.shape
    dataset.PixelData = cells.tobytes()
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    path = folder / "native.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def _read(path: Path) -> Samples:
    with FrameSource(path, RenderLimits()) as source:
        return next(source.frames(0, 1))[0]


@pytest.mark.parametrize("dirty", [0, 0x9000])
@pytest.mark.parametrize("signed", [0, 1])
def test_bits_above_bits_stored_do_not_count(signed: int, dirty: int, tmp_path: Path) -> None:
    values = np.arange(1 << 12).reshape(64, 64)
    cells = (values | dirty).astype(np.uint16)
    path = _ct(tmp_path, cells, BitsStored=12, HighBit=11, PixelRepresentation=signed)
    samples = _read(path)
    expected = np.where(values >= 1 << 11, values - (1 << 12), values) if signed else values
    assert samples.dtype == (np.int16 if signed else np.uint16)
    assert np.array_equal(samples, expected)
    assert np.array_equal(samples, dcmread(path).pixel_array)


def test_negative_values_stay_as_they_are(tmp_path: Path) -> None:
    values = np.arange(-(1 << 11), 1 << 11, dtype=np.int16).reshape(64, 64)
    path = _ct(tmp_path, values, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert np.array_equal(_read(path), values)


@pytest.mark.parametrize("signed", [0, 1])
def test_two_cells_of_12_bits_in_three_bytes(signed: int, tmp_path: Path) -> None:
    values = np.arange(1 << 12).reshape(64, 64)
    number = sum(int(value) << 12 * at for at, value in enumerate(values.flat))
    path = _ct(tmp_path, values.astype(np.uint16), PixelRepresentation=signed)
    dataset = dcmread(path)
    dataset.BitsAllocated = dataset.BitsStored = 12
    dataset.HighBit, dataset.PixelData = 11, number.to_bytes(64 * 64 * 12 // 8, "little")
    dataset.save_as(path, enforce_file_format=True)
    assert np.array_equal(_read(path), np.where(values >= 1 << 11, values - (1 << 12), values) if signed else values)
    dataset.PixelData = dataset.PixelData[:-2]
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(Refusal, match="decode"):
        _read(path)


@pytest.mark.parametrize("filling", [2, *range((1 << 16) - 3000, 1 << 16, 250), 1 << 17])
def test_a_header_of_any_length_leads_to_the_pixels(filling: int, tmp_path: Path) -> None:
    """It may end before, around and behind what is read at once."""
    cells = np.arange(1 << 12, dtype=np.uint16).reshape(64, 64)
    path = _ct(tmp_path, cells, PixelRepresentation=0)
    dataset = dcmread(path)
    dataset.add_new(0x00091001, "OB", bytes(filling))
    dataset.add_new(0x00291002, "LO", "behind")
    dataset.save_as(path, enforce_file_format=True)
    with FrameSource(path, RenderLimits()) as source:
        assert source.header[0x00291002].value == "behind"
        assert source.header[0x00091001].value == bytes(filling)
        samples, _ = next(source.frames(0, 1))
    assert np.array_equal(samples, cells)


_REFERENCED = b"\x08\x00\x50\x11\x1a\x00\x00\x001.2.840.10008.5.1.4.1.1.2\0"
_ITEM, _END = b"\xfe\xff\x00\xe0\x22\x00\x00\x00", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_UNKNOWN = (0x00091001, 0x00291001)


def _big_endian(folder: Path, inside: bytes, cells: Samples) -> Path:
    """With two sequences of VR UN and undefined length, of which ``inside`` is all that follows the length."""
    path = _ct(folder, cells, PixelRepresentation=0)
    dataset = dcmread(path)
    for tag in _UNKNOWN:
        dataset.add_new(tag, "UN", inside)
    dataset.PixelData = cells.astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dcmwrite(path, dataset, implicit_vr=False, little_endian=False)
    whole = path.read_bytes()
    for tag in _UNKNOWN:
        head = tag.to_bytes(4, "big") + b"UN\0\0"
        assert whole.count(head) == 1
        whole = whole.replace(head + len(inside).to_bytes(4, "big"), head + b"\xff" * 4)
    path.write_bytes(whole)
    return path


def test_a_sequence_of_vr_un_inside_big_endian_is_little_endian(tmp_path: Path) -> None:
    """PS3.5 section 6.2.2; where a writer kept to the byte order of the data set, that is read too."""
    cells = np.arange(1 << 12, dtype=np.uint16).reshape(64, 64)
    in_big = b"\xff\xfe\xe0\x00\x00\x00\x00\x22\x00\x08\x11\x50UI\x00\x1a" + _REFERENCED[8:]
    for inside in (_ITEM + _REFERENCED + _END, in_big + b"\xff\xfe\xe0\xdd\x00\x00\x00\x00"):
        path = _big_endian(tmp_path, inside, cells)
        assert read_header(path).Modality == "CT"
        assert summarise(path, with_identity=False)["Rows"] == "64"
        with FrameSource(path, RenderLimits()) as source:
            for tag in _UNKNOWN:
                assert [item.ReferencedSOPClassUID for item in source.header[tag].value] == [CTImageStorage]
            samples, _ = next(source.frames(0, 1))
        assert np.array_equal(samples, cells)


def test_a_sequence_of_vr_un_that_does_not_end_is_refused(tmp_path: Path) -> None:
    cells = np.arange(1 << 12, dtype=np.uint16).reshape(64, 64)
    path = _big_endian(tmp_path, _ITEM + _REFERENCED, cells)
    with pytest.raises(HeaderError, match="a sequence is broken"):
        read_header(path)
    with pytest.raises(Refusal, match="malformed"):
        FrameSource(path, RenderLimits())
