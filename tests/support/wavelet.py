"""The reversible wavelet of JPEG 2000 (ISO/IEC 15444-1 annex F, annex G) written down once more, slowly, as an oracle.

Lower resolutions by this are what a codestream's lower resolutions must decode to; no codec takes part.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.int64]


def _low(samples: Wide) -> Wide:
    """The low band of the 5/3 filter along the first axis, mirrored at the ends."""
    if len(samples) == 1:
        return samples
    even, odd = samples[0::2], samples[1::2]
    following = even[1:] if len(samples) % 2 else np.concatenate([even[1:], even[-1:]])
    high = odd - ((even[: len(odd)] + following[: len(odd)]) >> 1)
    before = np.concatenate([high[:1], high])[: len(even)]
    behind = np.concatenate([high, high[-1:]])[: len(even)]
    return even + ((before + behind + 2) >> 2)


def _halved(samples: Wide, level: int) -> Wide:
    for _ in range(level):
        samples = _low(_low(samples).swapaxes(0, 1)).swapaxes(0, 1)
    return samples


def reduced(frame: NDArray[Any], level: int, *, rgb: bool = False) -> NDArray[Any]:
    """``frame`` halved ``level`` times, clamped to its type; ``rgb``: through the reversible component transform."""
    bounds = np.iinfo(frame.dtype)
    shift = 0 if bounds.min else (bounds.max + 1) // 2
    samples = frame.astype(np.int64) - shift
    if rgb:
        red, green, blue = samples[..., 0], samples[..., 1], samples[..., 2]
        bands = ((red + 2 * green + blue) >> 2, blue - green, red - green)
        y, u, v = (_halved(band, level) for band in bands)
        green = y - ((u + v) >> 2)
        samples = np.stack([v + green, green, u + green], axis=-1)
    else:
        samples = _halved(samples, level)
    return np.clip(samples + shift, bounds.min, bounds.max).astype(frame.dtype)
