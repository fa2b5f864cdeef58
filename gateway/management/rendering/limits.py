"""What one picture may cost: bounds that are checked before and while strangers' pixels are decoded."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
_BYTES_A_CPU_S = 8 * MIB
_FRAME_BYTES_A_CPU_S = MIB
"""Several times what the slowest codec takes on a Raspberry Pi 4."""


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """Bounds for one worker and one job.

    The defaults suit a Raspberry Pi 4 with 1 GB. An idle worker takes about 130 MiB of address space (45 MiB of
    memory of its own), a mammogram of 4,664 x 3,064 pixels 230, and the largest frames that these limits let
    through up to 560; colour of 96 MiB a frame in JPEG 2000 or JPEG XL takes more, and is refused.
    """

    max_pixels_per_frame: int = 40_000_000
    """Rows x Columns."""
    max_frame_bytes: int = 96 * MIB
    """One frame, decoded, as stored: Rows x Columns x SamplesPerPixel x BitsAllocated / 8."""
    max_frames: int = 20_000
    """NumberOfFrames of an instance."""
    max_decoded_bytes: int = 16 << 30
    """All frames of an instance, decoded."""
    max_header_bytes: int = 64 * MIB
    """Everything in front of the pixel data: sequences of a long enhanced series are the largest honest ones."""
    max_inflated_bytes: int = 96 * MIB
    """A deflated data set, inflated: it has to be held in memory whole."""
    max_picture_bytes: int = 32 * MIB
    """One encoded picture, as the pool accepts it from a worker."""
    memory_bytes: int = 570 * MIB
    """Address space of a worker (RLIMIT_AS), libraries included: it never takes more than 600 MB of memory."""
    recycle_bytes: int = 160 * MIB
    """A worker whose resident memory stays above this after a job is replaced."""
    cpu_s_per_frame: int = 30
    """CPU seconds for one frame at most (RLIMIT_CPU, moved on at each frame)."""
    cpu_s_least: int = 3
    """CPU seconds for whatever is small: a small file that takes long is a bomb, and others wait for its end."""
    wall_s_per_frame: float = 60.0
    """Seconds until the next picture has to be there; time in which nobody reads does not count."""
    start_s: float = 30.0
    """Seconds within which a new worker has to report."""

    def cpu_s_to_open(self, size_bytes: int) -> int:
        """CPU seconds until the first frame of a file is there."""
        return min(self.cpu_s_per_frame, self.cpu_s_least + size_bytes // _BYTES_A_CPU_S)

    def cpu_s_of(self, frame_bytes: int) -> int:
        """CPU seconds for a frame of so many bytes, decoded."""
        return min(self.cpu_s_per_frame, self.cpu_s_least + frame_bytes // _FRAME_BYTES_A_CPU_S)
