"""Rendering against DCMTK's dcmj2pnm, which is told the same window, and against uncompressed twins of files."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from gateway.management.rendering.against import Comparison, compare, read_pnm, window_options
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.render import Renderer, render_frame
from gateway.management.rendering.source import FrameSource
from gateway.management.rendering.survey import DIFFERS_FILE, WITHIN, Survey, files, known_differences
from gateway.management.workers import RenderJob, RenderPool

if TYPE_CHECKING:
    from numpy.typing import NDArray

needs_dcmtk = pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed")
needs_corpus = pytest.mark.skipif("MPACS_CORPUS" not in os.environ, reason="MPACS_CORPUS is not set")

PYPI_FILES = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "emri_small.dcm", "emri_small_RLE.dcm", "emri_small_big_endian.dcm",
    "emri_small_jpeg_ls_lossless.dcm", "MR2_UNCR.dcm", "RG1_UNCR.dcm", "RG3_UNCR.dcm", "mlut_18.dcm", "vlut_04.dcm",
    "MR-SIEMENS-DICOM-WithOverlays.dcm", "examples_overlay.dcm", "JPGExtended.dcm",
    "JPEG-lossy.dcm", "JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm", "image_dfl.dcm", "rtdose.dcm", "liver_1frame.dcm",
    "OT-PAL-8-face.dcm", "examples_palette.dcm", "OBXXXX1A.dcm", "OBXXXX1A_rle.dcm",
    "SC_rgb.dcm", "SC_rgb_16bit.dcm", "SC_rgb_expb.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm",
    "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd_jpeg.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_jpeg_no_color_transform.dcm", "SC_jpeg_no_color_transform_2.dcm", "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm", "SC_ybr_full_uncompressed.dcm", "SC_ybr_full_422_uncompressed.dcm",
    "color-px.dcm", "color-pl.dcm", "color3d_jpeg_baseline.dcm", "examples_rgb_color.dcm", "examples_ybr_color.dcm",
    "US1_UNCR.dcm",
]  # fmt: skip

OTHERWISE = ["rtdose_expb.dcm", "rtdose_expb_1frame.dcm"]
"""Among the known differences; the other files of that list are not in the package index."""


def sample(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str), f"{name} is not installed"
    return Path(found)


def compared(path: Path, folder: Path) -> Comparison:
    return compare(path, RenderLimits(), folder, lambda: None)


@pytest.mark.peer("dcmtk")
@needs_dcmtk
@pytest.mark.parametrize("name", PYPI_FILES)
def test_within_one_grey_level_of_dcmtk(name: str, tmp_path: Path) -> None:
    path = sample(name)
    found = compared(path, tmp_path)
    with FrameSource(path, RenderLimits()) as source:
        assert found.frames == source.number_of_frames
    assert 0 <= found.worst <= WITHIN, found


@pytest.mark.peer("dcmtk")
@needs_dcmtk
def test_known_differences_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    rows = [line.split("\t") for line in DIFFERS_FILE.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert len(rows) <= 5
    assert all(clause.startswith("PS3.") and len(why) > 10 for _, _, clause, why in rows)
    for name in OTHERWISE:
        assert hashlib.sha256(sample(name).read_bytes()).hexdigest() in known_differences()
        assert compared(sample(name), tmp_path).worst > WITHIN


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("693_J2KR.dcm", "693_UNCR.dcm"),
        ("MR2_J2KR.dcm", "MR2_UNCR.dcm"),
        ("RG1_J2KR.dcm", "RG1_UNCR.dcm"),
        ("RG3_J2KR.dcm", "RG3_UNCR.dcm"),
        ("US1_J2KR.dcm", "US1_UNCR.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("emri_small_jpeg_2k_lossless.dcm", "emri_small.dcm"),
        ("emri_small_RLE.dcm", "emri_small.dcm"),
        ("OBXXXX1A_rle.dcm", "OBXXXX1A.dcm"),
        ("gdcm-US-ALOKA-16_big.dcm", "gdcm-US-ALOKA-16.dcm"),  # segmented palettes
        ("rtdose_expb.dcm", "rtdose.dcm"),
        ("rtdose_rle.dcm", "rtdose.dcm"),
        ("liver_expb.dcm", "liver.dcm"),
    ],
)
def test_lossless_files_render_like_their_uncompressed_twins(name: str, twin: str) -> None:
    np.testing.assert_array_equal(render_frame(sample(name), 0), render_frame(sample(twin), 0))


@pytest.mark.parametrize(
    ("name", "twin", "at_least_db"),
    [("693_J2KI.dcm", "693_UNCI.dcm", 40), ("RG1_J2KI.dcm", "RG1_UNCI.dcm", 40), ("US1_J2KI.dcm", "US1_UNCI.dcm", 40)],
)
def test_lossy_files_render_like_what_their_maker_decoded(name: str, twin: str, at_least_db: float) -> None:
    assert psnr_db(render_frame(sample(name), 0), render_frame(sample(twin), 0)) >= at_least_db


def psnr_db(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    error = float(np.mean((ours.astype(np.float64) - theirs) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


async def _pictures(paths: list[Path]) -> list[NDArray[np.uint8]]:
    pictures = []
    async with RenderPool(1) as pool:
        for path in paths:
            frames = [frame async for frame in pool.render(RenderJob(path, frame_count=1))]
            pictures.append(np.asarray(Image.open(io.BytesIO(frames[0].data))))
    return pictures


@pytest.mark.peer("dcmtk")
@needs_dcmtk
def test_display_pictures_are_close_to_dcmtk(tmp_path: Path) -> None:
    path = sample("CT_small.dcm")
    (picture,) = asyncio.run(_pictures([path]))
    with Renderer(path, RenderLimits()) as renderer:
        list(renderer.pictures(0, 1))
        options = window_options(renderer, 0)
    subprocess.run(["dcmj2pnm", "+op", *options, str(path), str(tmp_path / "peer")], check=True, capture_output=True)
    assert psnr_db(picture, read_pnm((tmp_path / "peer").read_bytes())) >= 40


@pytest.mark.long
@pytest.mark.peer("dcmtk")
@pytest.mark.corpus
@needs_dcmtk
@needs_corpus
def test_the_corpus() -> None:
    """Every frame of every file that DCMTK renders; those that differ are exactly the known ones."""
    root = Path(os.environ["MPACS_CORPUS"])
    outcomes = asyncio.run(Survey(against=True).run(files([root])))
    judged = [each for each in outcomes if each.against and "worst" in each.against]
    assert not [(each.path, each.against) for each in judged if each.differs]
    differing = {hashlib.sha256(Path(e.path).read_bytes()).hexdigest() for e in judged if "clause" in (e.against or {})}
    assert differing == set(known_differences())
    assert len(judged) >= 325, "the oracle rendered fewer files than before"
    assert max(each.peak_mb for each in outcomes) < 600
    results = {each.result for each in outcomes}
    assert results <= {"rendered", "report", "no-pixels", "malformed", "decode", "unsupported"}
