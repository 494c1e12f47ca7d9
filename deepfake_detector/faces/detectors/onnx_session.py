"""ONNX Runtime sessions of face detectors, and their input."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

STRIDE = 32  # pixels of which the sides of an input must be multiples


def network_input(image: np.ndarray, rgb: bool) -> np.ndarray:
    """Convert an image, uint8 BGR (height, width, 3), to float32 (1, 3, height, width) from 0 to 255.

    The sides are padded to multiples of STRIDE. The colour order is RGB with `rgb`, else BGR.
    """
    height, width = image.shape[:2]
    array = np.zeros((1, 3, height + -height % STRIDE, width + -width % STRIDE), np.float32)
    planes = cv2.split(image)  # a tenth of the time of cv2.dnn.blobFromImage
    for target, plane in zip(array[0], reversed(planes) if rgb else planes, strict=True):
        target[:height, :width] = plane
    return array


@lru_cache(maxsize=1)
def open_session(path: str) -> Any:
    """A session of a model file that takes images of any size. It runs on one thread, since processes scale better.

    Model files fix batch and size (10 × 32 × 32, for instance); here both become free. The file of CenterFace also
    lists its weights as inputs. The runtime could then neither fold them nor choose their layout, and would take twice
    as long, so they are taken off that list.
    """
    import onnx
    import onnxruntime

    model = onnx.load(path)
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not (value in model.graph.input and axis == 1):  # the three colours stay fixed
                dim.dim_param = f"{value.name}_{axis}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
