"""The camera of the sample corpus: hand-held motion, drifting light and sensor noise, alike in real and fake clips."""

import cv2
import numpy as np

from deepfake_detector.corpora.sample_corpus.head_motion import DIGITS, SIZE

# Of the sum of four random bytes, which is nearly normal. Integers are exact on every processor; logarithms are not.
BYTES_MEAN, BYTES_SD = 510, 147.8


class Camera:
    """A camera with random properties. `rng` draws them, and then the noise of each frame."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.seconds = rng.uniform(2.0, 2.6)  # length of its clip
        self._noise = rng.uniform(0.5, 2.0)  # standard deviation, of 255
        self._light = rng.uniform(0.85, 1.1)
        self._phase = rng.uniform(0, 2 * np.pi, 6)
        self._speed = rng.uniform(0.15, 0.5, 6)  # hertz
        # Amplitudes of x and y (pixels), rotation (radians), zoom, gain and offset (of 255).
        self._amplitude = rng.uniform(0.2, 1.0, 6) * (5, 4, 0.03, 0.02, 0.06, 6)

    def view(self, image: np.ndarray, pose: np.ndarray, time: float) -> np.ndarray:
        """The frame at `time` seconds: uint8 gray (SIZE, SIZE).

        It shows `image`, float32 gray (SIZE, SIZE), moved by the matrix `pose` (2, 3).
        """
        angles = 2 * np.pi * self._speed * time + self._phase
        x, y, rotation, zoom, gain, offset = (self._amplitude * np.sin(angles)).round(DIGITS)
        camera = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), np.degrees(rotation), 1 + zoom)
        camera[:, 2] += (x, y)
        matrix = (camera @ np.vstack([pose, (0, 0, 1)])).round(DIGITS)
        frame = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        noise = self._rng.integers(0, 256, (4, SIZE, SIZE), np.uint8).sum(axis=0, dtype=float)
        noise = (noise - BYTES_MEAN) / BYTES_SD * self._noise
        frame = frame * (self._light + gain) + offset + noise
        return np.asarray(np.clip(frame, 0, 255).round().astype(np.uint8))
