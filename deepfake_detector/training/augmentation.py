"""Augmentation: what happens to a face between a camera and a detector: framing, light, scaling, noise, compression.

It works on stored crops with OpenCV and PyAV and takes about a tenth of the time of a training step. Every draw comes
from the generator that is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial

import av
import cv2
import numpy as np

from deepfake_detector.distortions import add_noise, gaussian_blur, jpeg, lower_resolution

GREY = 0.1  # probability that colour is removed
LEVELS = np.linspace(0, 1, 256, dtype=np.float32)  # of brightness


@dataclass(frozen=True)
class Strength:
    """Probabilities of the steps of augmentation, and the ranges that they draw from."""

    rescale: float = 0.2
    lowest_scale: float = 0.5
    blur: float = 0.2
    noise: float = 0.2
    sharpen: float = 0.0
    jpeg: float = 0.35
    lowest_quality: int = 40
    h264: float = 0.05
    scaled_h264: bool = False  # encode a smaller picture, as a face in a whole frame is
    erase: float = 0.1


# `standard` suits short trainings, `strong` long ones for videos of any origin.
STRENGTHS = {
    "standard": Strength(),
    "strong": Strength(0.45, 0.35, 0.25, 0.25, 0.15, 0.45, 30, 0.4, True, 0.15),
}


def mirror(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`crop`, uint8 BGR (size, size, 3), or its mirror image, with equal probability."""
    return cv2.flip(crop, 1) if rng.random() < 0.5 else crop


def augmentation(name: str) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """The function that `train.augment` names: none (mirror only), or a name in STRENGTHS."""
    return mirror if name == "none" else partial(augment, strength=STRENGTHS[name])


def augment(crop: np.ndarray, rng: np.random.Generator, strength: Strength = STRENGTHS["standard"]) -> np.ndarray:
    """`crop`, uint8 BGR (size, size, 3), as another camera or another upload would have given it."""
    crop = reframe(mirror(crop, rng), rng)
    crop = relight(crop, rng)
    if rng.random() < strength.rescale:
        crop = lower_resolution(crop, round(crop.shape[0] * rng.uniform(strength.lowest_scale, 1)))
    if rng.random() < strength.blur:
        crop = gaussian_blur(crop, rng.uniform(0.2, 1.2))
    if strength.sharpen and rng.random() < strength.sharpen:
        crop = sharpen(crop, rng.uniform(0.3, 1.2), rng.uniform(0.7, 1.5))
    if rng.random() < strength.noise:
        noise = rng.standard_normal(crop.shape[:2], np.float32) * np.float32(rng.uniform(1, 6))
        crop = add_noise(crop, noise)
    if rng.random() < strength.jpeg:
        crop = jpeg(crop, int(rng.integers(strength.lowest_quality, 101)))
    if rng.random() < strength.h264:
        crop = _recompress(crop, strength, rng)
    if rng.random() < strength.erase:
        crop = erase(crop, rng)
    return crop


def reframe(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate, scale, stretch and shift `crop` a little. The border is reflected."""
    size = crop.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-6, 6), rng.uniform(0.95, 1.15))
    matrix[0] *= rng.uniform(0.93, 1.07)
    matrix[:, 2] += rng.uniform(-0.04, 0.04, 2) * size
    return cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def relight(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change exposure, contrast, gamma and colour; sometimes remove the colour.

    Grey pixels stay grey, because their tint would give the augmentation away.
    """
    levels = LEVELS ** rng.uniform(0.8, 1.25)
    levels = (levels - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.12, 0.12)
    levels = levels * np.exp(rng.uniform(-0.5, 0.4))
    crop = cv2.LUT(crop, np.clip(levels * 255, 0, 255).astype(np.uint8))
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < GREY:
        return grey
    gains = np.diag(rng.uniform(0.7, 1.3, 3).astype(np.float32))  # of the difference of each channel to grey
    return cv2.add(grey, cv2.transform(cv2.subtract(crop, grey, dtype=cv2.CV_16S), gains), dtype=cv2.CV_8U)


def sharpen(crop: np.ndarray, amount: float, sigma: float) -> np.ndarray:
    """Unsharp masking: `crop` plus `amount` times its difference to a Gaussian blur of `sigma` pixels."""
    return cv2.addWeighted(crop, 1 + amount, gaussian_blur(crop, sigma), -amount, 0)


def _recompress(crop: np.ndarray, strength: Strength, rng: np.random.Generator) -> np.ndarray:
    qp = int(rng.integers(23, 41))
    if not strength.scaled_h264:
        return reencode(crop, qp)
    size, small = crop.shape[0], round(crop.shape[0] * rng.uniform(strength.lowest_scale, 1) / 16) * 16
    encoded = reencode(cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA), qp)
    return cv2.resize(encoded, (size, size), interpolation=cv2.INTER_LINEAR)


def reencode(crop: np.ndarray, qp: int) -> np.ndarray:
    """`crop`, uint8 BGR, after H.264 as a key frame with quantiser `qp` (0-51). An odd last row or column stays."""
    height, width = (side // 2 * 2 for side in crop.shape[:2])
    even = np.ascontiguousarray(crop[:height, :width])
    packets = _encoder(width, height, qp).encode(av.VideoFrame.from_ndarray(even, format="bgr24"))
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    result = crop.copy()
    result[:height, :width] = frames[0].to_ndarray(format="bgr24")
    return result


@lru_cache(maxsize=512)
def _encoder(width: int, height: int, qp: int) -> av.VideoCodecContext:
    """An encoder that gives each frame at once as a key frame, whatever came before it.

    It stays open: to open one takes twenty times as long as to encode a crop.
    """
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"qp": str(qp), "preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=1"}
    return encoder


def erase(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`crop` with a grey rectangle over up to a tenth of it (random erasing; Zhong et al. 2017)."""
    size = crop.shape[0]
    wide, tall = rng.integers(size // 8, size // 3, 2)
    left, top = rng.integers(0, size - wide), rng.integers(0, size - tall)
    crop = crop.copy()
    crop[top : top + tall, left : left + wide] = 128
    return crop
