"""Native pixel data: where they begin, and which of their bits count."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from benchmarks.studies import real_file
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.source import FrameSource

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
