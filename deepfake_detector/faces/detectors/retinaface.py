"""RetinaFace (Deng et al. 2020) with ResNet-50, from the package retinaface-pytorch, which downloads the weights."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import FaceDetectorError

MAX_SIDE = 640  # pixels of the longer side of the searched image
MODEL = "resnet50_2020-07-20"


class RetinaFace:
    """RetinaFace on PyTorch; it needs no model file."""

    def __init__(self, threshold: float, weights: str = "none") -> None:
        self.threshold = threshold
        self._model = _load_model()

    def detect(self, image: np.ndarray) -> Detections:
        rgb = np.ascontiguousarray(image[..., ::-1])
        faces = self._model.predict_jsons(rgb, confidence_threshold=self.threshold)
        return Detections.stack(
            [
                Detection(np.array(face["bbox"]), face["score"], np.array(face["landmarks"]))
                for face in faces
                if len(face["bbox"])  # without a face, the package gives one with an empty box
            ]
        )

    def redetect(self, image: np.ndarray, detections: Detections) -> None:
        return None


@lru_cache(maxsize=1)
def _load_model() -> Any:
    import torch
    from retinaface.pre_trained_models import get_model, models

    torch.set_num_threads(1)
    try:
        model = get_model(MODEL, max_size=MAX_SIDE)
    except OSError as error:
        raise FaceDetectorError(
            f"the weights of RetinaFace cannot be downloaded ({error}); download {models[MODEL].url} where"
            f" there is a network and put the file, as it is, into {Path(torch.hub.get_dir()) / 'checkpoints'};"
            " or set extract.detector to centerface"
        ) from error
    model.eval()
    return model
