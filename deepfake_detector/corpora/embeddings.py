"""Face embeddings, for corpora whose labels do not name the people on screen. Needs requirements-faces.txt."""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import cv2
import numpy as np
import pandas as pd

from deepfake_detector.faces.alignment import fit_similarity, landmark_template

SIZE = 150  # side of the network's input in pixels
EYES = np.array(
    [[47.7, 47.1], [100.3, 47.1]]
)  # where the network expects the eyes: mid-corner points of dlib's mean face
DIMENSIONS = 128
BLOCK = 2**24  # distances that are in memory at once


class EmbeddingError(Exception):
    """The optional packages are not installed. The message says how to install them."""


@cache
def _network() -> Any:
    """dlib's ResNet (King 2017).

    Faces of one person are closer than about 0.6 on Labeled Faces in the Wild.
    """
    try:
        import dlib

        folder = distribution("face_recognition_models").locate_file("face_recognition_models/models")
    except (ImportError, PackageNotFoundError) as error:
        raise EmbeddingError("split.identities = faces needs: pip install -r requirements-faces.txt") from error
    return dlib.face_recognition_model_v1(str(folder.joinpath("dlib_face_recognition_resnet_model_v1.dat")))


def embed_faces(crops: list[np.ndarray], margin: float) -> np.ndarray:
    """Embeddings of aligned face crops: float32 (n, 128).

    `crops`: uint8 BGR squares, aligned to `landmark_template` with `margin` (in face widths). Raises EmbeddingError.
    """
    network = _network()
    chips = []
    for crop in crops:
        matrix = fit_similarity(landmark_template(len(crop), margin)[:2], EYES)
        chip = cv2.warpAffine(crop, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        chips.append(cv2.cvtColor(chip, cv2.COLOR_BGR2RGB))
    vectors = [network.compute_face_descriptor(chip) for chip in chips]
    return np.array(vectors, np.float32).reshape(-1, DIMENSIONS)


def similar_pairs(embeddings: np.ndarray, limit: float) -> pd.DataFrame:
    """Pairs of `embeddings`, float32 (n, 128), closer than `limit`: rows `a,b,distance`, where a < b are positions."""
    square = (embeddings**2).sum(axis=1)
    rows = []
    height = max(1, BLOCK // max(1, len(embeddings)))
    for start in range(0, len(embeddings), height):
        block = slice(start, start + height)
        squared = square[block, None] + square - 2 * embeddings[block] @ embeddings.T
        a, b = np.nonzero(squared < limit**2)
        later = b > a + start
        a, b = a[later], b[later]
        rows.append(pd.DataFrame({"a": a + start, "b": b, "distance": np.sqrt(np.maximum(squared[a, b], 0))}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["a", "b", "distance"])
