"""Files that are meant to hurt: each is refused with a reason, and the next job is served."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless

from gateway.management.rendering.limits import RenderLimits
from gateway.management.workers import RenderJob, RenderPool, RenderRefused
from tests.support.bombs import BOMBS, image, palette_that_never_ends, part10
from tests.support.workers import render_workers

if TYPE_CHECKING:
    from collections.abc import Callable


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
