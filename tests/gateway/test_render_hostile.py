"""Files that are meant to hurt: each is refused with a reason, and the next job is served."""

from __future__ import annotations

import asyncio
import io
import os
import random
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, HTJ2KLossless, JPEGBaseline8Bit, RLELossless, generate_uid

from gateway.management.rendering.limits import RenderLimits
from gateway.management.workers import RenderJob, RenderPool, RenderRefused
from tests.support.workers import render_workers

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DEFLATED = "1.2.840.10008.1.2.1.99"


def image(rows: int, columns: int, **more: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SECONDARY_CAPTURE, generate_uid()
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
        {"video"},
    ),
    "no DICOM": (lambda: random.Random(1).randbytes(5000), {"malformed", "no-pixels"}),
    "empty": (lambda: b"", {"malformed", "no-pixels"}),
}


def peak_bytes(pid: int) -> int:
    """Peak resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) << 10


def attack(files: dict[str, Path], limits: RenderLimits) -> dict[str, tuple[str, int]]:
    """Reason and the worker's peak resident size after each file; an honest slice is served after every one."""
    honest = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(honest, str)

    async def main() -> dict[str, tuple[str, int]]:
        outcome: dict[str, tuple[str, int]] = {}
        async with asyncio.timeout(90), RenderPool(1, limits) as pool:
            for name, path in files.items():
                reason = "rendered"
                try:
                    async for _ in pool.render(RenderJob(path, thumbnail_side=64)):
                        pass
                except RenderRefused as refused:
                    reason = refused.reason
                    assert "SECRET" not in str(refused) and str(path) not in str(refused)
                served = [frame async for frame in pool.render(RenderJob(Path(honest)))]
                assert len(served) == 1
                assert len(pool.pids) == 1
                outcome[name] = reason, peak_bytes(pool.pids[0])
        return outcome

    outcome = asyncio.run(main())
    assert not render_workers()
    return outcome


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    files = {}
    for index, (name, (build, _)) in enumerate(BOMBS.items()):
        files[name] = tmp_path / f"{index}.dcm"
        files[name].write_bytes(build())
    outcome = attack(files, RenderLimits(wall_s_per_frame=20))
    for name, (_, allowed) in BOMBS.items():
        reason, peak = outcome[name]
        assert reason in allowed, f"{name}: {reason}"
        assert peak < 400 << 20, f"{name}: {peak >> 20} MiB"


def test_cpu_is_limited_for_each_frame(tmp_path: Path) -> None:
    path = tmp_path / "palette.dcm"
    path.write_bytes(palette_that_never_ends())
    assert attack({"palette": path}, RenderLimits(cpu_s_per_frame=1))["palette"][0] == "timeout"


def test_damaged_htj2k_is_refused_or_rendered_never_hung(tmp_path: Path) -> None:
    slice_file = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(slice_file, str)
    pixels = dcmread(slice_file).pixel_array
    whole = imagecodecs.htj2k_encode(pixels.astype(np.uint16) & 0xFFF)
    rng = random.Random(7)
    files = {}
    for index in range(24):
        frame = bytearray(whole)
        for _ in range(3):
            frame[rng.randrange(min(len(frame), 200) if index % 2 else len(frame))] = rng.randrange(256)
        dataset = image(128, 128, BitsAllocated=16, BitsStored=12, HighBit=11, PixelData=encapsulate([bytes(frame)]))
        files[str(index)] = tmp_path / f"{index}.dcm"
        files[str(index)].write_bytes(part10(dataset, HTJ2KLossless))
    outcome = attack(files, RenderLimits(cpu_s_per_frame=2, wall_s_per_frame=4))
    reasons = {reason for reason, _ in outcome.values()}
    assert reasons <= {"rendered", "decode", "memory", "crashed", "timeout"}
    assert reasons != {"rendered"}, "nothing was damaged enough to prove anything"


def test_truncated_streams_are_refused_rather_than_filled_with_grey(tmp_path: Path) -> None:
    files = {}
    for name in ("JPGExtended.dcm", "JPEG-LL.dcm", "examples_ybr_color.dcm", "JPEG2000.dcm", "emri_small_RLE.dcm"):
        found = get_testdata_file(name, download=False)
        assert isinstance(found, str)
        dataset = dcmread(found)
        from pydicom.encaps import get_frame

        frame = get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames", 1)))
        dataset.PixelData = encapsulate([frame[: len(frame) // 2]])
        dataset.NumberOfFrames = 1
        files[name] = tmp_path / name
        dataset.save_as(files[name])
    outcome = attack(files, RenderLimits())
    # OpenJPEG makes what it can of a cut codestream: a coarser picture, which is what JPEG 2000 is for
    assert {name for name, (reason, _) in outcome.items() if reason != "decode"} <= {"JPEG2000.dcm"}


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path: Path) -> None:
    outcome = attack({"missing": tmp_path / "missing", "folder": tmp_path}, RenderLimits())
    assert {reason for reason, _ in outcome.values()} == {"unreadable"}


@pytest.mark.corpus
@pytest.mark.skipif("MPACS_CORPUS" not in os.environ, reason="MPACS_CORPUS is not set")
def test_the_malformed_folder(record_property: Callable[[str, object], None]) -> None:
    files = {path.name: path for path in sorted(Path(os.environ["MPACS_CORPUS"], "malformed").iterdir())}
    outcome = attack(files, RenderLimits())
    reasons = [reason for reason, _ in outcome.values()]
    record_property("reasons", {reason: reasons.count(reason) for reason in set(reasons)})
    assert set(reasons) <= {"rendered", "malformed", "no-pixels", "decode"}
    assert max(peak for _, peak in outcome.values()) < 200 << 20
