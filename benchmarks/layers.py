"""What imaging costs: from files in the archive to all layers sealed, through the real studio and its workers.

A long CT, a cine loop and a mammogram of four views. Each is measured in a fresh process, as the core is one; beside
the CPU of the layer ``diagnostic`` stands that of ``htj2k_encode`` alone, on the same frames in the same run.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from benchmarks.harness import Gateway
from benchmarks.studies import LEE, Made, long_ct, real_file, relabel
from gateway.config import Rendering

_SLICES, _QUICK_SLICES = 300, 60
_CINE_FRAMES, _QUICK_CINE_FRAMES = 360, 120
_ROWS, _COLUMNS = 3000, 2500
_CORPUS_MAMMOGRAM = "xray/MG1_JPLY.dcm"
_VIEWS = 4
_ROUNDS = 3
_DIAGNOSTIC = "the diagnostic layer of a study"


@dataclass(frozen=True)
class Cost:
    """Of one study: seconds, CPU seconds by lane, and peak resident memory in 10^6 bytes."""

    seconds: float
    workers_cpu_s: dict[str, float]
    """By the studio's lane."""
    studio_cpu_s: dict[str, float]
    worker_peak_mb: float
    studio_peak_mb: float

    @property
    def cpu_s(self) -> float:
        """All of it."""
        return sum(self.workers_cpu_s.values()) + sum(self.studio_cpu_s.values())


def cine(folder: Path, frames: int) -> Made:
    """A colour ultrasound loop: the real JPEG frames of one, to and fro, as they were compressed."""
    dataset = pydicom.dcmread(real_file("color3d_jpeg_baseline.dcm"))
    count = int(dataset.NumberOfFrames)
    own = list(generate_frames(dataset.PixelData, number_of_frames=count))
    order = [own[at % count] if at // count % 2 == 0 else own[-1 - at % count] for at in range(frames)]
    relabel(dataset, LEE, "cine", "1", 1, "cine loop")
    dataset.NumberOfFrames = frames
    dataset.PixelData = encapsulate(order)
    path = folder / "cine.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return Made("cine", str(dataset.StudyInstanceUID), (path,))


def mammogram(folder: Path) -> Made:
    """Four views of 3,000 x 2,500 pixels, uncompressed: a real mammogram, mirrored.

    Without the corpus it is a radiograph that comes with pydicom's data, enlarged to that size by its mirror image.
    """
    corpus = os.environ.get("MPACS_CORPUS", "")
    source = Path(corpus, _CORPUS_MAMMOGRAM)
    pixels, dataset = _mammogram_of(source) if corpus and source.is_file() else _radiograph()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    files = []
    for number in range(_VIEWS):
        relabel(dataset, LEE, "mammogram", "1", number + 1, "mammogram")
        view = np.ascontiguousarray(pixels[:: -1 if number & 2 else 1, :: -1 if number & 1 else 1])
        dataset.set_pixel_data(view, dataset.PhotometricInterpretation, dataset.BitsStored, generate_instance_uid=False)
        files.append(folder / f"mammogram-{number}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return Made("mammogram", str(dataset.StudyInstanceUID), tuple(files))


def _mammogram_of(path: Path) -> tuple[np.ndarray, Dataset]:
    """The window of the picture in which the most is to be seen."""
    from gateway.management.rendering.limits import RenderLimits
    from gateway.management.rendering.source import FrameSource

    with FrameSource(path, RenderLimits()) as source:
        samples, _ = next(source.frames(0, 1))
    top, left = ((size - wanted) // 2 for size, wanted in zip(samples.shape, (_ROWS, _COLUMNS), strict=True))
    return samples[top : top + _ROWS, left : left + _COLUMNS], pydicom.dcmread(path, stop_before_pixels=True)


def _radiograph() -> tuple[np.ndarray, Dataset]:
    """Enlarged by its own mirror image."""
    dataset = pydicom.dcmread(real_file("RG1_UNCR.dcm"))
    pixels = dataset.pixel_array
    margin = [(0, wanted - size) for size, wanted in zip(pixels.shape, (_ROWS, _COLUMNS), strict=True)]
    return np.pad(pixels, margin, mode="symmetric"), dataset


def layers_of(folder: Path, made: Made) -> Cost:
    """Take the study in, then measure what making all its layers costs."""
    state = folder / f"state-{made.title}"
    try:
        gateway = Gateway(state)
        warm_up = long_ct(folder, 4, title="warm-up")
        gateway.cli("import", *map(str, warm_up.files + made.files))
        running = _python("benchmarks.layers_studio", str(gateway.state), made.StudyInstanceUID)
        return Cost(**json.loads(_output(running)))
    finally:
        shutil.rmtree(state, ignore_errors=True)


def encode_alone(made: Made) -> float:
    """CPU seconds of ``htj2k_encode`` on the study's frames, by processes that do nothing else.

    As many side by side as there are workers: cores that share memory and caches slow each other.
    """
    workers = Rendering().workers
    shares = [made.files[at::workers] for at in range(workers)]
    running = [_python("benchmarks.layers_encode", *map(str, share)) for share in shares if share]
    return sum(float(json.loads(_output(one))["cpu_s"]) for one in running)


def _python(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True)


def _output(running: subprocess.Popen[str]) -> str:
    printed, _ = running.communicate()
    if running.returncode:
        raise RuntimeError(f"a process of the benchmark ended with {running.returncode}")
    return printed


def layer_entries(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Rows of ``scripts/bench``, without their ratios."""
    slices, frames = (_QUICK_SLICES, _QUICK_CINE_FRAMES) if quick else (_SLICES, _CINE_FRAMES)
    rounds = 1 if quick else _ROUNDS
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for name, made in (
        (f"ct{slices}", long_ct(folder, slices, LEE, "layers-ct")),
        (f"cine{frames}", cine(folder, frames)),
        (f"mammogram_{_VIEWS}x{_ROWS}x{_COLUMNS}", mammogram(folder)),
    ):
        # in turns, and the least of each: what else the machine does must not stand on one side alone
        alone_s, costs = zip(*((encode_alone(made), layers_of(folder, made)) for _ in range(rounds)), strict=True)
        fastest = min(costs, key=lambda cost: cost.seconds)
        rows.append(
            _row(f"{name}_all_layers", fastest.seconds, "s", "CPU seconds of studio and workers", fastest.cpu_s)
        )
        largest = max(cost.worker_peak_mb for cost in costs), max(cost.studio_peak_mb for cost in costs)
        rows.append(_row(f"{name}_largest_worker", largest[0], "MB", "peak of the studio's process", largest[1]))
        if not name.startswith("cine"):  # its frames are passed on as they are
            diagnostic_s = min(cost.workers_cpu_s[_DIAGNOSTIC] for cost in costs)
            peer = "htj2k_encode alone on the same frames"
            rows.append(_row(f"{name}_diagnostic_cpu", diagnostic_s, "s", peer, min(alone_s)))
    return rows


def _row(name: str, value: float, unit: str, peer: str, peer_value: float) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "peer": peer, "peer_value": peer_value}
