"""RetinaFace (Deng et al. 2020) with ResNet-50, from retinaface-pytorch. Its weights are downloaded once, on demand."""

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_detector.faces.detections import Detection, Detections
from deepfake_detector.faces.detectors import FaceDetector, FaceDetectorError
from deepfake_detector.files import file_sha256

logger = logging.getLogger(__name__)
MAX_SIDE = 640  # pixels of the longer side of the searched image
MODEL = "resnet50_2020-07-20"


class RetinaFace(FaceDetector):
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


def download_weights() -> None:
    """Download the weights if they are not here yet. Raises FaceDetectorError."""
    import torch

    path, url = _weights_file()
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path))
    except OSError as error:
        raise FaceDetectorError(f"the weights of RetinaFace cannot be downloaded ({error}); {_advice()}") from error


def _weights_file() -> tuple[Path, str]:
    """Where the package keeps the weights, and where they come from."""
    import torch
    from retinaface.pre_trained_models import models

    url: str = models[MODEL].url
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name, url


def _advice() -> str:
    path, url = _weights_file()
    return (
        f"download {url} where there is a network and put the file, as it is, into {path.parent}; "
        "or set extract.detector to centerface"
    )


@lru_cache(maxsize=1)
def _load_model() -> Any:
    import torch
    from retinaface.pre_trained_models import get_model

    path, _ = _weights_file()
    if not path.is_file():
        raise FaceDetectorError(
            "the weights of RetinaFace are not here, and only the extract stage downloads them (extract.detector: "
            f"retinaface). If you trust the detector that asks for them, run it once, or {_advice()}"
        )
    # Upstream publishes no hash that could be checked: the log says which file it was.
    logger.info("%s: SHA-256 %s", path, file_sha256(path))
    torch.set_num_threads(1)
    model = get_model(MODEL, max_size=MAX_SIDE)  # finds the file, and reads it with weights_only
    model.eval()
    return model
