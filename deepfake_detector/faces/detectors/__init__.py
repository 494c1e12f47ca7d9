"""Face detectors behind one interface. Importing this module loads none of them."""

import pkgutil
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from deepfake_detector.faces.detections import Detections
from deepfake_detector.files import file_sha256

# The class of each detector, as "module:Class"; it is called with a score threshold and a model file.
DETECTORS = {
    "centerface": "deepfake_detector.faces.detectors.centerface:CenterFace",
    "yunet": "deepfake_detector.faces.detectors.yunet:YuNet",
    "retinaface": "deepfake_detector.faces.detectors.retinaface:RetinaFace",
}
# Detectors whose network is downloaded, and the function that does it. Only `fetch_network` calls it.
DOWNLOADS = {"retinaface": "deepfake_detector.faces.detectors.retinaface:download_weights"}


class FaceDetectorError(Exception):
    """The network of a face detector is not available; the message says how to provide it."""


class FaceDetector(ABC):
    """Finds faces in images. A subclass is created with a score threshold and a model file."""

    @abstractmethod
    def detect(self, image: np.ndarray) -> Detections:
        """Find all faces in `image`, uint8 BGR (height, width, 3) of any size; the highest score comes first."""

    def detect_small(self, image: np.ndarray, found: Detections) -> Detections:
        """Find the faces in `image` that `detect` misses because they are small beside those that it `found`."""
        return Detections.stack([])

    def redetect(self, image: np.ndarray, detections: Detections) -> Detections | None:
        """Find the faces of a frame shortly before again in `image`, near their old positions.

        Returns:
            As many detections, in the same order; None if a face is not found or the detector cannot do this, in which
            case `detect` has to search the whole image.
        """
        return None


def create_face_detector(name: str, threshold: float, weights: str = "none") -> FaceDetector:
    """Create a detector of DETECTORS.

    Args:
        name: key of DETECTORS.
        threshold: lowest score of a face, between 0 and 1.
        weights: model file, for detectors that need one.

    Raises:
        FaceDetectorError: if the network is not available.
    """
    detector: FaceDetector = pkgutil.resolve_name(DETECTORS[name])(threshold, weights)
    return detector


def fetch_network(name: str) -> None:
    """Download the network of the detector `name` if it is needed and not here yet; its hash is checked.

    Only who chose the detector calls this: a detector file of a stranger, which names one, shall cause no download.

    Raises FaceDetectorError.
    """
    if name in DOWNLOADS:
        pkgutil.resolve_name(DOWNLOADS[name])()


def weights_hash(weights: str) -> str:
    """SHA-256 of a model file in hexadecimal; empty where there is no such file."""
    return file_sha256(weights) if Path(weights).is_file() else ""
