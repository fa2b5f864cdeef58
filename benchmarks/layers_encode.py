"""The peer of the layer ``diagnostic``: ``python -m benchmarks.layers_encode FILE...`` only encodes.

Prints JSON: CPU seconds of ``htj2k_encode`` with the parameters of the layer, everything else left out.
"""

import json
import sys
import time

import imagecodecs
import numpy as np
import pydicom

from gateway.management.rendering.diagnostic import levels


def main() -> None:
    """The frames are decoded beforehand; only the calls count."""
    cpu_s, frames = 0.0, 0
    for path in sys.argv[1:]:
        pixels = pydicom.dcmread(path).pixel_array
        colour = pixels.shape[-1] == 3
        for frame in pixels.reshape(-1, *pixels.shape[-3 if colour else -2 :]):
            values = np.ascontiguousarray(frame)
            resolutions = levels(*values.shape[:2])
            started = time.process_time()
            imagecodecs.htj2k_encode(values, rgb=colour, resolutions=resolutions, reversible=True, tlm=True, tilepart=1)
            cpu_s += time.process_time() - started
            frames += 1
    print(json.dumps({"cpu_s": cpu_s, "frames": frames}))


if __name__ == "__main__":
    main()
