"""Rendering against DCMTK's dcmj2pnm, which is told the same window, and against uncompressed twins of files."""

from __future__ import annotations

import asyncio
import csv
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

from gateway.management.rendering import syntaxes as ts
from gateway.management.rendering.limits import RenderLimits
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.render import Renderer, render_frame
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

KNOWN = {
    "GH195.dcm": "JFIF that is labelled RGB: DCMTK believes the label and shows false colours",
    "GH610.dcm": "a rescale slope of 6e-8: DCMTK takes no window narrower than 1",
    "rtdose_expb.dcm": "32 bits in big endian: DCMTK swaps them in pairs (the little endian twin agrees with both)",
    "rtdose_expb_1frame.dcm": "as above",
    "RG3_JPLY.dcm": "12-bit JPEG overshoots the 10 bits stored: DCMTK wraps to black, we clamp",
    "2021-02-19-MalaterreCP246.dcm": "window and rescale as UN: DCMTK does not see them",
    "SC_rgb_jpeg.dcm": "implicit VR around JPEG: DCMTK cannot read it",
}


def sample(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str), f"{name} is not installed"
    return Path(found)


def window_options(renderer: Renderer, frame: int) -> list[str]:
    """The file's own first window where it stands at the top level, else the one that we chose."""
    view, shown = renderer.view(frame), renderer.shown
    if not renderer.photometric.startswith("MONOCHROME"):
        return []
    if shown is None:
        return ["+Wl", "1"]
    function = "+Wfs" if shown.function == "SIGMOID" else "+Wfl"
    if "WindowCenter" in renderer.header and view.find("WindowCenter") is renderer.header:
        return ["+Wi", "1", function]
    # DCMTK knows LINEAR alone: LINEAR_EXACT is the same line, half a step and one wider (PS3.3 C.11.2.1.3.2)
    exact = shown.function == "LINEAR_EXACT"
    return ["+Ww", repr(shown.center + 0.5 * exact), repr(shown.width + exact), function]


def dcmtk_picture(path: Path, tmp_path: Path, frame: int, options: list[str]) -> NDArray[np.uint8] | None:
    """None where DCMTK cannot."""
    source, out = path, tmp_path / "oracle.pnm"
    out.unlink(missing_ok=True)
    plain = tmp_path / "plain.dcm"
    if subprocess.run(["dcmdjpls", str(path), str(plain)], capture_output=True, check=False).returncode == 0:
        source = plain
    command = ["dcmj2pnm", "+op", "+F", str(frame + 1), *options, str(source), str(out)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not out.exists():
        return None
    with Image.open(out) as image:
        return np.asarray(image)


def compare(path: Path, tmp_path: Path, frame: int = 0) -> int | None:
    """Largest difference in grey levels; None where DCMTK cannot render the file."""
    with Renderer(path, RenderLimits()) as renderer:
        ours = next(renderer.pictures(frame, 1))
        theirs = dcmtk_picture(path, tmp_path, frame, window_options(renderer, frame))
        supplemental = renderer.view(frame).text("PixelPresentation") in ("COLOR", "MIXED")
    if theirs is None or supplemental:  # DCMTK knows no supplemental palettes
        return None
    if ours.ndim == 2 and theirs.ndim == 3:
        assert (theirs == theirs[:, :, :1]).all()
        theirs = theirs[:, :, 0]
    assert ours.shape == theirs.shape
    return int(np.abs(ours.astype(np.int16) - theirs).max())


def tolerance(path: Path) -> int:
    """One grey level; two where DCMTK truncates in its YBR to RGB tables."""
    with Renderer(path, RenderLimits()) as renderer:
        return 2 if renderer.photometric.startswith("YBR") and renderer.source.transfer_syntax not in ts.JPEG_DCT else 1


@pytest.mark.peer("dcmtk")
@needs_dcmtk
@pytest.mark.parametrize("name", PYPI_FILES)
def test_within_one_grey_level_of_dcmtk(name: str, tmp_path: Path) -> None:
    path = sample(name)
    with Renderer(path, RenderLimits()) as renderer:
        last = renderer.source.number_of_frames - 1
    for frame in {0, last}:
        difference = compare(path, tmp_path, frame)
        assert difference is not None, "DCMTK no longer renders it"
        assert difference <= tolerance(path)


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
        theirs = dcmtk_picture(path, tmp_path, 0, window_options(renderer, 0))
    assert theirs is not None
    assert psnr_db(picture, theirs) >= 40


@pytest.mark.peer("dcmtk")
@pytest.mark.corpus
@needs_dcmtk
@needs_corpus
def test_the_ct_head_series(tmp_path: Path) -> None:
    paths = sorted(Path(os.environ["MPACS_CORPUS"], "series_ct_head_philips").iterdir())
    assert len(paths) == 104
    for path, picture in zip(paths, asyncio.run(_pictures(paths)), strict=True):
        with Renderer(path, RenderLimits()) as renderer:
            ours = next(renderer.pictures(0, 1))
            theirs = dcmtk_picture(path, tmp_path, 0, window_options(renderer, 0))
        assert theirs is not None
        assert int(np.abs(ours.astype(np.int16) - theirs).max()) <= 1
        assert psnr_db(picture, theirs) >= 40


@pytest.mark.peer("dcmtk")
@pytest.mark.corpus
@needs_dcmtk
@needs_corpus
def test_the_corpus(tmp_path: Path) -> None:
    root = Path(os.environ["MPACS_CORPUS"])
    with (root / "INDEX.tsv").open(encoding="utf-8") as table:
        names = [row["path"] for row in csv.DictReader(table, delimiter="\t")]
    compared, differing, skipped = 0, {}, set()
    for name in names:
        folder = name.split("/")[0]
        if folder in skipped and folder.startswith("series_"):
            continue
        if folder.startswith("series_"):
            skipped.add(folder)  # one of each series; the CT head has its own test
        path = root / name
        try:
            difference = compare(path, tmp_path)
            allowed = tolerance(path)
        except Refusal:
            continue
        if difference is None:
            continue
        compared += 1
        if difference > allowed and path.name not in KNOWN:
            differing[name] = difference
    assert not differing
    assert compared >= 180, "the oracle rendered fewer files than before"
