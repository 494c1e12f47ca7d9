"""How a peer is timed. It runs in the environment of the peer, which has numpy and little else."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def time_detector(detect: Callable[[Any], int]) -> None:
    """Print as JSON the processor seconds in which `detect` found its faces, and the number of frames with a face.

    `detect` takes a frame, uint8 RGB (height, width, 3), to a number of faces. The command line names .npy files of
    frames. The first frame is given twice, and the first time is not counted.
    """
    seconds, frames = 0.0, 0
    detect(np.load(sys.argv[1])[0])
    for path in sys.argv[1:]:
        images = np.load(path)
        start = time.process_time()
        frames += sum(detect(image) > 0 for image in images)
        seconds += time.process_time() - start
    print(json.dumps({"seconds": seconds, "frames": frames}))
